"""`llms.txt` has the form of llmstxt.org, every page of the documentation, and no link that leads nowhere."""

from __future__ import annotations

import re

import pytest

from tests.docs import llms

pytestmark = pytest.mark.integration

ROOT = llms.ROOT
TEXT = (ROOT / "llms.txt").read_text(encoding="utf-8")
LINK = re.compile(r"- \[([^\]]+)\]\(([^)\s]+)\): (\S.*)")


def links() -> dict[str, str]:
    """Path -> line."""
    return {found[2]: found[3] for found in map(LINK.fullmatch, TEXT.splitlines()) if found}


def test_it_is_what_the_pages_make_now() -> None:
    assert llms.text() == TEXT, "run python -m tests.docs"


def test_it_has_a_title_a_summary_and_sections_that_are_nothing_but_links() -> None:
    head, *sections = TEXT.split("\n## ")

    assert re.match(r"# HeavenBase\n\n> [^\n]+\n\n[^#>\-][^\n]+\n", head)
    assert [
        line for section in sections for line in section.splitlines()[1:] if line and not LINK.fullmatch(line)
    ] == []
    assert sections[-1].startswith("Optional\n")
    assert all(section.count("\n- ") for section in sections)


def test_every_page_of_the_documentation_is_in_it_once() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"docs/README.md"}

    assert (
        set(links()) - {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} == pages
    )  # docs/README.md is this list itself
    assert len(links()) == TEXT.count("\n- ")


def test_every_link_leads_to_a_file() -> None:
    assert [path for path in links() if not (ROOT / path).is_file()] == []
