"""How to extend HeavenBase from your own code, without installing anything: in two layers, then undone again.

    python demos/developer/03_write_an_extension.py

An *entity extension* adds structure: entities that a workspace has once the extension is enabled there.
A *developer extension* adds behaviour: here an operation, and a handler, which says how one type of backend serves
the operation on one type of field under one strategy. Each registration takes effect at once in the whole process
and can be taken back with `unregister()`.

To ship an extension as a package instead, read `docs/extensions.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import heavenbase as hb


class Recipe(hb.Entity):
    """The structure: what a workspace has more when the extension is enabled."""

    title = hb.field(hb.ShortText).required().store(strategy=hb.SuffixIndex)
    minutes = hb.field(hb.Integer)


COOKBOOK = hb.ext.Extension(
    hb.ext.ExtensionSpec("cookbook", name="Cookbook", desc="Recipes and how long they take.", entities=(Recipe,))
)

RECIPES = [
    {"title": "Onion soup", "minutes": 50},
    {"title": "Leek SOUP", "minutes": 35},
    {"title": "Soup dumplings", "minutes": 90},
    {"title": "Apple pie"},
]

OP = "ends_with_any_case"


def meaning(dtype: hb.LogicalType[Any], ending: str) -> Callable[[str], bool]:
    """What the operation means: a test of one value that is there. It is enough to use it with every backend."""
    return lambda text: text.casefold().endswith(ending.casefold())


def compile_for_memory(field: hb.FieldSchema, ending: str, ctx: hb.ext.HandlerContext) -> hb.ext.QueryFragment:
    """How the memory engine serves it. A handler compiles and reads nothing; this engine runs predicates on rows."""
    name, test = field.name, meaning(field.dtype, ending)

    def payload(row: Mapping[str, Any]) -> bool:
        return row[name] is not None and test(row[name])

    return hb.ext.QueryFragment(ctx.backend, OP, name, payload)


def main() -> None:
    with hb.HeavenBase("kitchen", preset="debug") as ws:
        print("1. An entity extension adds structure")
        cookbook = hb.ext.register_extension(COOKBOOK)
        spec = ws.enable_extension("cookbook")
        print(f"   {spec.name} is enabled beside {', '.join(one.name for one in ws.extensions() if one is not spec)}")
        ws.upsert_many(Recipe, RECIPES)
        print(f"   {ws.count(Recipe)} recipes are stored; the fields that MetaSchema describes:")
        fields = ws.query(hb.MetaSchema).where({"kind": "field", "entity": Recipe.identifier})
        print(f"   {', '.join(fields.execute().column('subject'))}")

        print("\n2. A developer extension adds behaviour: an operation, then a handler for it")
        ask(ws)
        op = hb.ext.register_op(OP, trait="text", test=meaning, desc="ends with a text, in upper or lower case")
        ask(ws)
        handler = hb.ext.register_handler("demo", hb.ShortText, OP, "inmem", hb.SuffixIndex, compile_for_memory)
        ask(ws)

        print("\n3. Every registration can be taken back")
        for registration in (handler, op, cookbook):
            registration.unregister()
        ask(ws)
        print(f"   the workspace keeps what it has: {ws.count(Recipe)} recipes")
    enable_in_a_new_workspace()


def ask(ws: hb.HeavenBase) -> None:
    """Ask for soups, and say who answered; an operation that isn't registered can't be asked."""
    try:
        query = ws.query(Recipe).where({"title": {f"${OP}": "soup"}}).order_by("title")
    except hb.errors.UnknownOp as error:
        print(f"   refused: {error}")
        return
    step = query.explain().steps[0]
    how = f"the handler of {step['handler']!r}" if "handler" in step else step["notes"]
    print(f"   {', '.join(query.execute().column('title'))}  ({how})")


def enable_in_a_new_workspace() -> None:
    with hb.HeavenBase("pantry", preset="debug") as ws:
        try:
            ws.enable_extension("cookbook")
        except hb.errors.UnknownPlugin as error:
            print(f"   another one is told: {error}")


if __name__ == "__main__":
    main()
