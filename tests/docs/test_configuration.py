"""`docs/configuration.md` has every setting as the code has it, and every prefix that is protected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heaven_core import config
from heaven_core.config_files import PROTECTED

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_table_of_keys_is_the_code_s() -> None:
    rows = re.findall(r"(?m)^\| `([a-z_.]+)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.partition("## Layers")[0])

    written = {key: (takes.replace("`", ""), default.strip("`"), meaning) for key, takes, default, meaning in rows}

    assert written == {name: (key.takes, _default(name), key.desc) for name, key in config.KEYS.items()}
    assert [row[0] for row in rows] == sorted(config.KEYS)


def _default(name: str) -> str:
    if name == "home":
        return "your platform's data folder"
    return repr(config.KEYS[name].default).replace("'", '"')


def test_every_protected_prefix_is_on_the_page() -> None:
    section = PAGE.partition("## Trust")[2]

    assert [prefix for prefix in PROTECTED if f"`{prefix}`" not in section and f"`[{prefix}]`" not in section] == []
