"""Reports: a workspace's `check`, `repair` and `health` as data, and what a look at an installation finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heaven_core.backend import Finding

if TYPE_CHECKING:
    from heaven_core.core import WorkspaceCore


class Check(NamedTuple):
    """One thing about an installation that was looked at, and what to type about it.

    "absent" is what can be had and isn't there, which is no fault; a "warning" is none yet.
    """

    kind: str
    name: str
    state: Literal["ok", "absent", "warning", "broken"]
    detail: str = ""
    advice: str = ""


class Report(NamedTuple):
    """What `check` found, or what `repair` found and left: `ok` is True if nothing is wrong any more."""

    ok: bool
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...]
    entities: int

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "ok": self.ok,
            "entities": self.entities,
            "findings": [one._asdict() for one in self.findings],
            "repaired": [one._asdict() for one in self.repaired],
        }


class Health(NamedTuple):
    """Whether the backends answer, which extensions failed, and which observers did since the workspace was opened.

    A failed observer does not make a workspace unhealthy: what it was told of has been written.
    """

    ok: bool
    backends: dict[str, dict[str, Any]]
    extensions: dict[str, str]
    failures: tuple[dict[str, Any], ...]
    observers: tuple[dict[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON data."""
        return {**self._asdict(), "failures": list(self.failures), "observers": list(self.observers)}


def make_report(core: WorkspaceCore, *, repair: bool) -> Report:
    """Check a workspace, and mend what can be."""
    found = tuple(core.findings(repair=False))
    count = len(core.entity_records())
    if not repair or not found:
        return Report(not found, found, (), count)
    core.findings(repair=True)
    left = tuple(core.findings(repair=False))
    return Report(not left, left, tuple(one for one in found if one not in left), count)


def make_health(core: WorkspaceCore) -> Health:
    """Ask every backend for something small."""
    from heaven_core.errors import HeavenError

    backends: dict[str, dict[str, Any]] = {}
    failures: list[dict[str, Any]] = []
    for name in sorted(core.placed_in() - core.backends.keys()):
        try:
            core.open_spare([name])
        except HeavenError as error:
            backends[name] = {"type": core.spare[name]["type"], "capabilities": [], "ok": False, "error": str(error)}
    for name, backend in core.backends.items():
        state: dict[str, Any] = {"type": core.types[name], "capabilities": sorted(backend.capabilities), "ok": True}
        try:
            if name == "main":
                core.reread()
                core.extension_rows()
        except HeavenError as error:
            state.update(ok=False, error=str(error))
        backends[name] = state
    activation = core.activation
    extensions = {one.identifier: "active" for one in core.extension_specs()}
    if activation is not None:
        extensions.update(dict.fromkeys(activation.failures, "failed"))
        failures.extend(failure.to_dict() for failure in activation.failures.values())
    ok = not failures and all(state["ok"] for state in backends.values())
    observers = () if core.hooks is None else core.hooks.failures
    return Health(ok, backends, extensions, tuple(failures), tuple(one.to_dict() for one in observers))
