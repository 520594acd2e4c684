"""Schemas as a Mermaid `erDiagram`, of whose syntax nothing that a schema says can break out.

Mermaid's lexer takes a name in quotes for an entity; a word of ASCII letters, digits and
``-_[]()`` for a type or a field, but ``pk``, ``fk`` and ``uk`` in any case for a key; and a text in
quotes for a description, which ends at the next quote. ``%%`` begins a comment and ``~`` a generic
type wherever they stand, ``#...;`` is a character by its number, so words for readers lose what
is no letter, digit or plain punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heaven_core.types import Array, Vector

if TYPE_CHECKING:
    from typing import Any

    from heaven_core.schema import EntitySchema, FieldSchema
    from heaven_core.types import LogicalType

MAX_WORDS = 120
_KEYS = frozenset({"pk", "fk", "uk"})
_PUNCTUATION = frozenset(" .,:!?()'+*/=&@-_")


def diagram(schemas: Sequence[EntitySchema]) -> str:
    """The entities, each with its fields, their keys and descriptions."""
    lines = ["erDiagram"]
    for schema in schemas:
        lines.append(f'    "{schema.id}" {{')
        lines += [f"        {_line(field)}" for field in schema.fields]
        lines.append("    }")
    return "\n".join(lines)


def _line(field: FieldSchema) -> str:
    parts = [_word(_type(field.dtype)), _word(field.name)]
    if field.name == "object_id":
        parts.append("PK")
    elif field.unique:
        parts.append("UK")
    if words := _words(field):
        parts.append(f'"{words}"')
    return " ".join(parts)


def _type(dtype: LogicalType[Any]) -> str:
    if isinstance(dtype, Array):
        return "array" if dtype.item is None else f"array[{_type(dtype.item)}]"
    if isinstance(dtype, Vector) and dtype.dim is not None:
        return f"vector({dtype.dim})"
    return dtype.identifier


def _word(text: str) -> str:
    """`text` as one word that begins with a letter and is no key."""
    word = re.sub(r"[^A-Za-z0-9\-_\[\]()]", "_", text)
    if not word[:1].isalpha():
        word = f"t{word}"
    return f"{word}_" if word.lower() in _KEYS else word


def _words(field: FieldSchema) -> str:
    """What a reader is told of a field: what must hold, and its description."""
    said = f"required: {field.desc}" if field.required and field.name != "object_id" else field.desc
    plain = "".join(one if one.isalnum() or one in _PUNCTUATION else " " for one in said.replace(";", ","))
    return " ".join(plain.split())[:MAX_WORDS].strip(" :")
