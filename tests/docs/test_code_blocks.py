"""The pages are true: each Python block runs, each output shown is what it prints, each link leads somewhere.

The blocks of one page run in order in one module, in an empty folder, with registries of their own. A block is
compared with the ```text block after it; one that has none must print nothing. Also here: that the pages mention
every public name, hook, type, strategy and operation; and that drawings can be shown.
Not here: the README's commands (`tests/test_packaging.py`), whether the reference is up to date (`test_reference.py`).
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

import pytest

import heavenbase as hb
from heaven_core.hooks import KINDS, Specs
from heaven_core.testing import isolated_registries

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = sorted((ROOT / "docs" / "reference").rglob("*.md"))
WITH_PYTHON = [page for page in [*PAGES, *MADE] if "```python\n" in page.read_text(encoding="utf-8")]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "PROCESS").glob("*.md")), *MADE]


class Block(NamedTuple):
    """A fenced block: the number of its first line in the page, its language, its lines."""

    line: int
    language: str
    lines: list[str]

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    block: Block | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if block is None and line.startswith("```"):
            block = Block(number + 1, line.removeprefix("```").strip(), [])
        elif block is not None and line == "```":
            yield block
            block = None
        elif block is not None:
            block.lines.append(line)
    assert block is None, f"the block at line {block.line} has no end"


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class Page:
    """A page's Python as one module, whose lines have the numbers that they have in the page."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.name = relative(page)
        self.blocks = list(blocks_of(page.read_text(encoding="utf-8")))
        self.file = folder / f"page_{page.stem.replace('-', '_').lower()}.py"
        self.file.write_text(self._source(), encoding="utf-8")
        self.module = ModuleType(self.file.stem)
        self.module.__file__ = str(self.file)

    def _source(self) -> str:
        """Blank lines around the blocks, so that tracebacks and `inspect` find each line."""
        lines: list[str] = []
        for block in self.blocks:
            if block.language == "python":
                lines += [""] * (block.line - 1 - len(lines)) + block.lines
        return "\n".join(lines) + "\n"

    def problem(self) -> str | None:
        """What the first block that is not true does, with page and line; None if all are."""
        for position, block in enumerate(self.blocks):
            if block.language == "python":
                after = self.blocks[position + 1] if position + 1 < len(self.blocks) else None
                problem = self._problem_of(block, after if after is not None and after.language == "text" else None)
                if problem is not None:
                    return problem
        return None

    def _problem_of(self, block: Block, shown: Block | None) -> str | None:
        printed = io.StringIO()
        try:
            code = compile("\n" * (block.line - 1) + block.text, str(self.file), "exec", dont_inherit=True)
            with contextlib.redirect_stdout(printed):
                exec(code, vars(self.module))
        except Exception as error:  # a block may raise anything
            return f"{self.name}:{self._line_of(error, block)}: {type(error).__name__}: {error}\n" + "".join(
                traceback.format_exception(error)
            )
        expected = "" if shown is None else shown.text
        if printed.getvalue() == expected:
            return None
        line = block.line if shown is None else shown.line
        return f"{self.name}:{line}: printed\n{printed.getvalue()}\nand not\n{expected}"

    def _line_of(self, error: Exception, block: Block) -> int:
        if isinstance(error, SyntaxError) and error.lineno is not None and error.filename == str(self.file):
            return error.lineno
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.file)]
        return frames[-1].lineno or block.line if frames else block.line


@pytest.mark.parametrize("page", WITH_PYTHON, ids=relative)
def test_every_python_block_of_a_page_runs_and_prints_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "80")  # what is shown is as wide as the terminal
    monkeypatch.setattr(sys, "path", list(sys.path))
    made = Page(page, tmp_path)
    monkeypatch.setitem(sys.modules, made.module.__name__, made.module)

    with isolated_registries():
        problem = made.problem()

    assert problem is None, problem


def test_a_page_that_is_wrong_is_reported_with_its_line(tmp_path: Path) -> None:
    wrong = {
        "raises": ("one\n```python\nx = 1\n\n1 / 0\n```\n", ":5: ZeroDivisionError"),
        "no-python": ("```python\nx = (\n```\n", ":2: SyntaxError"),
        "prints": ("```python\nprint(1)\n```\n\n```text\n2\n```\n", ":6: printed"),
        "silent": ("```python\nprint(1)\n```\n", ":2: printed"),
    }

    for name, (text, expected) in wrong.items():
        page = ROOT / "docs" / f"{name}.md"
        problem = _problem_of_text(page, text, tmp_path)
        assert problem is not None
        assert problem.startswith(f"docs/{name}.md{expected}"), problem


def _problem_of_text(page: Path, text: str, folder: Path) -> str | None:
    made = Page.__new__(Page)
    made.name, made.blocks = relative(page), list(blocks_of(text))
    made.file = folder / "wrong.py"
    made.module = ModuleType("wrong")
    return made.problem()


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^```.*?^```$", "", text))


def _links(page: Path) -> Iterator[tuple[str, str]]:
    """The page's relative links: file (empty for the page itself) and heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            file, _, heading = target.partition("#")
            yield file, heading


def _headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    titles = re.findall(r"(?m)^#+ +(.+?) *$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=relative)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = [
        f"{file}#{heading}"
        for file, heading in _links(page)
        if not (target := page.parent / file if file else page).exists()
        or (heading and target.suffix == ".md" and heading not in _headings(target))
    ]

    assert broken == []


def _spans() -> set[str]:
    """Everything that the pages set as code within their sentences and tables."""
    return {span for page in PAGES for span in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("kind", ["public names", "hooks", "logical types", "strategies", "operations"])
def test_the_pages_mention_everything(kind: str) -> None:
    everything = {
        "public names": set(hb.__all__),
        "hooks": set(KINDS),
        "logical types": set(hb.capabilities.logical_types()),
        "strategies": set(hb.capabilities.strategies()),
        "operations": set(hb.capabilities.ops()),
    }

    missing = everything[kind] - {span.removeprefix("hb.").removesuffix("()") for span in _spans()}

    assert missing == set()


def test_every_hook_has_a_kind() -> None:
    specified = {name for name in vars(Specs) if name.startswith("heaven_")}

    assert specified == set(KINDS)


def test_the_list_of_names_is_the_list_of_names() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    rows = re.findall(r"(?m)^\| `([A-Za-z_]+)` +\|", page.partition("## `heavenbase`")[2].partition("\n## ")[0])

    assert rows == sorted(hb.__all__)


def test_the_list_of_extension_names_is_the_list_of_extension_names() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    rows = re.findall(r"(?m)^\| `([A-Za-z_]+)` +\|", page.partition("## `heavenbase.ext`")[2].partition("\n## ")[0])

    assert rows == sorted(hb.ext.__all__)


def _methods(cls: type) -> set[str]:
    """The public methods and properties of a class."""
    found = {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}
    return {name for name, one in found.items() if inspect.isfunction(one) or isinstance(one, property)}


@pytest.mark.parametrize(
    ("heading", "methods"),
    [
        ("Of a workspace and a transaction", _methods(hb.Transaction)),
        ("Of a workspace", _methods(hb.HeavenBase) - _methods(hb.Transaction)),
        ("Of a query", _methods(hb.Query)),
    ],
    ids=["shared", "workspace", "query"],
)
def test_the_lists_of_methods_have_every_public_method_and_no_other(heading: str, methods: set[str]) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    rows = re.findall(r"(?m)^\| `([a-z_]+)[(`]", page.partition(f"### {heading}\n")[2].partition("\n##")[0])

    assert rows == sorted(methods)


@pytest.mark.parametrize("drawing", sorted((ROOT / "docs" / "img").glob("*.svg")), ids=relative)
def test_a_drawing_is_well_formed_described_and_self_contained(drawing: Path) -> None:
    root = ElementTree.parse(drawing).getroot()

    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    references = [value for element in root.iter() for key, value in element.items() if key.endswith("href")]

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert tags[1:3] == ["title", "desc"]
    assert not {"script", "image", "foreignObject"} & set(tags)
    assert references == []
