"""Result frames: the rows of an answer, kept as the engine gave them and converted when asked.

`ids` and `rows()` are what most code needs; columns, scalars and tables of other
libraries are made on demand. Conversions to Arrow live in `heaven_core.arrow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Rows
from heaven_core.codecs import DAMAGE, damaged, row_maker
from heaven_core.errors import HeavenError, QueryError, UnknownField, a_kind, did_you_mean, shown
from heaven_core.types import LogicalType

if TYPE_CHECKING:
    from heaven_core.plot import Bars

RANK_COLUMNS = frozenset({"_score", "_distance"})


class ResultFrame:
    """An answer. Iterating gives dicts; `len` is the number of rows."""

    __slots__ = ("_dtypes", "_entity", "_keys", "_rows", "_searched")

    def __init__(
        self,
        rows: Rows,
        dtypes: Mapping[str, LogicalType[Any]],
        keys: tuple[str, ...] = (),
        searched: str = "",
        entity: str = "",
    ) -> None:
        self._rows = rows
        self._dtypes = dtypes
        self._keys = keys  # what the rows are grouped by
        self._searched = searched  # what was searched for
        self._entity = entity

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that `rows()` has."""
        return tuple(name for name in self._rows.names if name not in RANK_COLUMNS)

    @property
    def dtypes(self) -> Mapping[str, LogicalType[Any]]:
        """The logical type of each column."""
        return {name: self._dtypes[name] for name in self.columns if name in self._dtypes}

    @property
    def ids(self) -> list[str]:
        """The object_id of each row, whatever was selected; empty for grouped answers."""
        if not self._rows.names or self._rows.names[0] != "object_id":
            return []
        return [row[0] for row in self._rows.tuples]

    @property
    def scores(self) -> list[float] | None:
        """BM25 scores (higher is better) or distances (smaller is nearer) by row; None for unranked answers."""
        if not self._rows.names or self._rows.names[-1] not in RANK_COLUMNS:
            return None
        return [row[-1] for row in self._rows.tuples]

    @property
    def rank(self) -> str | None:
        """What `scores` are: ``_score`` or ``_distance``; None for unranked answers."""
        return None if self.scores is None else self._rows.names[-1]

    def head(self, count: int = 10) -> ResultFrame:
        """The first rows as an answer of their own."""
        return self._part(0, max(count, 0))

    def rows(self) -> list[dict[str, Any]]:
        """One plain dict per row; the caller may change them."""
        rows = self._rows
        if rows.make is not None:
            return rows.make(rows.tuples)
        names = self.columns
        width = len(names)
        tuples = rows.tuples if width == len(rows.names) else [row[:width] for row in rows.tuples]
        return row_maker(names, rows.decoders[:width], self._entity)(tuples)

    def column(self, name: str) -> list[Any]:
        """The values of one column.

        Raises:
            UnknownField: the answer has no such column.
        """
        names = self._rows.names
        if not isinstance(name, str) or name not in names:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UnknownField(f"the result has no column {name!r:.80}; {did_you_mean(name, names)}", field=name)
        position = names.index(name)
        code = self._rows.decoders[position]
        values = [row[position] for row in self._rows.tuples]
        if code is None:
            return values
        try:
            return [None if value is None else code(value) for value in values]
        except HeavenError:
            raise
        except DAMAGE as error:
            key = names.index("object_id") if "object_id" in names else position
            pairs = [(row[key], row[position]) for row in self._rows.tuples]
            raise damaged((names[key], name), (None, code), pairs, self._entity) from error

    def scalar(self) -> Any:
        """The one value of an answer with one row and one column (beside object_id).

        Raises:
            QueryError: there are more, or none.
        """
        names = [name for name in self.columns if name != "object_id"] or list(self.columns)
        if len(self) != 1 or len(names) != 1:
            raise QueryError(f"scalar needs one row and one column; the result has {len(self)} and {len(names)}")
        return self.column(names[0])[0]

    def highlights(
        self,
        field: str,
        *,
        before: str = "**",
        after: str = "**",
        width: int | None = 160,
        escape: Callable[[str], str] | None = None,
    ) -> list[str | None]:
        """For each row, the part of a text with the most words of the search, those words marked; None without any.

        width: about how many characters to show; None for the whole text.
        escape: applied to the text and not to the marks; `html.escape` where these are tags.

        Raises:
            QueryError: the query searched for nothing, or the column holds no text.
            UnknownField: the answer has no such column.
        """
        from heaven_core.highlight import marked
        from heaven_core.text import tokens

        if not self._searched:
            raise QueryError("there is nothing to highlight: the query has no search")
        for word in (before, after):
            if not isinstance(word, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise QueryError(f"highlights are marked by texts, not by {a_kind(word)}")
        if width is not None and (type(width) is not int or width < 1):
            raise QueryError(f"highlights takes a width of at least 1, a whole number, or None, not {shown(width)}")
        texts = self.column(field)
        if "text" not in self._dtypes[field].traits:
            raise QueryError(f"{field} is {self._dtypes[field]!r}; highlights are made in texts")
        wanted = frozenset(tokens(self._searched))
        return [
            None if text is None else marked(text, wanted, before=before, after=after, width=width, escape=escape)
            for text in texts
        ]

    def to_dict(self) -> dict[str, list[Any]]:
        """Column name -> list of values."""
        return {name: self.column(name) for name in self.columns}

    def iter_batches(self, size: int = 1000) -> Iterator[list[dict[str, Any]]]:
        """The rows as lists of at most `size` dicts.

        Raises:
            QueryError: `size` is no whole number of at least 1.
        """
        return (part.rows() for part in self.iter_frames(size))

    def iter_frames(self, size: int = 1000) -> Iterator[ResultFrame]:
        """The answer as answers of at most `size` rows, in order.

        Raises:
            QueryError: `size` is no whole number of at least 1.
        """
        if type(size) is not int or size < 1:
            raise QueryError(f"a batch has a size of at least 1, a whole number, not {shown(size)}")
        return (self._part(start, start + size) for start in range(0, len(self), size))

    def _part(self, start: int, stop: int) -> ResultFrame:
        tuples = self._rows.tuples[start:stop]
        return ResultFrame(self._rows._replace(tuples=tuples), self._dtypes, self._keys, self._searched, self._entity)

    def to_arrow(self) -> Any:
        """The answer as a `pyarrow.Table` with the columns' types. Needs the extra `arrow`."""
        from heaven_core.arrow import to_arrow

        return to_arrow(self)

    def to_parquet(self, path: Any) -> None:
        """Write the answer as a Parquet file, in place of one that is there. Needs the extra `arrow`."""
        from pathlib import Path

        from heaven_core.arrow import write_parquet

        with Path(path).expanduser().open("wb") as stream:
            write_parquet(self, stream)

    def to_pandas(self) -> Any:
        """The answer as a `pandas.DataFrame`. Needs pandas and the extra `arrow`."""
        from heaven_core.arrow import to_pandas

        return to_pandas(self)

    def to_polars(self) -> Any:
        """The answer as a `polars.DataFrame`. Needs polars and the extra `arrow`."""
        from heaven_core.arrow import to_polars

        return to_polars(self)

    def plot(self, *columns: str, ax: Any = None) -> Any:
        """A chart of a grouped answer: matplotlib's Axes, or `bars()` where matplotlib is not installed.

        `columns` are aggregates that are numbers, all of them unless some are named. One time key gives
        lines in the order of time, other keys give bars in the order of the answer. Drawn on `ax`, or on
        a new pyplot figure, which is neither shown nor closed.

        Raises:
            QueryError: the answer is not grouped, or a column has no numbers.
            UnknownField: the answer has no such column.
        """
        from heaven_core.plot import draw, groups_of, has_matplotlib

        groups = groups_of(self, self._keys, columns)
        return draw(groups, ax) if has_matplotlib() else self.bars(*columns)

    def bars(self, *columns: str) -> Bars:
        """A chart of a grouped answer as text: shown by a prompt or a notebook, and by `print`.

        The columns and the errors are those of `plot`; each column has a chart with a scale of its own.
        """
        from heaven_core.plot import Bars, groups_of

        return Bars(groups_of(self, self._keys, columns))

    def __len__(self) -> int:
        return len(self._rows.tuples)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    def __repr__(self) -> str:
        """A table of the first rows, as wide as the terminal."""
        from shutil import get_terminal_size

        from heaven_core.show import as_text

        try:
            return as_text(self, get_terminal_size().columns)
        except HeavenError as error:  # damaged values: printing an answer must not raise
            return f"<ResultFrame of {len(self)} rows: {', '.join(self.columns)}; {error}>"

    def _repr_html_(self) -> str:
        """A table of the first rows, for notebooks."""
        from heaven_core.show import as_html

        return as_html(self)
