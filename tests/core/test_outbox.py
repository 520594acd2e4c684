"""The outbox: what an entry is made of, what is done with it, and how far the engines of an entity are.

What happens when processes die in between is in `test_spread.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest

import heavenbase as hb
from heaven_core import outbox
from heaven_core.errors import FormatTooNew
from heaven_core.outbox import OUTBOX_TABLE, SPREAD_TABLE, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer).store(to="side")
    at = hb.field(hb.Vector(2)).store(to="side")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("outbox", path=tmp_path, backends={"main": "sqlite", "side": "sqlite"}) as workspace:
        workspace.register(Doc)
        yield workspace


def waiting(ws: hb.HeavenBase) -> list[dict[str, Any]]:
    """The entries that nobody has applied."""
    from heaven_core.backend import Scan
    from heaven_core.spread import dicts

    core = ws.core()
    layout = core.outbox().layouts[0]
    return dicts(core.primary.run(Scan(layout, layout.names)))


def test_the_body_of_an_entry_is_as_it_has_been_since_format_1() -> None:
    rows = outbox._packed(["a", "b"], {"object_id": ["a", "b"], "n": [1, None], "at": [b"\0\0\x80?\0\0\0@", None]})
    gone = outbox._packed(["a"], None)

    assert rows.hex() == (
        "83a6666f726d617401a369647392a161a162a7636f6c756d6e7383a96f626a6563745f696492a161a162"
        "a16e9201c0a2617492c4080000803f00000040c0"
    )
    assert gone.hex() == "82a6666f726d617401a369647391a161"
    assert outbox.FORMAT == 1


def test_the_kernel_s_tables_of_the_outbox_are_what_they_have_been() -> None:
    assert [(one.name, one.dtype.identifier) for one in OUTBOX_TABLE.fields[2:]] == [
        ("lsn", "integer"),
        ("entity", "short-text"),
        ("backend", "short-text"),
        ("body", "artifact"),
    ]
    assert [one.name for one in SPREAD_TABLE.fields[2:]] == ["written", "applied"]
    assert (OUTBOX_TABLE.id, SPREAD_TABLE.id) == ("hb-outbox", "hb-spread")


def test_an_entry_of_a_newer_format_is_refused_with_a_sentence(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(outbox, "FORMAT", 2)
        newer.setattr(ws.core().outbox(), "after_commit", lambda tx: None)
        ws.upsert(Doc, {"n": 1})
    assert msgpack.unpackb(waiting(ws)[0]["body"])["format"] == 2

    with pytest.raises(FormatTooNew, match=r"newer HeavenBase \(format 2\); upgrade this one"):
        ws.count(Doc, {"n": 1})


def test_entries_are_gone_once_they_are_applied(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as late:
        late.setattr(ws.core().outbox(), "after_commit", lambda tx: None)
        one = ws.upsert(Doc, {"n": 1, "at": [1, 2]})
        ws.delete(one)
        ws.upsert(Doc, {"object_id": "kept", "n": 2, "at": [3, 4]})
    state = ws.core().outbox().state("doc")
    assert [row["backend"] for row in waiting(ws)] == ["side"]  # each write applies what it finds
    assert state.applied < state.written

    assert ws.query(Doc).where(Doc.n > 0).execute().ids == ["kept"]

    assert waiting(ws) == []
    state = ws.core().outbox().state("doc")
    assert state.applied == state.written


def test_a_write_that_changes_nothing_elsewhere_leaves_no_entry_and_no_mark(ws: hb.HeavenBase) -> None:
    one = ws.upsert(Doc, {"title": "a", "n": 1})
    before = ws.core().outbox().state("doc")

    ws.set(one, {"title": "b"})

    assert ws.core().outbox().state("doc") == before
    assert ws.core().outbox().state("nothing-of-the-kind") == State(0, 0)


def test_a_workspace_in_one_engine_has_no_outbox(tmp_path: Path) -> None:
    class Plain(hb.Entity):
        n = hb.field(hb.Integer)

    with hb.HeavenBase("plain", path=tmp_path) as ws:
        ws.register(Plain)
        ws.upsert(Plain, {"n": 1})
        assert ws.core()._outbox is None
        assert ws.check().ok
