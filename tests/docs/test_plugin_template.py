"""`docs/plugin-template.md` shows the template as it is: each excerpt stands in one of its files, word for word."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.docs.test_code_blocks import Block, blocks_of

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugin-template.md").read_text(encoding="utf-8")
TEMPLATE = ROOT / "demos" / "plugin_template"
EXCERPTS = [block for block in blocks_of(PAGE) if block.language in {"py", "toml"}]


def _files() -> dict[str, str]:
    paths = [*TEMPLATE.glob("*.*"), *TEMPLATE.glob("src/*/*.py"), *TEMPLATE.glob("tests/*.py")]
    return {path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize("block", EXCERPTS, ids=lambda block: f"line {block.line}")
def test_an_excerpt_stands_in_a_file_of_the_template(block: Block) -> None:
    assert [name for name, text in _files().items() if block.text in text], textwrap.indent(block.text, "  ")


def test_the_page_shows_every_file_with_code() -> None:
    shown = {name for block in EXCERPTS for name, text in _files().items() if block.text in text}

    assert shown == set(_files())
