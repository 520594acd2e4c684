"""Rows of a table that satisfy a condition, in parts: the one way in which LanceDB is read.

LanceDB takes a condition as a text, in which every id costs time. So few ids stand in the text; of many, either
several questions are made or all rows are read and Arrow picks those that are wanted, whichever is less.

Not here: what a condition is as a text (`heaven_lancedb.handlers`), what rows become (`heaven_lancedb.engine`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from heaven_core.backend import Limits
from heaven_core.evaluate import Clock, deadline_exceeded
from heaven_core.handlers import AllOf, AnyOf, IdSet, NoneOf, Where
from heaven_core.sql import where_sql
from heaven_lancedb.handlers import id_set

FEW = 5000
"""Ids that stand in one text."""
SHARE = 0.05
"""The share of a table's rows past which ids are picked from all rows."""
BATCH_ROWS = 8192


class Reader:
    """One table as of one moment, read under the bounds of one question."""

    def __init__(self, table: Any, limits: Limits) -> None:
        self.table = table
        self._clock = Clock(limits)

    def batches(self, names: Sequence[str], where: Where | None, most: int | None = None) -> Iterator[Any]:
        """The rows as Arrow batches with these columns, among them `object_id`; no more than `most` are needed."""
        parts, ids = self._split(where)
        text = condition(AllOf(parts)) if parts else None
        if ids is None and _is_bounded(where):
            yield from self._at_once(names, text)
        elif ids is None:
            yield from self._search(names, text, most)
        elif len(ids) <= max(FEW, int(SHARE * self.table.count_rows())):
            for start in range(0, len(ids), FEW):
                some = condition(AllOf([*parts, IdSet(ids[start : start + FEW])]))
                yield from self._at_once(names, some)
        else:
            yield from self._picked(names, text, ids)

    def ids(self, where: Where | None) -> list[str]:
        """The ids of the rows that satisfy a condition; those of a set of ids as they are, absent ones too."""
        if isinstance(where, IdSet):
            return list(where.ids)
        found: list[str] = []
        for batch in self.batches(("object_id",), where):
            found += batch.column("object_id").to_pylist()
        return found

    def present(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that there are."""
        return self.ids(AllOf([IdSet(ids)]))

    def count(self, where: Where | None, most: int | None) -> Any:
        """How many rows satisfy a condition; None for more than `most`, unless all do, and for many ids."""
        if where is None:
            return self.table.count_rows()
        if _id_count(where) > FEW:
            return None
        found: int = self.table.count_rows(condition(where))
        return found if most is None or found <= most else None

    def timeout(self) -> timedelta | None:
        """The time that is left."""
        self._clock.check()
        ends = self._clock.ends
        if ends is None:
            return None
        from time import monotonic

        left = ends - monotonic()
        if left <= 0:
            raise deadline_exceeded()
        return timedelta(seconds=left)

    def _search(self, names: Sequence[str], text: str | None, most: int | None = None) -> Iterator[Any]:
        search = self._question(names, text)
        if most is not None:
            search = search.limit(most)
        for batch in search.to_batches(batch_size=BATCH_ROWS, timeout=self.timeout()):
            self._clock.check()
            yield batch

    def _at_once(self, names: Sequence[str], text: str | None) -> Iterator[Any]:
        """Rows that are few, so that they need not come in parts."""
        yield from self._question(names, text).to_arrow(timeout=self.timeout()).combine_chunks().to_batches()

    def _question(self, names: Sequence[str], text: str | None) -> Any:
        search = self.table.search().select(list(names))
        return search if text is None else search.where(text)

    def _picked(self, names: Sequence[str], text: str | None, ids: Sequence[str]) -> Iterator[Any]:
        import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]

        pa: Any = pyarrow
        pc: Any = pyarrow.compute
        wanted = pa.array(ids, type=pa.string())
        for batch in self._search(names, text):
            yield batch.filter(pc.is_in(batch.column("object_id"), value_set=wanted))

    def _split(self, where: Where | None) -> tuple[list[Where], Sequence[str] | None]:
        """A condition as parts that are small enough for a text, and ids that are too many for one."""
        if where is None:
            return [], None
        if _id_count(where) <= FEW:
            return [where], None
        if isinstance(where, IdSet):
            return [], _distinct(where.ids)
        if isinstance(where, AllOf):
            return self._all_of(where.parts)
        if isinstance(where, AnyOf):
            return [], _distinct(one for part in where.parts for one in self.ids(AllOf([part])))
        assert isinstance(where, NoneOf)
        gone = set(self.ids(AllOf([where.part])))
        return [], [one for one in self.ids(None) if one not in gone]

    def _all_of(self, parts: Sequence[Where]) -> tuple[list[Where], Sequence[str] | None]:
        small: list[Where] = []
        among: Sequence[str] | None = None
        for part in parts:
            more, ids = self._split(part)
            small += more
            if ids is not None:
                known = None if among is None else set(among)
                among = ids if known is None else [one for one in ids if one in known]
        return small, among


def condition(where: Where | None) -> str | None:
    """A condition as LanceDB's text."""
    return None if where is None else where_sql(where, id_set)[0]


def _is_bounded(where: Where | None) -> bool:
    """Whether ids say how many rows there are at most."""
    return isinstance(where, IdSet) or (isinstance(where, AllOf) and any(map(_is_bounded, where.parts)))


def _id_count(where: Where) -> int:
    if isinstance(where, IdSet):
        return len(where.ids)
    if isinstance(where, (AllOf, AnyOf)):
        return sum(map(_id_count, where.parts))
    return _id_count(where.part) if isinstance(where, NoneOf) else 0


def _distinct(ids: Any) -> list[str]:
    return list(dict.fromkeys(ids))
