"""A first look at HeavenBase: the standard library of this Python becomes a workspace that answers questions.

    python demos/quickstart.py                  keep the workspace where workspaces live
    python demos/quickstart.py --path DIR       keep it in a folder of your choice
    python demos/quickstart.py --preset debug   keep nothing: the workspace is in memory
    python demos/quickstart.py --fresh          remove the workspace first

Read it from the top: the entity, then `main`, which opens a workspace, stores the rows and asks five questions.
How source files become rows is in `stdlib_corpus.py`; how an answer gets onto the terminal is at the end. Run it a
second time, and it finds that there is nothing to change.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the reader lies beside this file, wherever you call it from

from stdlib_corpus import Corpus, read_corpus

import heavenbase as hb

NAME = "quickstart"
BATCH = 500


class Definition(hb.Entity):
    """A public function, class or method. Every entity has a name; here it is the identity: os.path.join."""

    module = hb.field(hb.ShortText).required().index()
    kind = hb.field(hb.Categorical(["function", "class", "method"])).required()
    signature = hb.field(hb.MediumText)
    doc = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)  # full text, ranked
    source = hb.field(hb.LongText)
    params = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)  # found by item
    lines = hb.field(hb.Integer).required().index()
    annotations = hb.field(hb.Json)
    is_async = hb.field(hb.Boolean).required()


def main() -> None:
    options = parsed_options()
    start = time.perf_counter()
    print(f"The standard library of Python {sys.version_info[0]}.{sys.version_info[1]} as a workspace\n")
    with open_workspace(options) as ws:
        corpus = read()
        print(f"Read    {len(corpus.rows):,} public definitions in {corpus.modules:,} modules, {corpus.seconds:.1f} s")
        done = store(ws, corpus)
        print(f"Stored  {done.new:,} new, {done.changed:,} changed, {done.unchanged:,} unchanged", end=", ")
        print(f"{done.removed:,} removed, {done.seconds:.1f} s")
        asked = time.perf_counter()
        for question in QUESTIONS:
            question(ws)
        answering = time.perf_counter() - asked
        folder = ws.folder
    print()
    conclude(corpus, done, answering, time.perf_counter() - start)
    tell_where(options, folder)


# The workspace -------------------------------------------------------------------------------------------------------


def open_workspace(options: argparse.Namespace) -> hb.HeavenBase:
    """The workspace, with the entity in it. Without a preset it is a folder with one SQLite file."""
    ws = hb.HeavenBase(NAME, preset=options.preset, path=options.path)
    if options.fresh:
        ws.drop()
        ws = hb.HeavenBase(NAME, preset=options.preset, path=options.path)
    ws.register(Definition)
    return ws


class Stored(NamedTuple):
    """What storing the rows did: how many rows of each kind, and how long it took."""

    new: int
    changed: int
    unchanged: int
    removed: int
    seconds: float


def store(ws: hb.HeavenBase, corpus: Corpus) -> Stored:
    """Make the rows of the workspace those of the corpus, all or none: Ctrl-C leaves what was there before."""
    start = time.perf_counter()
    progress = progress_bar("storing")
    ids: list[str] = []
    with ws.transaction(exclusive=True) as tx:
        before = versions(tx)
        for first in range(0, len(corpus.rows), BATCH):
            ids += tx.upsert_many(Definition, corpus.rows[first : first + BATCH])
            progress(len(ids), len(corpus.rows))
        removed = tx.delete_many(before.keys() - set(ids), Definition)  # another Python may have had them
        after = versions(tx)
    new = len(after.keys() - before.keys())
    unchanged = len(after.items() & before.items())
    return Stored(new, len(after) - new - unchanged, unchanged, removed, time.perf_counter() - start)


def versions(tx: hb.Transaction) -> dict[str, int | None]:
    """The version of each row by id: the number of the write that last changed it. An equal row isn't written."""
    ids = tx.ids(Definition)
    return dict(zip(ids, tx.versions(Definition, ids), strict=True))


# The questions -------------------------------------------------------------------------------------------------------


def safe_opening(ws: hb.HeavenBase) -> None:
    heading('1. What helps to "open a file safely"? Ranked full text in the docstrings:')
    found = ws.query(Definition).search("open a file safely").select("name", "doc").limit(6).execute()
    for score, row in zip(found.scores or [], found.rows(), strict=True):
        show(f"{score:7.2f}  {row['name']}: {' '.join(row['doc'].split())}")


def with_timeout(ws: hb.HeavenBase) -> None:
    heading("2. Which functions take a parameter named timeout? The longest, lines first:")
    query = ws.query(Definition).where(Definition.params.array_contains("timeout"), Definition.kind != "class")
    for row in query.order_by("-lines", "name").limit(6):
        show(f"{row['lines']:7}  {row['name']}{row['signature']}")
    show(f"{query.count():7}  in all")


def longest_per_module(ws: hb.HeavenBase) -> None:
    heading("3. What is the longest definition of a module? The six longest, lines first:")
    modules = ws.query(Definition).group_by("module").aggregate(longest=Definition.lines.max())
    tops = [{"module": row["module"], "lines": row["longest"]} for row in modules.order_by("-longest").limit(6)]
    spec = {"filter": {"$or": tops}, "select": ["kind", "name", "lines"], "order": ["-lines", "name"]}
    for row in ws.query_json(Definition, spec):  # the same kind of query, written as JSON
        show(f"{row['lines']:7}  {row['kind']} {row['name']}")


def biggest_modules(ws: hb.HeavenBase) -> None:
    heading("4. Which modules define the most? Grouped and counted in the engine:")
    groups = ws.query(Definition).group_by("module").aggregate(definitions="count")
    top = groups.order_by("-definitions", "module").limit(10).execute()
    draw_bars(top.column("module"), top.column("definitions"))


def explained(ws: hb.HeavenBase) -> None:
    heading("5. Where is a question answered? Three conditions and an order, explained:")
    query = ws.query(Definition).where(
        Definition.doc.match("timeout seconds"),
        Definition.params.array_contains("timeout"),
        Definition.lines.between(10, 100),
    )
    plan = query.order_by("-lines").limit(5).explain(analyze=True)
    for line in str(plan).splitlines():
        print(textwrap.fill(line, width() - 1, initial_indent="  ", subsequent_indent=" " * 8))


QUESTIONS = (safe_opening, with_timeout, longest_per_module, biggest_modules, explained)


# The last words ------------------------------------------------------------------------------------------------------


def conclude(corpus: Corpus, done: Stored, answering: float, total: float) -> None:
    """What was done, how long it took, and what the rows lack."""
    tell(
        f"Read {corpus.modules:,} modules, stored {len(corpus.rows):,} rows and answered {len(QUESTIONS)} questions "
        f"({answering * 1000:.0f} ms) in {total:.1f} s."
    )
    tell(
        f"{corpus.redefined:,} definitions gave way to a later one of the same name. "
        f"{corpus.cut:,} texts were too long for their field and were cut."
    )
    for module, reason in corpus.skipped:
        tell(f"Module {module} was left out: it {reason}.")
    if not (done.new or done.changed or done.removed):
        tell("Nothing has changed since the last run: every row kept its version.")


def tell_where(options: argparse.Namespace, folder: Path | None) -> None:
    """Where the rows are, and how to ask them more."""
    if folder is None:
        tell("The workspace was in memory and is gone.")
        return
    path = "" if options.path is None else f", path={options.path!r}"
    tell(f"The rows are in {seen_from_home(options.path or folder)}; ask them more:")
    print("\n    import heavenbase as hb\n")
    print(f'    with hb.HeavenBase("{NAME}"{path}) as ws:')
    print(f'        print(ws.count("{Definition.identifier}", {{"is_async": True}}))')


def seen_from_home(folder: str | Path) -> str:
    try:
        return f"~/{Path(folder).relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # it is elsewhere, or you have no home
        return str(folder)


# Reading -------------------------------------------------------------------------------------------------------------


def read() -> Corpus:
    try:
        return read_corpus(progress_bar("reading"))
    except RuntimeError as error:  # a Python without its sources
        sys.exit(f"quickstart: {error}")


# The terminal --------------------------------------------------------------------------------------------------------


def width() -> int:
    """How many columns to use: those of the terminal, 80 in a pipe."""
    return max(40, min(100, shutil.get_terminal_size((80, 24)).columns))


def heading(text: str) -> None:
    print()
    tell(text)
    print()


def show(line: str) -> None:
    """One line, its end left out if the terminal is too narrow."""
    print(line if len(line) < width() else line[: width() - 4] + "...")


def tell(text: str) -> None:
    """A text, on as many lines as it takes."""
    print(textwrap.fill(text, width() - 1))


def draw_bars(labels: list[str], values: list[int]) -> None:
    """One line per value: its label, a bar as long as the value is big, the value."""
    block = "\u2588" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    widest = max(map(len, labels))
    room = width() - widest - 14
    for label, value in zip(labels, values, strict=True):
        show(f"  {label:{widest}}  {block * max(1, room * value // max(values))} {value:,}")


def progress_bar(label: str) -> Callable[[int, int], None]:
    """What shows how much is done: one line of a terminal, which goes away at the end. In a pipe it shows nothing."""
    shown = -1

    def draw(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        if percent != shown:
            shown = percent
            line = f"{label} [{'#' * (percent // 3):33}] {percent:3} %"
            end = "" if done < total else f"\r{' ' * len(line)}\r"
            print(f"\r{line}{end}", end="", file=sys.stderr, flush=True)

    return draw if sys.stdout.isatty() and sys.stderr.isatty() else lambda _done, _total: None


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a workspace of Python's standard library and ask it questions.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--path", metavar="DIR", help="the workspace's folder (default: where all workspaces live)")
    where.add_argument("--preset", choices=["local", "debug"], help="debug: in memory, nothing on disk")
    parser.add_argument("--fresh", action="store_true", help="remove the workspace first")
    return parser.parse_args()


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that can't show some character shows "?"
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    try:
        main()
    except hb.HeavenError as error:
        sys.exit(f"quickstart: {error}")
    except KeyboardInterrupt:
        print("\nStopped. Rows are stored all or none, so the workspace is whole.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever reads the output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
