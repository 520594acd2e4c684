"""Hooks, `heaven_core.hooks`: contributions strict, vetoes final, observers isolated."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.errors import HeavenError, PluginError, PluginLoadError, RegistrationConflict, TransactionError
from heaven_core.ext import Extension, ExtensionSpec, StoreChoice, Strategy, register_extension
from heaven_core.hooks import KINDS, Hooks, Specs, Write, check_plugin, commands_of, hookimpl
from heaven_core.registry import Layer

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("registered")]


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    upper = hb.field(hb.ShortText).compute(str.upper, inputs=[title])


class Quiet(hb.Entity):
    __observed__ = False
    title = hb.field(hb.ShortText)


class Watcher:
    def __init__(self) -> None:
        self.commits: list[Any] = []

    @hookimpl
    def heaven_after_commit(self, commit: Any) -> None:
        self.commits.append(commit)


class Broken:
    @hookimpl
    def heaven_after_commit(self, commit: Any) -> None:
        raise RuntimeError("observing failed")


class Guard:
    def __init__(self) -> None:
        self.writes: list[Write] = []

    @hookimpl
    def heaven_before_write(self, write: Write) -> None:
        self.writes.append(write)
        if write.columns is not None and "forbidden" in write.columns["title"]:
            raise PermissionError("not this one")
        if write.kind == "delete" and "kept" in write.ids:
            raise PermissionError("not that one")


class Brief:
    """Implementations may leave arguments out."""

    def __init__(self) -> None:
        self.called: list[str] = []

    @hookimpl
    def heaven_contribute(self) -> None:
        self.called.append("contribute")

    @hookimpl
    def heaven_before_write(self) -> None:
        self.called.append("write")

    @hookimpl
    def heaven_after_commit(self) -> None:
        self.called.append("commit")


def enable(ws: hb.HeavenBase, plugin: Any, identifier: str = "hooked") -> Any:
    register_extension(Extension(ExtensionSpec(identifier), plugin=plugin), replace=True)
    ws.enable_extension(identifier)
    return plugin


@pytest.fixture
def docs(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.register(Doc, Quiet)
    return ws


# -- specs -----------------------------------------------------------------------------------------------------------


def test_each_hook_has_a_kind_and_its_spec_says_it() -> None:
    specs = {name: getattr(Specs, name).__doc__ for name in vars(Specs) if name.startswith("heaven_")}

    assert specs.keys() == KINDS.keys()
    for name, text in specs.items():
        assert text.startswith(f"{KINDS[name].capitalize()}: ")


def test_an_unknown_hook_or_argument_is_refused() -> None:
    class Misspelt:
        @hookimpl
        def heaven_after_comit(self, commit: Any) -> None: ...

    class Renamed:
        @hookimpl
        def heaven_after_commit(self, done: Any) -> None: ...

    with pytest.raises(PluginError, match="heaven_after_comit"):
        check_plugin(Misspelt())
    with pytest.raises(PluginError, match="heaven_after_commit"):
        check_plugin(Renamed())
    check_plugin(Watcher())


def test_an_argument_of_a_hook_that_has_none_is_refused() -> None:
    class Wants:
        @hookimpl
        def heaven_commands(self, group: Any) -> dict[str, str]:
            return {}

    with pytest.raises(PluginError, match="heaven_commands takes group, which no hook passes; it gets nothing"):
        check_plugin(Wants())


def test_commands_are_names_with_references() -> None:
    class Fine:
        @hookimpl
        def heaven_commands(self) -> dict[str, str]:
            return {"one": "module:one", "more-of-it": "module.below:group.two"}

    assert commands_of(Fine()) == {"one": "module:one", "more-of-it": "module.below:group.two"}
    assert commands_of(Watcher()) == {}


@pytest.mark.parametrize("given", [["one"], {"One": "a:b"}, {"one": "a"}, {"one": 1}, {2: "a:b"}])
def test_commands_that_cannot_be_used_are_refused(given: Any) -> None:
    class Odd:
        @hookimpl
        def heaven_commands(self) -> Any:
            return given

    with pytest.raises(HeavenError):
        commands_of(Odd())


# -- observers -------------------------------------------------------------------------------------------------------


def test_an_observer_sees_what_a_commit_has_changed(docs: hb.HeavenBase) -> None:
    watcher = enable(docs, Watcher())

    docs.upsert_many(Doc, [{"object_id": "a", "title": "x"}, {"object_id": "b", "title": "y"}])
    docs.upsert_many(
        Doc, [{"object_id": "a", "title": "x"}, {"object_id": "b", "title": "z"}, {"object_id": "c", "title": "n"}]
    )
    docs.set("a", {"title": "s"})
    docs.delete_many(["a", "absent"])

    seen = [(one.changes[0].inserted, one.changes[0].updated, one.changes[0].deleted) for one in watcher.commits]
    assert seen == [(("a", "b"), (), ()), (("c",), ("b",), ()), ((), ("a",), ()), ((), (), ("a",))]
    assert {one.workspace for one in watcher.commits} == {"demo"}
    assert [one.lsn for one in watcher.commits] == sorted({one.lsn for one in watcher.commits})


def test_an_observer_s_number_is_the_version_of_the_rows(docs: hb.HeavenBase) -> None:
    watcher = enable(docs, Watcher())

    docs.upsert(Doc, {"object_id": "a", "title": "x"})

    assert docs.version("a") == watcher.commits[0].lsn


def test_a_transaction_is_one_commit(docs: hb.HeavenBase) -> None:
    watcher = enable(docs, Watcher())

    with docs.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a", "title": "x"})
        tx.delete("a")

    (commit,) = watcher.commits
    assert [(one.inserted, one.deleted) for one in commit.changes] == [(("a",), ()), ((), ("a",))]


def test_what_is_undone_refused_or_unchanged_is_not_shown(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "title": "x"})
    watcher = enable(docs, Watcher())

    docs.upsert(Doc, {"object_id": "a", "title": "x"})
    docs.delete("absent")
    with pytest.raises(ZeroDivisionError), docs.transaction() as tx:  # noqa: PT012  # the whole block is undone
        tx.upsert(Doc, {"title": "y"})
        raise ZeroDivisionError

    assert watcher.commits == []


def test_unobserved_entities_are_not_shown(docs: hb.HeavenBase) -> None:
    watcher = enable(docs, Watcher())

    docs.upsert(Quiet, {"object_id": "q"})
    docs.delete("q")
    with docs.transaction() as tx:
        tx.upsert(Quiet, {"object_id": "q"})
        tx.upsert(Doc, {"object_id": "a", "title": "x"})

    assert [[change.entity for change in one.changes] for one in watcher.commits] == [["doc"]]


def test_an_observer_that_fails_breaks_nothing_and_is_recorded(
    docs: hb.HeavenBase, caplog: pytest.LogCaptureFixture
) -> None:
    enable(docs, Broken(), "broken")
    watcher = enable(docs, Watcher(), "watching")

    with caplog.at_level(logging.WARNING, "heavenbase.hooks"):
        docs.upsert(Doc, {"object_id": "a", "title": "x"})

    assert docs.exists("a")
    assert len(watcher.commits) == 1
    (told,) = docs.health().observers
    assert told == {
        "extension": "broken",
        "hook": "heaven_after_commit",
        "error": "RuntimeError: observing failed",
    }
    assert docs.health().ok
    assert "extension 'broken' failed to observe a commit of workspace 'demo'" in caplog.text


def test_only_the_latest_failures_are_kept() -> None:
    hooks = Hooks("demo")
    hooks.add("broken", Broken(), Layer("workspace"))
    logging.getLogger("heavenbase.hooks").disabled = True
    try:
        for _ in range(1005):
            hooks.after_commit(None)  # pyright: ignore[reportArgumentType]
    finally:
        logging.getLogger("heavenbase.hooks").disabled = False

    assert len(hooks.failures) == 1000


# -- what a veto may not do --------------------------------------------------------------------------------------


class Meddler:
    def __init__(self, ws: hb.HeavenBase) -> None:
        self.ws = ws
        self.told: list[str] = []

    @hookimpl
    def heaven_before_write(self, write: Any) -> None:
        try:
            self.ws.upsert(Doc, {"object_id": "other", "title": "by the veto"})
        except TransactionError as error:
            self.told.append(str(error))


@pytest.mark.parametrize("kind", ["upsert", "set", "delete"])
@pytest.mark.timeout(10)
def test_a_veto_that_writes_is_told_so_at_once(docs: hb.HeavenBase, kind: str) -> None:
    docs.upsert(Doc, {"object_id": "a", "title": "x"})
    meddler = enable(docs, Meddler(docs))

    {
        "upsert": lambda: docs.upsert(Doc, {"object_id": "b", "title": "y"}),
        "set": lambda: docs.set("a", {"title": "y"}),
        "delete": lambda: docs.delete("a"),
    }[kind]()

    (told,) = meddler.told
    assert "is going on in this thread" in told
    assert not docs.exists("other")


def test_a_veto_cannot_change_what_is_written(docs: hb.HeavenBase) -> None:
    class Forger:
        @hookimpl
        def heaven_before_write(self, write: Any) -> None:
            write.columns["title"] = [5]

    enable(docs, Forger())

    with pytest.raises(TypeError):
        docs.upsert(Doc, {"object_id": "a", "title": "x"})
    assert not docs.exists("a")


# -- vetoes ----------------------------------------------------------------------------------------------------------


def test_a_veto_aborts_the_write_and_reaches_the_caller(docs: hb.HeavenBase) -> None:
    enable(docs, Guard())
    docs.upsert(Doc, {"object_id": "kept", "title": "x"})

    with pytest.raises(PermissionError, match="not this one"):
        docs.upsert_many(Doc, [{"title": "fine"}, {"title": "forbidden"}])
    with pytest.raises(PermissionError, match="not this one"):
        docs.set("kept", {"title": "forbidden"})
    with pytest.raises(PermissionError, match="not that one"):
        docs.delete("kept")

    assert [row["title"] for row in docs.query(Doc)] == ["x"]
    docs.upsert(Doc, {"title": "and on"})
    assert docs.count(Doc) == 2


def test_a_veto_undoes_the_transaction_around_it(docs: hb.HeavenBase) -> None:
    enable(docs, Guard())

    with pytest.raises(PermissionError), docs.transaction() as tx:  # noqa: PT012  # the whole block is undone
        tx.upsert(Doc, {"title": "fine"})
        tx.upsert(Doc, {"title": "forbidden"})

    assert docs.count(Doc) == 0


def test_a_veto_sees_the_checked_row_with_its_id_and_computed_values(docs: hb.HeavenBase) -> None:
    guard = enable(docs, Guard())

    one = docs.upsert(Doc, {"title": "x"})
    docs.delete(one)

    written, deleted = guard.writes
    assert (written.workspace, written.entity, written.kind, list(written.ids)) == ("demo", "doc", "upsert", [one])
    assert (list(written.columns["title"]), list(written.columns["upper"])) == (["x"], ["X"])
    assert (deleted.kind, list(deleted.ids), deleted.columns) == ("delete", [one], None)


def test_a_row_that_is_refused_reaches_no_veto(docs: hb.HeavenBase) -> None:
    guard = enable(docs, Guard())

    with pytest.raises(HeavenError):
        docs.upsert(Doc, {"title": 5})

    assert guard.writes == []


def test_an_implementation_may_leave_its_argument_out(docs: hb.HeavenBase) -> None:
    brief = enable(docs, Brief())

    docs.upsert(Doc, {"title": "x"})

    assert brief.called == ["contribute", "write", "commit"]


# -- contributions ---------------------------------------------------------------------------------------------------


class Reversed(Strategy):
    """Kept the other way round."""

    identifier = "test-reversed"
    stores = True


def never(field: Any, value: Any, ctx: Any) -> Any:
    return hb.ext.QueryFragment(ctx.backend, "eq", field.name, lambda row: False)


class Contributor:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    @hookimpl
    def heaven_contribute(self, registrar: Any) -> None:
        registrar.strategy(Reversed)
        registrar.handler(hb.ShortText, "eq", "inmem", "inline", never)
        registrar.storage_profile("contributed", lambda field, backends: StoreChoice("main"))
        if self.fails:
            raise RuntimeError("after half of it")


def test_contributions_count_in_their_workspace_only(open_workspace: Any) -> None:
    with_it, without = open_workspace("inmem"), open_workspace("inmem", id="plain")
    for one in (with_it, without):
        one.register(Doc)
        one.upsert(Doc, {"title": "x"})
    before = with_it.query(Doc).where(Doc.title == "x").count()

    enable(with_it, Contributor())

    counts = [one.query(Doc).where(Doc.title == "x").count() for one in (with_it, without)]
    assert (before, counts) == (1, [0, 1])
    assert "test-reversed" in with_it.capabilities.strategies()
    assert "test-reversed" not in without.capabilities.strategies()
    assert "test-reversed" not in hb.capabilities.strategies()


def test_a_contribution_that_fails_is_taken_back_whole(open_workspace: Any) -> None:
    ws = open_workspace("inmem")
    ws.register(Doc)
    ws.upsert(Doc, {"title": "x"})
    generation = ws.core().registries.workspace.items

    with pytest.raises(
        PluginLoadError, match="extension 'hooked' failed at stage activate: RuntimeError: after half of it"
    ):
        enable(ws, Contributor(fails=True))

    assert all(not kind for kind in generation.values())
    assert ws.query(Doc).where(Doc.title == "x").count() == 1
    assert "hooked" not in [one.identifier for one in ws.extensions()]
    enable(ws, Contributor())
    assert ws.query(Doc).where(Doc.title == "x").count() == 0


def test_two_extensions_of_a_workspace_cannot_serve_one_key(open_workspace: Any) -> None:
    class Rival:
        @hookimpl
        def heaven_contribute(self, registrar: Any) -> None:
            registrar.handler(hb.ShortText, "eq", "inmem", "inline", lambda field, value, ctx: None)

    ws = open_workspace("inmem")
    enable(ws, Contributor(), "first")

    with pytest.raises(PluginLoadError) as raised:
        enable(ws, Rival(), "second")

    assert isinstance(raised.value.__cause__, RegistrationConflict)


def test_hooks_can_be_forgotten() -> None:
    hooks = Hooks("demo")
    hooks.add("guard", Guard(), Layer("workspace"))
    hooks.add("watcher", Watcher(), Layer("workspace"))
    assert (hooks.vetoes, hooks.observes) == (True, True)

    hooks.remove("guard")
    hooks.remove("watcher")
    hooks.remove("never there")

    assert (hooks.vetoes, hooks.observes) == (False, False)
