"""`llms.txt`: the map of the documentation for language models, in the form of https://llmstxt.org.

A title, a summary, and one list per section with a link and a line for each page. The sections and lines are those
of `docs/README.md`, and of the reference pages. `python -m tests.docs` writes it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from tests.docs import reference
from tests.docs.reference import ROOT

FILE = ROOT / "llms.txt"
INDEX = "docs/reference/README.md"
OPTIONAL = {
    "docs/seeds.md": "Which line of the original documents is answered where?",
    "docs/PROCESS/ISSUE_CONVENTIONS.md": "What does an issue hold, and how does it end?",
    "CHANGELOG.md": "What has changed for users and for authors of plugins?",
}
"""Pages that a reader with little room may leave out, with their lines."""


def text() -> str:
    """The file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = ["# HeavenBase", "", f"> {project['description']}", "", *readme.split("\n\n")[1].splitlines()]
    for title, links in _sections():
        lines += ["", f"## {title}", "", *(f"- [{name}]({path}): {desc}" for name, path, desc in links)]
    return "\n".join(lines) + "\n"


Links = list[tuple[str, str, str]]


def _sections() -> Iterator[tuple[str, Links]]:
    first, second = _tables()
    yield "Using it", [("README", "README.md", "What is it, and how does a first program look?"), *first]
    yield "Building on it", second
    yield "Reference", [("Index", INDEX, "One page per name, each with an example, and how to read them")]
    for title, entries in reference.entries().items():
        yield f"Reference: {title.lower()}", [(one.name, f"docs/reference/{one.path}", one.desc) for one in entries]
    yield "Optional", [(path.rpartition("/")[2], path, line) for path, line in OPTIONAL.items()]


def _tables() -> list[Links]:
    """The two tables of `docs/README.md`, with paths from the root."""
    page = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    found: list[Links] = []
    for table in page.split("|---|---|\n")[1:]:
        rows = re.findall(r"(?m)^\| \[(.+?)\]\((.+?)\) \| (.+?) \|$", table)
        links = [(name, _from_root(path), desc) for name, path, desc in rows]
        found.append([link for link in links if link[1] not in {*OPTIONAL, INDEX}])
    return found


def _from_root(path: str) -> str:
    return path.removeprefix("../") if path.startswith("../") else f"docs/{path}"
