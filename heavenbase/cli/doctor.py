"""`hb doctor`: what is installed, what is broken, and what to type to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from heavenbase.cli.completing import workspaces
from heavenbase.cli.location import located
from heavenbase.cli.output import as_json_option, note, print_json, print_table, working
from heavenbase.cli.pager import paged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heaven_core.backend import Finding
    from heaven_core.report import Check, Health, Report
    from heaven_core.workspace import HeavenBase

COLUMNS = ("kind", "name", "state", "detail", "advice")


_EXAMPLES = """\b
Examples:
  hb doctor
  hb doctor library --repair
"""


@click.command(epilog=_EXAMPLES, short_help="Say what is broken, and what to type.")
@click.argument("workspace", required=False, shell_complete=workspaces)
@located
@click.option("--repair", is_flag=True, help="Mend in WORKSPACE what follows from other data; invents nothing.")
@as_json_option
@paged
def doctor(workspace: str | None, path: str | None, backends: str | None, repair: bool, as_json: bool) -> int:
    """Say what is installed, what is broken, and what to type to mend it.

    Looks at HeavenBase, Python, every plugin, the optional libraries, the home folder and
    its file system; with WORKSPACE also at everything that is stored there. What can be had
    and isn't installed is absent, which is no fault. Nothing is changed without --repair.

    The exit code is 1 if anything is broken.
    """
    if workspace is None and (repair or path or backends):
        raise click.UsageError("--repair, --path and --backends are about a workspace; name it.")
    with working("looking around") as tell:
        found = list(installation(tell))
        seen = None if workspace is None else examined(workspace, path, backends, repair=repair, tell=tell)
    if seen is not None:
        found += seen[0]
    is_broken = any(check.state == "broken" for check in found)
    if as_json:
        body: dict[str, Any] = {"ok": not is_broken, "checks": [check._asdict() for check in found]}
        print_json(body if seen is None else {**body, "workspace": seen[1]})
    else:
        print_table(COLUMNS, found, is_prose=True)
        note(_summary(found))
    return 1 if is_broken else 0


def installation(tell: Callable[[str], None]) -> Iterator[Check]:
    """A check of each thing that a workspace stands on."""
    from heaven_core import config
    from heavenbase.cli import installation as looks

    yield from looks.versions()
    yield from looks.requirements()
    faults = list(looks.settings())
    yield from faults
    with config.override(**(looks.usual_settings() if faults else {})):  # or all else would be at fault too
        yield from looks.home(config.home())
        yield from _plugins(tell, looks.nearest_folder(config.home()))


def _plugins(tell: Callable[[str], None], folder: Path) -> Iterator[Check]:
    from heavenbase.cli.plugins import listing, silent_log

    with silent_log():
        rows = listing(tell, check=True)
    for row in rows:
        check = _plugin(row)
        yield check
        if row["kind"] == "storage" and check.state == "ok":
            tell(f"trying {row['name']}")
            yield from _probed(row["name"], row["dist"], folder)


def _plugin(row: dict[str, Any]) -> Check:
    from heaven_core.report import Check

    name, source = row["name"], f"{row['dist']} {row['version']}"
    if failure := row["failure"]:
        return Check(row["kind"], name, "broken", f"{source}: {failure['stage']}: {failure['error']}", failure["hint"])
    if row["state"] == "disabled":
        advice = "unset HEAVENBASE_PLUGINS HEAVENBASE_NO_PLUGINS"
        return Check(row["kind"], name, "absent", f"{source}, disabled by the environment", advice)
    if row["available"] is False:
        return Check(row["kind"], name, "absent", f"{source}, its engine isn't installed", row["install"])
    return Check(row["kind"], name, "ok", source)


def _probed(name: str, dist: str, folder: Path) -> Iterator[Check]:
    """What an engine says of itself and of the folder."""
    from heaven_core.discovery import INSTALLED, STORAGE
    from heaven_core.plugin import describe
    from heaven_core.report import Check

    try:
        probe: Any = INSTALLED.named(STORAGE, name).load_probe()
        if probe is not None:
            yield from cast("Iterable[Check]", probe(folder))
    except Exception as error:  # noqa: BLE001  # a plugin's code
        yield Check(name, "probe", "broken", describe(error), f"pip install --upgrade {dist}")


# a workspace ---------------------------------------------------------------------------------------------------------


def examined(
    workspace: str, path: str | None, backends: str | None, *, repair: bool, tell: Callable[[str], None]
) -> tuple[list[Check], dict[str, Any]]:
    """What is wrong with a workspace, as checks and as data.

    Raises:
        WorkspaceError: there is no such workspace.
    """
    from heaven_core.errors import HeavenError
    from heaven_core.report import Check
    from heaven_core.workspace import HeavenBase
    from heavenbase.cli.location import there

    chosen = there(workspace, path, backends)
    tell(f"checking {workspace}")
    try:
        with HeavenBase(workspace, path=path, backends=chosen) as opened:
            return _examined(opened, repair=repair)
    except HeavenError as error:
        data = {"id": workspace, "error": type(error).__name__, "message": error.message}
        return [Check("workspace", workspace, "broken", error.message)], data


def _examined(workspace: HeavenBase, *, repair: bool) -> tuple[list[Check], dict[str, Any]]:
    health = workspace.health()
    report = workspace.repair() if repair else workspace.check()
    checks = [*_healthy(health), *stored(workspace.id, report, repaired=repair), *_derived(workspace)]
    return checks, {"id": workspace.id, "health": health.to_dict(), "check": report.to_dict()}


def _healthy(health: Health) -> Iterator[Check]:
    from heaven_core.report import Check

    for name, state in health.backends.items():
        yield Check("backend", name, "ok" if state["ok"] else "broken", state.get("error", state["type"]))
    failures = {failure["name"]: failure for failure in health.failures}
    for name in health.extensions:
        failure = failures.get(name)
        if failure is None:
            yield Check("extension", name, "ok", "active in this workspace")
        else:
            yield Check("extension", name, "broken", f"{failure['stage']}: {failure['error']}", failure["hint"])


def _derived(workspace: HeavenBase) -> Iterator[Check]:
    """The derived entities that cannot be read from here, though nothing that is stored is at fault."""
    from heaven_core.derive import why_not_derived
    from heaven_core.report import Check

    for one in workspace.core().usable_stored()[0]:
        if why := why_not_derived(one.schema, one.cls):
            problem, _, advice = why.partition("; ")
            yield Check("derived", one.schema.id, "warning", problem, advice)


def stored(workspace: str, report: Report, *, repaired: bool) -> Iterator[Check]:
    """One check per kind of finding in an entity, and one for the whole if there is none."""
    from heaven_core.report import Check

    for finding, count in _counted(report.repaired):
        yield Check("repaired", _place(finding), "ok", _words(finding, count))
    for finding, count in _counted(report.findings if not report.ok else ()):
        can_mend = finding.repairable and not repaired
        advice = f"hb doctor {workspace} --repair" if can_mend else "restore a backup"
        if finding.kind == "unusable-entity":  # whose own words say what to do
            advice = "see what it says; nothing of it is lost"
        yield Check("stored", _place(finding), "broken", _words(finding, count), advice)
    if report.ok:
        yield Check("stored", workspace, "ok", f"{report.entities} entities")


def _counted(findings: Sequence[Finding]) -> Iterator[tuple[Finding, int]]:
    """The first finding of each place and kind, and how many there are."""
    counts = Counter((one.backend, one.entity, one.kind) for one in findings)
    first = {(one.backend, one.entity, one.kind): one for one in reversed(findings)}
    return ((first[key], count) for key, count in counts.items())


def _place(finding: Finding) -> str:
    return finding.backend if finding.entity is None else f"{finding.backend}/{finding.entity}"


def _words(finding: Finding, count: int) -> str:
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{finding.kind}: {finding.detail}{more}"


def _summary(found: Sequence[Check]) -> str:
    counts = Counter(check.state for check in found)
    return ", ".join(f"{counts[state]} {state}" for state in ("ok", "warning", "broken", "absent") if counts[state])
