"""The seam between the kernel and an engine: two protocols and the records that pass through them.

A `Backend` stores entities in *layouts*, writes checked batches, and answers
`Scan` and `Locate` requests. A `Primary` can also begin transactions, which is
where LSNs come from. No method is optional; what an engine can do beyond them is
data (`capabilities` and its handlers).

Values in batches are canonical (see `heaven_core.types`); how they are encoded is
the backend's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import fspath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import attrs
from attrs.converters import optional

from heaven_core.codecs import Code
from heaven_core.errors import ConfigError, did_you_mean
from heaven_core.expr import Aggregate, Expr
from heaven_core.handlers import QueryFragment, Where
from heaven_core.paths import absolute
from heaven_core.schema import FieldSchema

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.cancellation import Cancellation


@attrs.frozen
class BackendConfig:
    """What a backend is opened with.

    `options` are the user's own words without `type`; `folder` is the workspace's
    folder, or None where nothing may be written to disk, and `location` the same as text.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    location: str | None = attrs.field(alias="folder", converter=optional(fspath))
    workspace: str

    @property
    def folder(self) -> Path | None:
        """The workspace's folder; nobody has made it yet."""
        from pathlib import Path

        return None if self.location is None else Path(self.location)

    def place(self, usual: str, *others: str) -> str:
        """Where an engine lies: `database` (or `path`), else `usual` in the folder. `others` are its other options.

        Raises:
            ConfigError: an option that it does not take, or no place.
        """
        options = {name: value for name, value in self.options.items() if name not in others}
        given = options.pop("database", options.pop("path", None))
        if options:
            word = min(map(str, options))
            near = did_you_mean(word, ("database", "path", *others))
            raise ConfigError(f"backend {self.name!r} of type {self.type} takes no option {word!r}; {near}")
        if given is not None:
            return absolute(given)
        if self.location is None:
            raise ConfigError(f"backend {self.name!r} of type {self.type} needs a folder or a 'database'")
        return f"{self.location}/{usual}"


class Column(NamedTuple):
    """One field as one backend stores it."""

    field: FieldSchema
    strategy: str
    indexes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The field's name."""
        return self.field.name


class Layout:
    """What one backend stores of one entity: `object_id` first, then the columns in order."""

    __slots__ = ("backend", "backend_type", "by_name", "cache", "columns", "entity", "names")

    def __init__(self, entity: str, backend: str, backend_type: str, columns: Sequence[Column]) -> None:
        self.entity, self.backend, self.backend_type = entity, backend, backend_type
        self.columns = tuple(columns)
        self.by_name = {column.field.name: column for column in self.columns}
        self.names = tuple(self.by_name)
        self.cache: dict[Any, Any] = {}
        """Whatever the backend wants to keep for this layout, such as its statements."""

    def __repr__(self) -> str:
        return f"<layout of {self.entity} in {self.backend}>"


class Change(NamedTuple):
    """A change of schema: `after` is what is to exist; `before` what did (None: nothing). Both None never occurs."""

    before: Layout | None
    after: Layout | None


class Batch(NamedTuple):
    """Checked rows by column: `columns[name][i]` belongs to `ids[i]`; every column of the layout is there.

    An engine whose capabilities have "packed" may be given vectors as the bytes of their 32-bit floats, little end
    first. `fresh` promises that the kernel has just made the ids, so none of them exists. Lists and
    dicts among the values may still be the caller's: an engine that keeps them copies them.
    """

    ids: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    fresh: bool = False


class Written(NamedTuple):
    """What a write did: positions in the batch that were inserted, that replaced another row, and the rest."""

    inserted: Sequence[int]
    updated: Sequence[int]
    unchanged: int


class Limits(NamedTuple):
    """Bounds of one query: seconds, rows, bytes (estimated on the rows returned), and who may stop it."""

    deadline: float | None = 30.0
    max_rows: int | None = 1_000_000
    max_bytes: int | None = 1 << 30
    cancel: Cancellation | None = None

    def of_a_step(self) -> Limits:
        """The bounds of a step on the way to the answer: those of time alone."""
        return Limits(self.deadline, None, None, self.cancel)


DEFAULT_LIMITS = Limits()


class OrderBy(NamedTuple):
    """A sort key: a field's or an aggregate's name; nulls come last either way."""

    name: str
    desc: bool = False


class Near(NamedTuple):
    """Nearest vectors first: at most `top_k` rows that satisfy the rest, of one distance those with the first ids.

    The order must be exact, or the answer's `notes` say by which setting it is not. Where a condition lies in
    another engine, the kernel either hands over the ids for which it holds, as an `IdSet`, or asks for a larger
    `top_k` without it and tries the rows in their order; which of them, `estimate` decides. So an engine takes
    `IdSet`s of any size, and estimates quickly.
    """

    field: FieldSchema
    query: Sequence[float]
    top_k: int
    metric: str


class Search(NamedTuple):
    """Best BM25 first: rows with at least one of the tokens in one of the fields.

    `weights` say how much a word in each field counts; none of them means one each.
    """

    fields: tuple[FieldSchema, ...]
    tokens: tuple[str, ...]
    weights: tuple[float, ...] = ()


class Grouping(NamedTuple):
    """Group keys, named aggregates with their fragments, and a condition on the groups."""

    keys: tuple[str, ...]
    aggregates: tuple[tuple[str, Aggregate, QueryFragment], ...]
    having: Expr | None


class Scan:
    """One question to one backend about one layout."""

    __slots__ = ("columns", "group", "layout", "limit", "limits", "near", "offset", "order", "search", "where")

    def __init__(
        self,
        layout: Layout,
        columns: tuple[str, ...] = ("object_id",),
        *,
        where: Where | None = None,
        order: tuple[OrderBy, ...] = (),
        limit: int | None = None,
        offset: int = 0,
        near: Near | None = None,
        search: Search | None = None,
        group: Grouping | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.layout, self.columns, self.where, self.order = layout, columns, where, order
        self.limit, self.offset, self.near, self.search = limit, offset, near, search
        self.group, self.limits = group, limits


class Locate(NamedTuple):
    """Which of these layouts hold this id: answered with (entity, object_id) tuples."""

    layouts: Sequence[Layout]
    object_id: str


class Fetch(NamedTuple):
    """The whole rows of these ids, in no particular order; absent ids are left out."""

    layout: Layout
    ids: Sequence[str]


Request = Scan | Locate | Fetch


class Rows(NamedTuple):
    """An answer: tuples of stored values, the columns' names, and how to decode each.

    For a scan without a group the first column is `object_id`; a ranked scan adds
    the score or the distance as the last one.
    """

    names: tuple[str, ...]
    decoders: tuple[Code | None, ...]
    tuples: list[tuple[Any, ...]]
    make: Callable[[Sequence[Sequence[Any]]], list[dict[str, Any]]] | None = None
    notes: tuple[str, ...] = ()


class Finding(NamedTuple):
    """Something that `check` found: what kind, where, whether it can be mended without inventing data."""

    backend: str
    entity: str | None
    kind: str
    detail: str
    repairable: bool


class Transaction(Protocol):
    """A unit of work on a primary; used by one thread, ended by exactly one of commit and rollback."""

    @property
    def lsn(self) -> int:
        """The number of this write: the first use takes the writers' lock and the next number.

        Raises:
            TransactionConflict: something was read in this transaction, and somebody has committed since.
        """
        ...

    @property
    def epoch(self) -> int:
        """The schema's count of changes: as of `lsn` once that is taken, else as last committed."""
        ...

    @property
    def locked(self) -> bool:
        """Whether `lsn` has been taken."""
        ...

    def bump_epoch(self) -> None:
        """Count a change of schema."""
        ...

    def commit(self) -> None:
        """Make everything visible and durable."""
        ...

    def rollback(self) -> None:
        """Undo everything; a second call does nothing."""
        ...


class Backend(Protocol):
    """One open engine. Any thread may call it."""

    name: str
    type: str
    capabilities: frozenset[str]

    def ddl(self, change: Change, tx: Any) -> None:
        """Create, extend or drop what a layout needs."""
        ...

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        """Insert or wholly replace rows; a row equal to the stored one is left alone, with its `_v`.

        Raises:
            UniqueViolation: with the position in the batch as `row`.
        """
        ...

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        """Delete rows; the ids that existed."""
        ...

    def run(self, request: Request, tx: Any = None) -> Rows:
        """Answer a request; inside `tx` with its own writes, else as of the last commit."""
        ...

    def estimate(self, request: Scan) -> int | None:
        """About how many rows would match, or None."""
        ...

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        """Look for what is wrong inside the engine; with `repair`, mend what follows from the rest."""
        ...

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...


class Primary(Backend, Protocol):
    """A backend that decides which rows exist. It stores `_v`, the LSN of the last change, with each row."""

    def begin(self, *, exclusive: bool = False) -> Transaction:
        """Start a transaction; with `exclusive` the writers' lock and the LSN are taken at once.

        Raises:
            BackendBusy: another process holds the lock for too long.
        """
        ...

    def versions(self, layout: Layout, ids: Sequence[str], tx: Any = None) -> list[int | None]:
        """The `_v` of each id, None for absent ones."""
        ...

    def scan(self, layout: Layout, *, batch_rows: int = 1000) -> Iterator[list[str]]:
        """All ids in order, in batches, without holding a lock between them."""
        ...

    def destroy(self) -> None:
        """Close and remove everything that was stored."""
        ...
