"""`ConfigLayer`: settings as rows, for those who enable it; no workspace has it by itself."""

from __future__ import annotations

from heaven_core.entity import Entity, field
from heaven_core.types import Json, ShortText


class ConfigLayer(Entity):
    """One setting of one layer."""

    identifier = "sys-config-layer"

    layer = field(ShortText).required().index().desc("the layer's name, such as user or project")
    key = field(ShortText).required().index().desc("the setting, such as extensions.default")
    value = field(Json).desc("its value in this layer")
    origin = field(ShortText).desc("where the value was read from")
