"""The benchmarks' command: measure, print a table, and on request write JSON or renew the page in the docs.

    python -m tests.benchmarks                      everything but the peers, 10 000 to 1 000 000 rows
    python -m tests.benchmarks --peers              the other packages as well
    python -m tests.benchmarks --rows 10000 --only read
    python -m tests.benchmarks --json figures.json --markdown docs/benchmarks.md

Each group runs in a child process of its own, so that one leaves nothing behind for the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("door", "write", "read", "find", "growth", "engines", "server")
MOST_FOR_PEERS = 100_000
BEGIN, END = "<!-- figures: made by python -m tests.benchmarks -->", "<!-- end of figures -->"

Record = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; the exit status is 1 where a target was missed and --strict was given."""
    asked = _parser().parse_args(arguments)
    if asked.child:
        return _child(asked)
    groups = [*(asked.only or GROUPS), *(["peers"] if asked.peers else []), *(["namesake"] if asked.namesake else [])]
    report: Record = {"machine": machine(), "doors": [], "figures": []}
    print(_described(report["machine"]))
    for group in groups:
        found = _in_child(group, asked)
        report["doors"] += found["doors"]
        report["figures"] += found["figures"]
    if asked.json:
        Path(asked.json).write_text(json.dumps(report, indent=2) + "\n")
    if asked.markdown:
        renew(Path(asked.markdown), report)
    missed = [one for one in (*report["doors"], *report["figures"]) if one["met"] is False]
    print(f"\n{len(missed)} of the targets missed" if missed else "\nevery target met")
    return 1 if missed and asked.strict else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure HeavenBase.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the tables")
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="some groups instead of all")
    parser.add_argument("--peers", action="store_true", help="also sqlite-utils, SQLAlchemy's ORM and Chroma")
    parser.add_argument("--namesake", metavar="PYTHON", help="also PyPI's heavenbase, by an interpreter that has it")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs behind each figure")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", metavar="FILE", help="renew the tables between the marks in a page")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--child", metavar="GROUP", help=argparse.SUPPRESS)
    return parser


# -- children --------------------------------------------------------------------------------------------------------


def _in_child(group: str, asked: argparse.Namespace) -> Record:
    """One group measured in a process of its own, which prints its table; what it found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        rows = [str(count) for count in asked.rows]
        command = [sys.executable, "-m", "tests.benchmarks", "--child", group, "--json", str(path)]
        command += ["--pairs", str(asked.pairs), "--rows", *rows]
        command += ["--namesake", asked.namesake] if asked.namesake else []
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HEAVENBASE_HOME": folder}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return json.loads(path.read_text())


def _child(asked: argparse.Namespace) -> int:
    found: Record = {"doors": [], "figures": []}
    if asked.child == "door":
        found["doors"] = list(_doors(max(21, asked.pairs)))
    else:
        found["figures"] = list(_figures(asked))
    Path(asked.json).write_text(json.dumps(found))
    return 0


def _figures(asked: argparse.Namespace) -> Iterator[Record]:
    from tests.benchmarks import figures

    print(f"\n{'':66}{'rows':>8}{'CPU':>8}{'quartiles':>14}{'wall':>8}{'target':>8}")
    with figures.Bench.opened(pairs=asked.pairs) as bench:
        for figure in _measured(asked, bench):
            print(_line(figure.to_dict()))
            yield figure.to_dict()


def _measured(asked: argparse.Namespace, bench: Any) -> Iterator[Any]:
    if asked.child == "growth":
        from tests.benchmarks import finding

        yield from finding.growth(bench, sorted(asked.rows))
    elif asked.child == "namesake":
        from tests.benchmarks import namesake

        yield from namesake.figures(asked.namesake)
    else:
        for count in asked.rows:
            if asked.child != "peers" or count <= MOST_FOR_PEERS:
                yield from _group(asked.child, bench, count)


def _group(name: str, bench: Any, count: int) -> Iterator[Any]:
    from tests.benchmarks import figures

    if name == "write":
        yield from figures.writes(bench, count)
    elif name == "read":
        yield from figures.reads(bench, count)
    elif name == "find":
        from tests.benchmarks import finding

        yield from finding.finds(bench, count)
    elif name == "engines":
        from tests.benchmarks import engines

        yield from engines.engines(bench, count)
    elif name == "server":
        from tests.benchmarks import server

        yield from server.figures(bench, count)
    else:
        from tests.benchmarks import peers, vector_peers

        yield from peers.inserts(bench, count)
        yield from peers.reads(bench, count)
        yield from vector_peers.figures(bench, count)


def _line(one: Record) -> str:
    action = one["action"] if one["group"] in GROUPS else f"{one['group']}: {one['action']}"
    low, high = one["spread"]
    target = "" if one["target"] is None else f"{one['target']:.2f}"
    missed = "  missed" if one["met"] is False else ""
    return (
        f"{action:<66}{one['rows']:>8}{one['ratio']:>8.2f}{f'{low:.2f}-{high:.2f}':>14}{one['wall']:>8.2f}"
        f"{target:>8}{missed}"
    )


def _doors(runs: int) -> Iterator[Record]:
    from tests.benchmarks import door

    print(f"\n{'CPU ms over an empty interpreter':<58}{'least':>8}{'median':>8}{'target':>8}")
    with tempfile.TemporaryDirectory() as folder:
        child = door.Child(Path(folder))
        yield from map(_shown, door.records(child, runs))


def _shown(one: Record) -> Record:
    target = "" if one["target"] is None else f"{one['target']:.0f}"
    missed = "  missed" if one["met"] is False else ""
    print(f"{one['action']:<58}{one['least']:>8.1f}{one['median']:>8.1f}{target:>8}{missed}")
    return one


# -- words -----------------------------------------------------------------------------------------------------------


def machine() -> Record:
    """What the figures were measured with; nothing that tells one machine from another of its class."""
    import heavenbase

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "heaven-core": heavenbase.__version__,
        "load": round(os.getloadavg()[0], 1),
    }


def _described(of: Record) -> str:
    return (
        f"Measured on {of['date']}: {of['system']}, {of['cores']} cores, load {of['load']} at the start, "
        f"Python {of['python']}, SQLite {of['sqlite']}, heaven-core {of['heaven-core']}."
    )


def renew(page: Path, report: Record) -> None:
    """Replace what stands between the marks in a page by the tables of a report."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page.name} lacks the lines {BEGIN} and {END}")
    page.write_text(before + "\n".join([BEGIN, "", *_tables(report), "", END]) + after)


def _tables(report: Record) -> Iterator[str]:
    yield _described(report["machine"])
    if report["doors"]:
        yield from _head("Light at the door", ["", "least", "median", "target", ""])
        for one in report["doors"]:
            target = "" if one["target"] is None else f"{one['target']:.0f}"
            yield _row([one["action"], f"{one['least']:.1f}", f"{one['median']:.1f}", target, _verdict(one)])
    yield from _own_tables(report["figures"])
    others = [one for one in report["figures"] if one["group"] not in GROUPS]
    namesake = [one for one in others if one["against"] == "heaven-core"]
    if namesake:
        yield from _head("PyPI's heavenbase, to this package: larger is better", ["", "", "rows", "CPU", "range"])
        for one in namesake:
            yield _row([one["group"], one["action"], *_numbers(one)[:-1]])
    theirs = [one for one in others if one not in namesake]
    if theirs:
        yield from _head("Other packages, to the same hand-written code", ["", "", "rows", "CPU", "quartiles", "wall"])
        for one in theirs:
            yield _row([one["group"], one["action"], *_numbers(one)])


def _own_tables(figures: list[Record]) -> Iterator[str]:
    """The tables of our own figures: against code by hand, over several engines, and as rows grow in number."""
    columns = ["", "rows", "CPU", "quartiles", "wall", "target", ""]
    hand = [one for one in figures if one["group"] in GROUPS and one["group"] not in {"growth", "engines", "server"}]
    several, served = ([one for one in figures if one["group"] == group] for group in ("engines", "server"))
    for title, found in (("Ratios to hand-written code", hand), ("Several engines", several), ("A server", served)):
        if found:
            yield from _head(title, columns)
            for one in found:
                yield _row([one["action"], *_numbers(one), _target(one), _verdict(one)])
    grown = [one for one in figures if one["group"] == "growth"]
    if grown:
        yield from _head("A row among many, to a row among the fewest", columns[:-2])
        for one in grown:
            yield _row([one["action"], *_numbers(one)])


def _head(title: str, columns: list[str]) -> Iterator[str]:
    yield from ("", f"### {title}", "", _row(columns), _row(["---"] * len(columns)))


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _numbers(one: Record) -> list[str]:
    low, high = one["spread"]
    return [
        f"{one['rows']:,}".replace(",", " "),
        f"{one['ratio']:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{one['wall']:.2f}",
    ]


def _target(one: Record) -> str:
    return "" if one["target"] is None else f"{one['target']:.2f}"


def _verdict(one: Record) -> str:
    return {True: "met", False: "missed", None: ""}[one["met"]]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # started as a script, it sees only its own folder
    sys.exit(main())
