"""Known mistakes W37 to W45: errors that name an inner matter instead of what the caller did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import InvalidValue, NotFound, QueryTooDeep, UniqueViolation

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).required()
    n = hb.field(hb.Integer)
    code = hb.field(hb.ShortText).unique()
    meta = hb.field(hb.Json)


@pytest.fixture
def docs(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.register(Doc)
    ws.upsert_many(Doc, [{"object_id": f"d{one}", "title": "a", "n": one, "code": f"c{one}"} for one in range(10)])
    return ws


@pytest.mark.parametrize("number", [2**63, 2**70, -(2**63) - 1, 10**400])
def test_w37_a_number_that_does_not_fit_is_refused_with_its_field(docs: hb.HeavenBase, number: int) -> None:
    with pytest.raises(InvalidValue, match=r"^doc\.n, row 1: ") as raised:
        docs.upsert_many(Doc, [{"title": "b"}, {"title": "b", "n": number}])
    with pytest.raises(InvalidValue, match=r"^doc\.meta, row 0: "):
        docs.upsert(Doc, {"title": "b", "meta": {"a": number}})

    assert (raised.value.entity, raised.value.field, raised.value.row) == ("doc", "n", 1)
    assert docs.count(Doc) == 10


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc80" * 300])
def test_w38_text_that_is_no_unicode_is_refused_with_its_field(docs: hb.HeavenBase, text: str) -> None:
    for field, value in {"title": text, "code": text, "meta": {"a": text}, "object_id": text, "name": text}.items():
        with pytest.raises(InvalidValue, match=rf"^doc\.{field}, row 0: ") as raised:
            docs.upsert(Doc, {"title": "b", field: value})
        assert str(raised.value).isprintable()

    assert docs.count(Doc) == 10


def test_w39_a_taken_value_names_field_row_and_value(docs: hb.HeavenBase) -> None:
    with pytest.raises(UniqueViolation, match=r"^doc\.code, row 1: 'c3' is taken by another row") as raised:
        docs.upsert_many(Doc, [{"title": "b", "code": "new"}, {"title": "b", "code": "c3"}])
    with pytest.raises(UniqueViolation, match=r"^doc\.code, row 0: 'c4' "):
        docs.set("d3", {"code": "c4"})

    assert (raised.value.field, raised.value.row, raised.value.value) == ("code", 1, "c3")
    assert docs.count(Doc) == 10
    assert (docs.get("d3") or {})["code"] == "c3"


@pytest.mark.parametrize("depth", [101, 400, 50_000])
def test_w40_a_filter_that_is_nested_too_deep_is_refused_with_the_limit(docs: hb.HeavenBase, depth: int) -> None:
    deep: dict[str, Any] = {"n": 1}
    for _ in range(depth):
        deep = {"$not": deep}

    with pytest.raises(QueryTooDeep, match="100"):
        docs.query_json(Doc, {"filter": deep}).execute()


def test_w40_what_is_within_the_limit_is_answered(docs: hb.HeavenBase) -> None:
    deep: dict[str, Any] = {"n": 1}
    for _ in range(98):
        deep = {"$not": deep}

    assert docs.query_json(Doc, {"filter": deep}).execute().ids == ["d1"]


@pytest.mark.parametrize("terms", [600, 5000])
@pytest.mark.parametrize("key", ["$and", "$or"])
def test_w41_a_list_of_very_many_terms_is_answered(docs: hb.HeavenBase, key: str, terms: int) -> None:
    wanted = {"n": {"$ne": 1}} if key == "$and" else {"n": 1}
    rest = [{"n": {"$ne" if key == "$and" else "$eq": 100 + one}} for one in range(terms - 1)]

    found = docs.query_json(Doc, {"filter": {key: [*rest, wanted]}}).execute()

    assert sorted(found.ids) == ([f"d{one}" for one in range(10) if one != 1] if key == "$and" else ["d1"])


@pytest.mark.parametrize("entity", [None, Doc, "doc"], ids=["any", "class", "id"])
def test_w42_setting_a_row_that_is_not_there_says_so(docs: hb.HeavenBase, entity: Any) -> None:
    with pytest.raises(NotFound, match=r"no row has the id 'nobody'"):
        docs.set("nobody", {"n": 1}, entity)

    assert docs.count(Doc) == 10


NAMING = {
    "preset": ("hb.HeavenBase('x', preset='debgu')", "debug"),
    "backend": ("hb.HeavenBase('x', backends={'main': {'type': 'sqlit'}})", "sqlite"),
    "type": ("hb.Entity.from_schema({'id': 'd', 'fields': [{'name': 'n', 'type': 'booleen'}]})", "Boolean"),
    "strategy": ("hb.capabilities.backends('short-text', 'inverte')", "inverted"),
    "extension": ("hb.HeavenBase('x', preset='debug').enable_extension('systm')", "system"),
    "setting": ("hb.config.get('query.dedline')", "query.deadline"),
}


@pytest.mark.parametrize("name", NAMING)
def test_w43_a_misspelt_word_is_answered_with_the_right_one_in_the_first_line_of_a_program(
    run: Callable[..., subprocess.CompletedProcess[str]], name: str
) -> None:
    line, right = NAMING[name]

    done = run("-c", f"import heavenbase as hb\ntry: {line}\nexcept hb.HeavenError as error: print(error)")

    assert done.returncode == 0, done.stderr
    assert f"did you mean '{right}'?" in done.stdout


FAR = """
from heaven_core.plugin import StoragePlugin
PLUGIN = StoragePlugin(
    "far", backend="no_such_engine:Backend", requires=("no_such_engine",), extra="far", api=1, primary=True
)
"""


def test_w44_an_engine_that_is_not_installed_says_what_to_type(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    info = tmp_path / "site" / "hb_far-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hb-far\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[heavenbase.storage]\nfar = hb_far:PLUGIN\n")
    (tmp_path / "site" / "hb_far.py").write_text(FAR)

    done = run(
        "-c",
        "import sys; sys.path.insert(0, 'site')\nimport heavenbase as hb\n"
        "try: hb.HeavenBase('x', backends={'main': 'far'})\n"
        "except ImportError as error: print(type(error).__name__, error)",
    )

    assert done.stderr == ""
    assert "EngineNotInstalled" in done.stdout
    assert "pip install 'heaven-core[far]'" in done.stdout


def test_w45_a_setting_that_is_none_is_an_error_in_code_and_on_the_command_line(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run("-m", "heavenbase.cli", "config", "get", "nope.x")

    assert done.returncode != 0
    assert "null" not in done.stdout
    assert "Traceback" not in done.stderr
    with pytest.raises(hb.errors.ConfigError, match=r"there is no setting 'nope\.x'; known: "):
        hb.config.get("nope.x")
