"""The reference is up to date and complete: `docs/reference/` is what the code makes, and nothing is left out.

Not here: that its examples run and its links lead somewhere (`test_code_blocks.py`); `llms.txt` (`test_llms.py`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import hooks
from heaven_core.ops import AGGREGATES, FILTERS, RANKS, Op
from heaven_core.registry import registries
from heaven_core.strategies import BUILTIN as STRATEGIES
from heaven_core.types import BUILTIN as TYPES
from tests.docs import examples, reference, serving, writing
from tests.docs.layout import table, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration

OPS = (*FILTERS, *RANKS, *AGGREGATES)
THINGS = {
    "types": [cls.identifier for cls in TYPES],
    "ops": [op.name for op in OPS],
    "strategies": [cls.identifier for cls in STRATEGIES],
    "hooks": list(hooks.KINDS),
}
EVERYTHING = [(folder, name) for folder, names in THINGS.items() for name in names]


def page_of(folder: str, name: str) -> str:
    return (reference.FOLDER / folder / f"{name}.md").read_text(encoding="utf-8")


# -- up to date ------------------------------------------------------------------------------------------------------


def test_the_committed_pages_are_those_that_the_code_makes_now() -> None:
    command = [sys.executable, "-m", "tests.docs", "--check"]

    ran = subprocess.run(command, cwd=reference.ROOT, capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.returncode) == ("", 0), f"run python -m tests.docs; outdated:\n{ran.stdout}{ran.stderr}"


def test_pages_made_twice_are_the_same() -> None:
    first = reference.pages()
    reference.entries.cache_clear()

    assert reference.pages() == first


def test_what_is_outdated_is_named_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "docs" / "reference")
    monkeypatch.setattr(writing.llms, "FILE", tmp_path / "llms.txt")
    strange = tmp_path / "docs" / "reference" / "ops" / "gone.md"
    assert writing.main([]) == 0
    strange.write_text("of an operation that is no more", encoding="utf-8")
    (tmp_path / "llms.txt").write_text("changed", encoding="utf-8")
    capsys.readouterr()

    checked, said = writing.main(["--check"]), capsys.readouterr().out
    written, again = writing.main([]), writing.main(["--check"])

    assert (checked, said) == (1, "llms.txt\ndocs/reference/ops/gone.md\n")
    assert (written, again, strange.exists()) == (0, 0, False)
    assert writing.main(["--chekc"]) == 2


# -- complete --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", THINGS)
def test_everything_has_a_page_and_each_page_is_of_something(folder: str) -> None:
    found = {path.stem for path in (reference.FOLDER / folder).glob("*.md")}

    assert found == set(THINGS[folder])


def test_what_can_be_picked_is_what_has_pages() -> None:
    index = hb.capabilities

    assert [*index.logical_types()] == THINGS["types"]
    assert [*index.ops()] == THINGS["ops"]
    assert [*index.strategies()] == THINGS["strategies"]


@pytest.mark.parametrize(("folder", "name"), EVERYTHING)
def test_a_page_has_a_description_an_example_that_prints_and_a_word_on_null(folder: str, name: str) -> None:
    page = page_of(folder, name)

    assert page.startswith(f"{reference.MADE}\n\n# `{name}`\n\n")
    said = page.partition(f"# `{name}`\n\n")[2].partition("\n\n|")[0]
    assert re.match(r"[A-Z\[][^\n]{4,}", said), said
    assert len(re.findall(r"(?m)^```python\n(?:.*\n)+?```\n\n```text\n.+\n", page)) == 1
    if folder != "hooks":
        assert re.search(r"(?m)^```json\n\{.+\}\n```$", page)
        assert re.search(r"(?m)^\| (null|holds for a null field) \| \S", page)
        assert "semantics.md#" in page


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_page_of_an_operation_has_each_type_that_has_it_and_each_of_these_links_back(op: Op) -> None:
    types = [cls.identifier for cls in TYPES if op.serves(cls)]

    listed = re.findall(r"(?m)^\| \[`([\w-]+)`\]\(\.\./types/", page_of("ops", op.name))

    assert listed == types
    assert all(f"(../ops/{op.name}.md)" in page_of("types", name) for name in types)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_an_operation_has_cases_on_the_semantics_page_for_each_type_that_has_it(op: Op) -> None:
    untested = [cls.__name__ for cls in TYPES if op.serves(cls) and not _cases(op, cls)]

    assert untested == []


def _cases(op: Op, cls: Any) -> list[Any]:
    if op.kind == "rank":  # one type, and a table of its own
        return serving.headings_of(op) if cls.identifier == "vector" else []
    return [dtype for dtype, _ in serving.arguments(op, cls) if type(dtype) is cls]


@pytest.mark.parametrize("engine", serving.engines())
def test_the_pages_say_of_an_engine_what_explain_says(
    engine: str, tmp_path: Path, engine_options: Callable[[str], dict[str, Any]]
) -> None:
    beside = not registries().backend(engine).primary
    options = engine_options(engine)
    backends = {"main": "sqlite", "beside": options} if beside else {"main": options}
    with hb.HeavenBase("asked", backends=backends, path=tmp_path / "asked") as ws:
        for cls, op, condition in (
            (hb.ShortText, "contains", {"$contains": "x"}),
            (hb.ShortText, "regex", {"$regex": "x"}),
            (hb.ShortText, "ilike", {"$ilike": "x"}),
            (hb.Integer, "between", {"$between": [1, 2]}),
        ):
            place = {"store": [{"to": "beside"}]} if beside else {}
            entity = hb.Entity.from_schema({"id": op, "fields": [{"name": "value", "type": cls().spec(), **place}]})
            ws.register(entity)
            native = ws.query(entity).select("value").where({"value": condition}).explain().native
            said = serving.how(next(one for one in FILTERS if one.name == op), cls, engine)

            assert said.startswith("native: " if native else "Python"), (op, said)
            assert "`inline`" in said or said == serving.SCAN
        ws.drop()


def test_an_operation_that_only_sometimes_runs_in_the_engine_is_said_to() -> None:
    like = next(one for one in FILTERS if one.name == "like")

    assert serving.how(like, hb.ShortText, "sqlite").startswith("native or Python: ")
    assert serving.how(Op("new", desc="of nobody"), hb.ShortText, "sqlite") == "Python, by a scan"


# -- what is missing is named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TYPES", "OPS", "STRATEGIES", "HOOKS"])
def test_what_has_no_example_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = getattr(examples, kind)
    name = next(iter(known))
    monkeypatch.delitem(known, name)
    reference.entries.cache_clear()

    with pytest.raises(LookupError, match=f"{name!r} has no example; add one to tests/docs/examples.py"):
        reference.entries()


def test_examples_are_of_something() -> None:
    assert set(examples.TYPES) == set(THINGS["types"])
    assert set(examples.OPS) == set(THINGS["ops"])
    assert set(examples.STRATEGIES) == set(THINGS["strategies"])
    assert set(examples.HOOKS) == set(THINGS["hooks"])


def test_what_has_no_description_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dim(hb.Vector):
        """Without a word on its parameter."""

        def __init__(self, width: int = 2) -> None:
            super().__init__(width)

    class Silent:
        pass

    with pytest.raises(LookupError, match="the docstring of Dim says nothing of width"):
        reference._parameters(Dim)
    with pytest.raises(LookupError, match="Silent has no docstring"):
        words(Silent)
    monkeypatch.setattr(FILTERS[0], "desc", "")
    with pytest.raises(LookupError, match="'eq' has no description; give it a desc or a docstring"):
        reference._op_page(FILTERS[0])


def test_a_case_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    contains = next(one for one in FILTERS if one.name == "contains")
    without = [case for case in serving.document.cases() if case.op != "contains"]
    monkeypatch.setattr(serving.document, "cases", lambda: without)

    with pytest.raises(LookupError, match="has no case of contains on ShortText, so it is untested"):
        serving.how(contains, hb.ShortText, "sqlite")


# -- layout ----------------------------------------------------------------------------------------------------------


def test_a_table_keeps_its_columns_whatever_is_in_a_cell() -> None:
    assert table(("a", ""), [["x|y", "one\ntwo"], ["", "z"]]) == [
        "| a | |",
        "|---|---|",
        "| x\\|y | one two |",
        "| | z |",
    ]


def test_the_words_of_a_docstring_end_where_its_sections_begin() -> None:
    def documented() -> None:
        """One thing. And (as said)
        another: more.

        A second paragraph.

        Raises:
            ValueError: never.
        """

    assert words(documented) == "One thing.\nAnd (as said) another: more.\n\nA second paragraph."
