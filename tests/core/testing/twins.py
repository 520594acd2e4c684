"""Engines that break one promise each, and the conformance kit on each of them.

Run by `test_conformance.py` in a process of its own; here most tests fail on purpose.
Each says which checks must fail, and no other may.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from heaven_core import ext
from heaven_core.backend import Fetch, Finding, Limits, Rows, Scan, Written
from heaven_core.errors import UniqueViolation, WorkspaceClosed
from heaven_core.handlers import AllOf, Handler, QueryFragment
from heaven_core.placement import LSN
from heaven_core.testing import StorageConformance
from heaven_inmem.engine import MemoryBackend, MemoryTransaction
from heaven_inmem.handlers import handlers as memory_handlers
from tests.docs.engine import json_file

EVERY: dict[str, frozenset[str]] = {}
"""The name of each test class, and the checks that must fail in it."""

CHOSEN = "TWIN"
"""The variable that names those that are to be tested."""


class Memory(MemoryBackend):
    """The memory engine under a name of its own."""

    served: ClassVar[Callable[[], Iterable[Handler]]] = memory_handlers

    def __init__(self, config: ext.BackendConfig) -> None:
        super().__init__(config)
        self.type = config.type


JsonFile: Any = json_file()


def twin(*breaks: str) -> Callable[[type[Any]], type[Any]]:
    """Register an engine under the name of its class, and test it."""

    def registered(cls: type[Any]) -> type[Any]:
        name = cls.__name__.lower()
        EVERY[f"Test{cls.__name__}"] = frozenset(breaks)
        if f"Test{cls.__name__}" not in os.environ.get(CHOSEN, "").split():
            return cls  # to register a thousand handlers takes time
        served = [one._replace(key=one.key._replace(backend=name)) for one in getattr(cls, "served", list)()]
        cls.type = name
        ext.register_backend_class(cls, name, handlers=served, persistent=not issubclass(cls, Memory))
        globals()[f"Test{cls.__name__}"] = type(
            f"Test{cls.__name__}", (StorageConformance,), {"backend": name, "__module__": __name__}
        )
        return cls

    return registered


def plain(request: Any) -> bool:
    """Whether it is a scan for rows, not ranked and not grouped."""
    return isinstance(request, Scan) and not (request.near or request.search or request.group)


def changed(request: Scan, **said: Any) -> Scan:
    """The scan with something else in it."""
    kept = {name: getattr(request, name) for name in Scan.__slots__ if name not in {"layout", "columns"}}
    return Scan(request.layout, request.columns, **{**kept, **said})


# -- sound ones ----------------------------------------------------------------------------------------------------


@twin()
class Sound(Memory):
    """Breaks nothing."""


@twin()
class SoundFile(JsonFile):
    """Breaks nothing, and keeps what it has."""


# -- what it says of itself ----------------------------------------------------------------------------------------


@twin("test_every_method_of_the_protocol_is_there", "test_a_scan_gives_every_id_once_in_order_in_batches")
class LacksAParameter(Memory):
    def scan(self, layout: Any) -> Iterator[list[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().scan(layout)


@twin("test_an_engine_that_ranks_has_a_handler_for_it")
class BoastsOfVectors(Memory):
    @staticmethod
    def served() -> Iterator[Handler]:
        return (one for one in memory_handlers() if one.key.op != "near")


@twin("test_an_option_that_it_does_not_have_is_refused_by_name")
class TakesAnyOption(Memory):
    def __init__(self, config: ext.BackendConfig) -> None:
        super().__init__(ext.BackendConfig(config.name, config.type, {}, config.folder, config.workspace))


# -- rows ----------------------------------------------------------------------------------------------------------


@twin(
    "test_a_row_is_replaced_as_a_whole", "test_an_equal_row_keeps_its_version_and_a_changed_one_gets_that_of_the_write"
)
class KeepsWhatANullReplaces(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        stored = {
            row[0]: dict(zip(layout.names, row, strict=True)) for row in self.run(Fetch(layout, batch.ids)).tuples
        }
        columns = {
            name: [
                stored.get(one, {}).get(name) if value is None else value
                for one, value in zip(batch.ids, batch.columns[name], strict=True)
            ]
            for name in layout.names
        }
        return super().write(layout, batch._replace(columns=columns), tx)


@twin("test_what_is_stored_is_nobody_elses_object")
class KeepsTheCallersLists(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        written = super().write(layout, batch, tx)
        for place, one in enumerate(batch.ids):
            if (row := tx.changes[layout.entity].get(one)) and isinstance(row.get("value"), list):
                row["value"] = batch.columns["value"][place]
        return written


@twin("test_values_come_back_as_they_were_written")
class ShortensTexts(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        columns = {
            name: [value[:250] if type(value) is str else value for value in column]
            for name, column in batch.columns.items()
            if name != "object_id"
        }
        return super().write(layout, batch._replace(columns={**batch.columns, **columns}), tx)


@twin("test_values_are_there_after_reopening", "test_a_workspace_is_the_same_after_reopening")
class LosesARowWhenItIsOpened(JsonFile):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for rows in self.saved["tables"].values():
            if len(rows) > 2:
                del rows[min(rows)]


@twin("test_what_was_acknowledged_survives_a_killed_process")
class SavesWhenItIsClosed(JsonFile):
    capabilities = frozenset({"primary", "durable"})

    def save(self, state: Any) -> None:
        self.saved = state

    def close(self) -> None:
        if not self.closed:
            super().save(self.saved)
        super().close()


@twin("test_rows_are_ordered_with_nulls_last_and_ties_by_id", "test_pages_have_the_rows_that_they_should")
class PutsNullsFirst(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if not plain(request) or not request.order:
            return super().run(request, tx)
        key = request.order[0].name
        whole = Scan(
            request.layout, (*request.columns, key), where=request.where, order=request.order, limits=request.limits
        )
        tuples = sorted(super().run(whole, tx).tuples, key=lambda row: row[-1] is not None)
        stop = None if request.limit is None else request.offset + request.limit
        return Rows(
            request.columns, (None,) * len(request.columns), [row[:-1] for row in tuples[request.offset : stop]]
        )


@twin("test_rows_are_ordered_with_nulls_last_and_ties_by_id", "test_pages_have_the_rows_that_they_should")
class CountsTheOffsetIntoTheLimit(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if plain(request) and request.limit is not None:
            request = changed(request, limit=max(0, request.limit - request.offset))
        return super().run(request, tx)


@twin("test_an_answer_with_more_rows_than_the_cap_is_refused")
class CutsAtTheCap(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        cap = request.limits.max_rows if plain(request) else None
        if cap is not None and (request.limit is None or request.limit > cap):
            request = changed(request, limit=cap)
        return super().run(request, tx)


@twin("test_an_estimate_is_none_or_plausible")
class GuessesWildly(Memory):
    def estimate(self, request: Scan) -> int | None:
        return -1


@twin(
    "test_lost_rows_are_a_finding",
    "test_a_rollback_undoes_everything",
    "test_nothing_is_left_of_an_engine_that_was_destroyed",
)
class FindsNothing(Memory):
    def recover(self, layouts: Sequence[Any], *, repair: bool) -> list[Finding]:
        return []


@twin("test_a_closed_engine_refuses_with_an_error_of_its_own")
class WorksOnWhenClosed(Memory):
    def close(self) -> None:
        pass

    def destroy(self) -> None:
        super().close()


@twin(
    "test_a_second_close_does_nothing",
    "test_a_closed_engine_refuses_with_an_error_of_its_own",
)
class ClosesOnce(Memory):
    def close(self) -> None:
        if self._closed:
            raise WorkspaceClosed("it is closed already")
        super().close()


# -- what a primary decides ----------------------------------------------------------------------------------------


@twin("test_a_write_says_which_rows_it_inserted_replaced_and_left_alone")
class SaysReplacedOfEqualRows(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        inserted, updated, _ = super().write(layout, batch, tx)
        return Written(inserted, sorted({*updated, *set(range(len(batch.ids))) - set(inserted)}), 0)


@twin("test_an_equal_row_keeps_its_version_and_a_changed_one_gets_that_of_the_write")
class GivesEqualRowsANewVersion(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        written = super().write(layout, batch, tx)
        for one in batch.ids:
            if one not in tx.changes[layout.entity]:
                tx.changes[layout.entity][one] = {**self.tables[layout.entity].rows[one], "_v": tx.lsn}
        return written


@twin("test_values_that_only_look_alike_are_a_change")
class ComparesAsPythonDoes(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        rows = self._table(layout).rows
        columns = {
            name: [
                rows[one][name] if one in rows and rows[one][name] == value else value
                for one, value in zip(batch.ids, batch.columns[name], strict=True)
            ]
            for name in layout.names
            if name != LSN
        }
        return super().write(layout, batch._replace(columns={**batch.columns, **columns}), tx)


@twin("test_a_delete_answers_with_the_ids_that_existed")
class SaysDeletedOfNobody(Memory):
    def delete(self, layout: Any, ids: Sequence[str], tx: Any) -> list[str]:
        super().delete(layout, ids, tx)
        return list(ids)


@twin(
    "test_a_value_that_another_row_has_is_refused_with_its_position",
    "test_after_a_refused_value_the_transaction_is_as_before_and_can_go_on",
)
class SwallowsAUniqueViolation(Memory):
    def _check_unique(self, table: Any, overlay: Any, batch: Any) -> None:
        pass


@twin("test_a_value_that_another_row_has_is_refused_with_its_position")
class BlamesTheFirstRow(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        try:
            return super().write(layout, batch, tx)
        except UniqueViolation as error:
            raise UniqueViolation.at(layout.entity, error.field, 0, error.value, "is taken") from error


@twin("test_after_a_refused_value_the_transaction_is_as_before_and_can_go_on")
class KeepsHalfOfARefusedBatch(Memory):
    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        try:
            return super().write(layout, batch, tx)
        except UniqueViolation:
            row = {name: column[0] for name, column in batch.columns.items()}
            tx.changes[layout.entity][batch.ids[0]] = {**row, "_v": tx.lsn}
            raise


@twin("test_to_write_after_reading_what_somebody_has_changed_is_a_conflict")
class NoticesNoConflict(Memory):
    def begin(self, *, exclusive: bool = False) -> MemoryTransaction:
        tx: Any = super().begin(exclusive=exclusive)
        tx.note_read = lambda: None
        return tx


@twin("test_a_transaction_reads_its_own_writes_and_nobody_else_does")
class CannotFetchItsOwnWrites(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if isinstance(request, Fetch) and tx is not None:
            tx.note_read()
            return super().run(request)
        return super().run(request, tx)


@twin("test_a_rollback_undoes_everything")
class KeepsTablesOfARollback(Memory):
    def _put_back(self, entity: str, before: Any) -> None:
        pass


@twin("test_readers_in_threads_see_whole_commits", "test_readers_in_threads_see_whole_writes")
class ShowsHalfACommit(Memory):
    def apply(self, changes: Any, lsn: int, bumps: int) -> None:
        for entity, rows in changes.items():
            for one, row in rows.items():
                super().apply({entity: {one: row}}, self.last_lsn, 0)
                if len(rows) < 100:
                    time.sleep(0.0001)
        super().apply({}, lsn, bumps)


@twin("test_writers_in_threads_lose_no_update")
class LocksNobodyOut(Memory):
    def take_writer(self) -> None:
        pass

    def release_writer(self) -> None:
        pass

    def run(self, request: Any, tx: Any = None) -> Rows:
        found = super().run(request, tx)
        if tx is not None:
            time.sleep(0.002)
        return found


@twin("test_a_scan_gives_every_id_once_in_order_in_batches")
class ScansInAnyOrder(Memory):
    def scan(self, layout: Any, *, batch_rows: int = 1000) -> Iterator[list[str]]:
        return iter([list(self.tables[layout.entity].rows)])


@twin("test_numbers_versions_and_epoch_are_there_after_reopening")
class CountsAnewWhenItIsOpened(JsonFile):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.saved["lsn"] = min(self.saved["lsn"], 1)


# -- answers -------------------------------------------------------------------------------------------------------


def with_filter(op: str, holds: Callable[[Any, Any], bool]) -> Callable[[], Iterator[Handler]]:
    """The memory engine's handlers with another test (of value and argument) in the place of one operation's."""

    def compiled(field: Any, value: Any, ctx: Any) -> QueryFragment:
        return QueryFragment(ctx.backend, op, field.name, lambda row: holds(row.get(field.name), value))

    def made() -> Iterator[Handler]:
        return (one._replace(compile=compiled) if one.key.op == op else one for one in memory_handlers())

    return made


@twin("test_every_condition_means_what_it_says")
class ForgetsNullsInNe(Memory):
    served = staticmethod(with_filter("ne", lambda held, value: held is not None and held != value))


@twin("test_every_condition_means_what_it_says")
class ReadsPercentInAPrefix(Memory):
    served = staticmethod(
        with_filter("starts_with", lambda held, value: held is not None and held.startswith(value.rstrip("%")))
    )


@twin("test_conditions_combine")
class TakesOrForAnd(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if plain(request) and isinstance(request.where, AllOf):
            request = changed(request, where=request.where.parts[0])
        return super().run(request, tx)


@twin("test_groups_and_aggregates_are_what_they_should_be")
class CountsNullsToo(Memory):
    @staticmethod
    def served() -> Iterator[Handler]:
        def counted(field: Any, value: Any, ctx: Any) -> QueryFragment:
            return QueryFragment(ctx.backend, "count", field.name, lambda values: len(values) + 1)

        return (one._replace(compile=counted) if one.key.op == "count" else one for one in memory_handlers())


@twin("test_the_nearest_vectors_come_first_and_ties_by_id")
class RanksTiesAnyhow(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        found = super().run(request, tx)
        if isinstance(request, Scan) and request.near and not request.order:
            place = request.columns.index("object_id")
            found.tuples.sort(key=lambda row: row[place], reverse=True)
            found.tuples.sort(key=lambda row: row[-1])
        return found


@twin("test_a_search_finds_the_rows_with_one_of_its_words")
class WantsEveryWord(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if isinstance(request, Scan) and request.search and len(request.search.tokens) > 1:
            request = changed(request, search=request.search._replace(tokens=request.search.tokens[:1]))
        return super().run(request, tx)


@twin("test_a_query_that_passes_its_deadline_is_stopped")
class IgnoresTheDeadline(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if isinstance(request, Scan):
            request = changed(request, limits=Limits(None, *request.limits[1:]))
        return super().run(request, tx)


@twin("test_a_query_that_is_cancelled_is_stopped")
class CannotBeCancelled(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if isinstance(request, Scan):
            request = changed(request, limits=request.limits._replace(cancel=None))
        return super().run(request, tx)


# -- what only random worlds find ----------------------------------------------------------------------------------


@twin("test_random_questions_have_the_same_answer_as_in_memory")
class ForgetsAThirdCondition(Memory):
    def run(self, request: Any, tx: Any = None) -> Rows:
        if plain(request) and isinstance(request.where, AllOf) and len(request.where.parts) > 2:
            request = changed(request, where=AllOf(request.where.parts[:2]))
        return super().run(request, tx)


@twin("test_random_writes_leave_the_same_rows_as_in_memory")
class ForgetsARowThatComesBack(Memory):
    def delete(self, layout: Any, ids: Sequence[str], tx: Any) -> list[str]:
        self.gone = {*getattr(self, "gone", ()), *ids}
        return super().delete(layout, ids, tx)

    def write(self, layout: Any, batch: Any, tx: Any) -> Written:
        written = super().write(layout, batch, tx)
        for one in getattr(self, "gone", set[str]()) & set(batch.ids):
            if not layout.entity.startswith("hb-") and layout.entity != "thing":
                tx.changes[layout.entity][one] = None
        return written
