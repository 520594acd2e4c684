"""`ConfigLayer`: what each layer sets, as rows, for those who register it; no workspace has it by itself.

Derived: it says what `heaven_core.config` says at the moment of the query. Defaults
are set by nobody, so they are no rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heaven_core import config
from heaven_core.derive import Hints, View
from heaven_core.entity import Entity, field
from heaven_core.identity import digest
from heaven_core.types import Boolean, Identifier, Json, ShortText


def rows(view: View, hints: Hints) -> Iterator[dict[str, Any]]:
    """One row per layer and key that it sets."""
    for entry in config.entries():
        yield {
            "object_id": digest(f"{entry.layer}\x1f{entry.key}", b"hb-config"),
            "name": entry.key,
            "layer": entry.layer,
            "key": entry.key,
            "value": config.REDACTED if config.is_secret(entry.key) else entry.value,
            "origin": entry.origin,
            "effective": entry.effective,
            "ignored": entry.ignored or None,
        }


class ConfigLayer(Entity):
    """The settings that are set somewhere: by which layer, to what, and whether that counts."""

    identifier = "sys-config-layer"
    __derived__ = rows

    layer = field(Identifier).desc("code, environment, project or user")
    key = field(ShortText).desc("the setting, such as extensions.default")
    value = field(Json).desc("its value in this layer; secrets are not shown")
    origin = field(ShortText).desc("code, env:NAME, project file or user file")
    effective = field(Boolean).desc("whether it is the value that holds: the nearest layer's that counts")
    ignored = field(ShortText).desc("why it doesn't count, such as an untrusted project; null where it may")
