"""One open engine, called as the kernel calls it: layouts made, rows written and read, without a workspace.

Not here: workspaces on the engine (`heaven_core.testing.subject`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from heaven_core.backend import Backend, BackendConfig, Batch, Change, Column, Fetch, Layout, Limits, Scan, Written
from heaven_core.placement import LSN, PRIMARY, Placed, default_strategy, layouts_of, offered
from heaven_core.registry import registries
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.spread import beside, dicts

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.plugin import StoragePlugin
    from heaven_core.types import LogicalType

Row = dict[str, Any]

ENTITY = "thing"
UNBOUNDED = Limits(None, None, None)


class Bench:
    """An engine in a place of its own: as the primary if it can be one, else as one beside it."""

    def __init__(self, plugin: StoragePlugin, options: Mapping[str, Any], folder: Path) -> None:
        self.plugin = plugin
        self.name = PRIMARY if plugin.primary else "other"
        self.place = options, folder
        """What it was opened with."""
        self._config = BackendConfig(self.name, plugin.name, options, folder if plugin.persistent else None, "kit")
        self.opened: Any = None
        """The engine itself."""
        self.open()

    def open(self) -> None:
        """Open the engine at its place."""
        self.opened = self.another()
        self.engine: Backend = beside(self.opened)

    def another(self, **options: Any) -> Any:
        """One more open engine, with these options more."""
        made: Any = self.plugin.load_backend()
        return made(attrs.evolve(self._config, options={**self._config.options, **options}))

    def reopen(self) -> None:
        """Close the engine, and open it at the same place."""
        self.opened.close()
        self.open()

    # layouts -----------------------------------------------------------------------------------------------------

    def column(
        self, name: str, dtype: LogicalType[Any], strategy: str | None = None, indexes: Sequence[str] = (), **said: Any
    ) -> Column:
        """A field as this engine is to store it; by default in the usual form."""
        field = FieldSchema(ENTITY, name, dtype, **said)
        return Column(field, strategy or default_strategy(field), tuple(indexes))

    def columns(self, dtype: LogicalType[Any]) -> list[Column]:
        """A field in each form that the engine has for its type, the first with every index that there is."""
        strategies = registries().strategies()
        field = FieldSchema(ENTITY, "value", dtype)
        offers = [one for one in offered(field, self.plugin.name, registries()) if one != "external"]
        storing = [one for one in offers if strategies[one].stores] or [default_strategy(field)]
        indexes = [one for one in offers if not strategies[one].stores]
        plain = "scalar" in dtype.traits
        made = [self.column(f"v{place}", dtype, one) for place, one in enumerate(storing)]
        return [*made, self.column("indexed", dtype, storing[0], indexes, index=plain)]

    def layout(self, *columns: Column, entity: str = ENTITY) -> Layout:
        """What the engine stores of an entity with these fields."""
        schema = EntitySchema.made(entity, [attrs.evolve(one.field, entity=entity) for one in columns])
        placement = {field.name: Placed(PRIMARY, "inline") for field in schema.fields}
        placement |= {one.name: Placed(self.name, one.strategy, one.indexes) for one in columns}
        kinds = {PRIMARY: self.plugin.name, self.name: self.plugin.name}
        return layouts_of(schema, placement, kinds)[self.name]

    def made(self, *columns: Column) -> Layout:
        """The same, and the engine has made it."""
        layout = self.layout(*columns)
        self.engine.ddl(Change(None, layout), None)
        return layout

    # rows --------------------------------------------------------------------------------------------------------

    def write(self, layout: Layout, rows: Sequence[Row], tx: Any = None) -> Written:
        """Write rows of canonical values, which a field that is not named lacks; without `tx`, and commit."""
        batch = batch_of(layout, rows)
        return self.engine.write(layout, batch, None) if tx is None else self.opened.write(layout, batch, tx)

    def rows(self, layout: Layout, tx: Any = None, **said: Any) -> list[Row]:
        """The rows that a scan finds, by default all, in its order."""
        names = tuple(name for name in layout.names if name != LSN)
        said.setdefault("limits", UNBOUNDED)
        return dicts(self.opened.run(Scan(layout, names, **said), tx))

    def ids(self, layout: Layout, tx: Any = None, **said: Any) -> list[str]:
        """The ids that a scan finds."""
        said.setdefault("limits", UNBOUNDED)
        return [row[0] for row in self.opened.run(Scan(layout, **said), tx).tuples]

    def fetched(self, layout: Layout, ids: Sequence[str], tx: Any = None) -> list[Row]:
        """The rows with these ids."""
        rows = dicts(self.opened.run(Fetch(layout, ids), tx))
        return [{name: value for name, value in row.items() if name != LSN} for row in rows]


def batch_of(layout: Layout, rows: Sequence[Row]) -> Batch:
    """Rows as the kernel hands them over, each with the number of the write if the layout has it."""
    columns = {name: [row.get(name, 1 if name == LSN else None) for row in rows] for name in layout.names}
    return Batch(columns["object_id"], columns)
