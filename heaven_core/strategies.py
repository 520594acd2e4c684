"""Strategies: in which form a field lies in its engine.

A field has one *storing* strategy, which holds its value, and any number of
*index* strategies beside it, which make some operations fast. A strategy here is
only a name and a promise; which engine offers it for which type is what the
handlers say (`heaven_core.handlers`).
"""

from __future__ import annotations

from typing import Any, ClassVar, cast


class Strategy:
    """The root. One of your own sets `identifier`; `stores` tells a storing strategy from an index."""

    identifier: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    desc: ClassVar[str] = ""
    stores: ClassVar[bool] = False


class InlineColumn(Strategy):
    """A column of the entity's table."""

    identifier, aliases, desc, stores = "inline", ("InlineColumn",), "a column of the entity's table", True


class JsonField(Strategy):
    """JSON text in a column of the entity's table."""

    identifier, aliases, desc, stores = "json", ("JsonField",), "JSON text in a column", True


class SideTable(Strategy):
    """The items of an array also in a table of their own, so that a look-up by item uses an index."""

    identifier, aliases, desc, stores = "side", ("SideTable",), "array items in a table of their own", True


class ExternalRef(Strategy):
    """A content-addressed file in the workspace folder; the row holds its hash."""

    identifier, aliases, desc, stores = "external", ("ExternalRef",), "a file beside the rows", True


class InvertedIndex(Strategy):
    """A full-text index: `match` and ranked `search`."""

    identifier, aliases, desc = "inverted", ("InvertedIndex", "fulltext"), "a full-text index"


class SuffixIndex(Strategy):
    """An index of reversed text: `ends_with` without a scan."""

    identifier, aliases, desc = "suffix-index", ("SuffixIndex",), "an index of text endings"


class TrigramIndex(Strategy):
    """An index of three-character runs: `contains` and `like` without a scan."""

    identifier, aliases, desc = "trigram-index", ("TrigramIndex",), "an index of three-character runs"


class VectorIndex(Strategy):
    """An index of vectors: `near`."""

    identifier, aliases, desc = "vector", ("VectorIndex",), "an index of vectors"


BUILTIN: tuple[type[Strategy], ...] = (
    InlineColumn,
    JsonField,
    SideTable,
    ExternalRef,
    InvertedIndex,
    SuffixIndex,
    TrigramIndex,
    VectorIndex,
)


def strategy_identifier(given: Any) -> str:
    """The identifier that a strategy class, instance or text means. Whether it is known is the registry's matter."""
    if isinstance(given, str):
        return given
    if isinstance(given, Strategy) or (isinstance(given, type) and issubclass(given, Strategy)):
        return given.identifier
    from heaven_core.errors import SchemaError, shown

    raise SchemaError(
        f"{shown(cast('object', given))} is no strategy; pass one such as heavenbase.SideTable, or its identifier"
    )
