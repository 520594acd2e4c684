"""What GitHub reads of the checkout is true: the workflow runs our scripts on our Pythons, templates ask what we ask.

Not here: the scripts themselves (`tests/test_packaging.py`).
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
CONVENTIONS = (ROOT / "docs" / "PROCESS" / "ISSUE_CONVENTIONS.md").read_text(encoding="utf-8")
TEMPLATES = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PULL_REQUEST = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> Any:
    """The file with every scalar as text: `on` is no truth value, and 3.10 no number."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def workflow() -> dict[str, Any]:
    return parsed(GITHUB / "workflows" / "ci.yml")


def steps(job: str) -> list[dict[str, Any]]:
    return workflow()["jobs"][job]["steps"]


def matrix() -> tuple[list[tuple[str, str]], list[str]]:
    """(system, Python) of the runs that must pass, and the Pythons that are only tried."""
    asked = workflow()["jobs"]["check"]["strategy"]["matrix"]
    promised = [(system, python) for system in asked["os"] for python in asked["python"]]
    promised += [(one["os"], one["python"]) for one in asked["include"] if "tried" not in one]
    return promised, [one["python"] for one in asked["include"] if one.get("tried") == "true"]


# -- the workflow ----------------------------------------------------------------------------------------------------


def test_every_python_that_is_promised_is_checked_and_no_other_can_fail_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))

    promised, tried = matrix()

    assert [python for system, python in promised if system.startswith("ubuntu")] == known
    assert {system.partition("-")[0] for system, _ in promised} == {"ubuntu", "macos"}
    assert not set(tried) & set(known)
    assert project["requires-python"] == f">={known[0]}"
    # Not `matrix.promised == false`, which in GitHub's expressions holds where nothing is said.
    assert workflow()["jobs"]["check"]["continue-on-error"] == "${{ matrix.tried == true }}"


def test_the_check_is_our_own_script_and_nothing_else() -> None:
    commands = [step["run"] for step in steps("check") if "run" in step]

    assert commands == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


def test_the_long_runs_are_made_at_night_with_our_own_recipes() -> None:
    job = workflow()["jobs"]["soak"]
    recipes = (ROOT / "justfile").read_text(encoding="utf-8")

    named = [step["run"].removeprefix("just ") for step in steps("soak") if step.get("run", "").startswith("just ")]

    assert workflow()["on"]["schedule"]
    assert "github.event_name == 'schedule'" in job["if"]
    assert named == ["setup", "soak"]
    assert all(re.search(rf"(?m)^{name}\b[^:\n]*:$", recipes) for name in named)
    assert "-m pytest -m soak" in recipes


@pytest.mark.parametrize("job", ["check", "soak"])
def test_a_job_has_an_end_and_the_cached_packages_of_its_declared_dependencies(job: str) -> None:
    setup = next(step["with"] for step in steps(job) if step.get("uses", "").startswith("actions/setup-python@"))

    assert 0 < int(workflow()["jobs"][job]["timeout-minutes"]) <= 180
    assert (setup["cache"], setup["cache-dependency-path"]) == ("pip", "pyproject.toml")


def test_the_workflow_may_only_read_and_runs_actions_of_a_known_major_version() -> None:
    used = [step["uses"] for job in workflow()["jobs"] for step in steps(job) if "uses" in step]
    checkouts = [steps(job)[0] for job in workflow()["jobs"]]

    assert workflow()["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow()["jobs"].values())
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", one) for one in used), used
    assert [one["with"] for one in checkouts] == [{"persist-credentials": "false"}] * 2
    assert "pull_request_target" not in workflow()["on"]


def test_a_newer_commit_of_a_pull_request_ends_the_run_of_the_older_one() -> None:
    concurrency = workflow()["concurrency"]

    assert "github.ref" in concurrency["group"]
    assert concurrency["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


# -- issues ----------------------------------------------------------------------------------------------------------


def asked_for(kind: str) -> list[str]:
    """The sections that the conventions ask for: of `A bug has:` or `A feature or task has:`."""
    part = CONVENTIONS.partition(f"\nA {kind} has:\n")[2].partition("\n\nA ")[0].partition("\n## ")[0]
    return re.findall(r"(?m)^\d\. \*\*(.+?)\*\*", part)


def known_labels() -> set[str]:
    rows = CONVENTIONS.partition("\n## Labels\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`([^`]+)`", rows))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_asks_for_the_sections_of_the_conventions_in_their_order(path: Path) -> None:
    sections = asked_for("bug" if path.stem == "bug" else "feature or task")

    labels = [field["attributes"]["label"] for field in parsed(path)["body"] if field["type"] != "markdown"]

    assert len(sections) in {3, 6}
    assert [label for label in labels if label in sections] == sections


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_a_form_that_github_accepts(path: Path) -> None:
    form = parsed(path)
    fields = [field for field in form["body"] if field["type"] != "markdown"]

    assert {"name", "description", "title", "labels", "body"} == set(form)
    assert set(form["labels"]) <= known_labels()
    assert re.fullmatch(r"(area|plugin NAME): what .+", form["title"])
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(re.fullmatch(r"[a-z_-]+", field["id"]) for field in fields)
    assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "dropdown", "input", "checkboxes"}
    assert all(field["attributes"]["options"] for field in fields if field["type"] == "dropdown")


def test_there_is_a_template_for_bugs_for_features_and_for_plugins_and_no_blank_issue() -> None:
    assert [path.stem for path in TEMPLATES] == ["bug", "feature", "plugin"]
    assert parsed(GITHUB / "ISSUE_TEMPLATE" / "config.yml")["blank_issues_enabled"] == "false"


@pytest.mark.parametrize("path", [*TEMPLATES, GITHUB / "PULL_REQUEST_TEMPLATE.md"], ids=lambda path: path.stem)
def test_a_file_that_a_template_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("../blob/main/", "")

    named = re.findall(r"\b[\w/-]+\.(?:md|txt)\b", text)

    assert named
    assert [one for one in named if not (ROOT / one).exists()] == []


# -- pull requests ---------------------------------------------------------------------------------------------------


def test_the_pull_request_asks_for_what_contributing_asks_for() -> None:
    asked = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Pull requests\n")[2]

    for words in (
        "One subject",
        "would have failed before",
        "`CHANGELOG.md`",
        "golden bytes, an upgrade and a test that opens the old one",
        "what it replaces, its weight, what it imports at start",
        "`.ci/run` passes",
        "an import contract, a gate or a measured figure",
    ):
        assert words in asked
        assert words in PULL_REQUEST
    assert "python -m tests.docs --check" in PULL_REQUEST
