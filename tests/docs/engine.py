"""The engine that `docs/writing-a-plugin.md` builds, as a class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-plugin.md"


def json_file() -> Any:
    """The class `JsonFile` from the page's first blocks; nothing is registered."""
    names: dict[str, Any] = {"__name__": "page"}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for block in blocks:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
        if "JsonFile" in names:
            return names["JsonFile"]
    raise LookupError("the page has no class JsonFile")
