"""Matrices kept in memory for an engine, in step with what it stores, within a budget.

An engine says the version of an entity's vectors as of the moment that it reads
(`get`), and which rows a commit changes (`note`). What was noted is read the next
time somebody asks; what was not, because another process wrote, makes the matrix
anew.

Not here: how vectors are searched (`heaven_core.matrix`), how they are stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from heaven_core.matrix import Matrix, Packed

_MOST_CHANGED = 0.25
"""The share of rows past which reading the changed ones is no quicker than reading all."""

_MOST_CHANGES = 1000


CHANCE_BITS = 24


def new_version(lsn: int) -> int:
    """The version that a write makes of an entity's vectors: its number, and chance.

    Without chance, two writes would have one version where a database was restored while it was open
    and is written to again, and what is in memory would pass for what is stored.
    """
    return lsn << CHANCE_BITS | int.from_bytes(os.urandom(CHANCE_BITS // 8), "big")


class Name(NamedTuple):
    """Which matrix: an entity's field, and the dimension of its vectors."""

    entity: str
    field: str
    dim: int


class Source(Protocol):
    """A field's vectors of one dimension as of one moment; a row has a whole number as its key."""

    def count(self) -> int:
        """How many rows there are at most."""
        ...

    def everything(self) -> Iterable[Packed]:
        """All of them, in parts."""
        ...

    def of(self, keys: Sequence[int]) -> Packed:
        """Those of some rows; rows without a vector are left out."""
        ...


class _Change(NamedTuple):
    """A commit that brings the vectors from one version to the next, and the keys of the rows that it changes."""

    before: int
    after: int
    keys: Sequence[Sequence[int]]


class _Kept:
    """One matrix as of `version`, and the commits that followed. `building` is held while it is read."""

    def __init__(self) -> None:
        self.building = threading.Lock()
        self.matrix: Matrix | None = None
        self.version = -1
        self.changes: list[_Change] = []
        self.refused = -1
        """The version that the budget had no room for."""

    @property
    def latest(self) -> int:
        """The version that the matrix has once every change is applied."""
        return self.changes[-1].after if self.changes else self.version

    def reaches(self, version: int) -> bool:
        """Whether the matrix is that of the version, or becomes it by what was noted."""
        return self.matrix is not None and (
            version == self.version or any(version == one.after for one in self.changes)
        )

    def start(self, version: int) -> None:
        """Have no matrix, and follow the commits after the version."""
        follows = [place for place, one in enumerate(self.changes) if one.before == version]
        self.matrix, self.version = None, version
        self.changes = self.changes[follows[0] :] if follows else []

    def taken(self, version: int) -> list[_Change]:
        """The changes up to the version, which are noted no longer."""
        upto = [one for one in self.changes if one.after <= version]
        self.changes = self.changes[len(upto) :]
        return upto


class MatrixCache:
    """The matrices of one open engine, within `budget_bytes`. Any thread may call it."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._kept: dict[Name, _Kept] = {}
        self._guard = threading.Lock()
        """Held for moments only: around everything but the reading of vectors."""

    @property
    def size_bytes(self) -> int:
        """How much memory they hold."""
        with self._guard:
            return _size(self._kept.values())

    def get(self, name: Name, version: int, source: Source) -> Matrix | None:
        """The matrix as of `version`, which `source` reads.

        None where the budget is too small for it, or where it is of a later version already.
        """
        with self._guard:
            kept = self._kept.pop(name, None) or _Kept()
            self._kept[name] = kept  # at the end: what was used last is given up last
        with kept.building:
            try:
                return self._matrix(kept, name, version, source)
            except BaseException:
                with self._guard:
                    self._kept.pop(name, None)
                raise

    def _matrix(self, kept: _Kept, name: Name, version: int, source: Source) -> Matrix | None:
        with self._guard:
            if kept.version > version or kept.refused == version:
                return None
            known = kept.reaches(version)
            changes = kept.taken(version) if known else []
            if not known:
                kept.start(version)
            matrix = kept.matrix
        if changes or matrix is None:
            matrix = self._read(
                kept, name, matrix, {key for one in changes for part in one.keys for key in part}, source
            )
            with self._guard:
                kept.matrix, kept.version = matrix, version
                kept.refused = version if matrix is None else -1
        return matrix

    def _read(self, kept: _Kept, name: Name, matrix: Matrix | None, changed: set[int], source: Source) -> Matrix | None:
        from heaven_core.matrix import packed_matrix

        if matrix is not None and len(changed) <= _MOST_CHANGED * matrix.size:
            keys = sorted(changed)
            return matrix.with_changes(keys, source.of(keys))
        room = source.count()
        if not self._has_room(kept, 4 * name.dim * room):
            return None
        return packed_matrix(name.dim, source.everything(), room)

    def _has_room(self, wanted: _Kept, size_bytes: int) -> bool:
        """Whether the budget has room, after giving up what was not used for longest."""
        if size_bytes > self._budget:
            return False
        with self._guard:
            for name in [name for name, one in self._kept.items() if one is not wanted]:
                if _size(self._kept.values()) + size_bytes <= self._budget:
                    break
                del self._kept[name]
        return True

    def is_beyond(self, name: Name, version: int) -> bool:
        """Whether the budget had no room for the matrix as of `version`, when somebody asked for it."""
        with self._guard:
            kept = self._kept.get(name)
            return kept is not None and kept.refused == version

    def note(self, entity: str, before: int, after: int, keys: Sequence[Sequence[int]]) -> None:
        """A commit that is about to happen changes these rows, and the entity's version from one to the other.

        If it does not happen, call `forget`.
        """
        with self._guard:
            for kept in [kept for name, kept in self._kept.items() if name.entity == entity]:
                if len(kept.changes) >= _MOST_CHANGES:  # nobody has asked for long
                    kept.start(-1)
                elif kept.latest == before:
                    kept.changes.append(_Change(before, after, keys))

    def forget(self, entity: str | None = None) -> None:
        """Give up the matrices of an entity, or all."""
        with self._guard:
            for name in [name for name in self._kept if entity in (None, name.entity)]:
                del self._kept[name]


def _size(kept: Iterable[_Kept]) -> int:
    return sum(matrix.size_bytes for one in kept if (matrix := one.matrix) is not None)
