"""The data of the measurements: tasks, as a to-do application or an agent's queue would keep them.

One row has nine columns of its own and the implicit `name`: a text id, a short title, a
body of twelve words, a state, a priority, a score, a flag, a moment, and about 190 bytes of
JSON. The entities differ in their indexes only.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import heavenbase as hb

VOCABULARY = """
agent archive backup batch branch bridge budget cache calendar carrier catalogue channel chapter circuit cluster column
commit company concert contract copper corner country crystal cursor deadline delta desert device diary digest engine
entity error event export factory feature ferry fiber field figure filter forest fragment garden gateway glacier graph
harbour header history index invoice island journal kernel kitchen ladder language ledger letter library lock machine
manual margin market matrix memory message method mirror module mountain network
"""
WORDS = VOCABULARY.split()
STATES = ("open", "running", "blocked", "review", "done")
START = datetime(2026, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


def make_rows(count: int, seed: int = 7) -> list[Row]:
    """`count` rows without ids, always the same ones; each value of `bucket` has about 100 of them."""
    chance = random.Random(seed)
    buckets = max(1, count // 100)
    return [_row(chance, number, buckets) for number in range(count)]


def _row(chance: random.Random, number: int, buckets: int) -> Row:
    words = chance.choices(WORDS, k=16)
    return {
        "title": f"{words[0]} {words[1]} {number}",
        "body": " ".join(words[2:14]),
        "state": chance.choice(STATES),
        "bucket": number % buckets,
        "score": chance.random(),
        "done": chance.random() < 0.3,
        "due": START + timedelta(seconds=chance.randrange(31_536_000)),
        "meta": {
            "source": f"https://tracker.example/{words[14]}/{number}",
            "labels": [words[14], words[15], "imported"],
            "estimate": {"hours": number % 40, "confidence": round(chance.random(), 3)},
            "owner": {"team": words[3], "seat": number % 17},
            "retries": number % 5,
            "archived": False,
        },
    }


class Plain(hb.Entity):
    """No index beside the one on object_id."""

    identifier = "task"
    title = hb.field(hb.ShortText).required()
    body = hb.field(hb.MediumText)
    state = hb.field(hb.ShortText)
    bucket = hb.field(hb.Integer)
    score = hb.field(hb.Float)
    done = hb.field(hb.Boolean)
    due = hb.field(hb.Timestamp)
    meta = hb.field(hb.Json)


class Indexed(Plain):
    """Indexes on bucket and score, full text on the body: what the queries run on."""

    identifier = "task"
    body = hb.field(hb.MediumText).store(strategy=hb.InvertedIndex)
    bucket = hb.field(hb.Integer).index()
    score = hb.field(hb.Float).index()


class Searched(Plain):
    """Full text on the body."""

    identifier = "task"
    body = hb.field(hb.MediumText).store(strategy=hb.InvertedIndex)


class Tagged(Plain):
    """A side table for an array of texts."""

    identifier = "task"
    tags = hb.field(hb.Array(hb.ShortText)).store(strategy=hb.SideTable)


def tagged(rows: list[Row]) -> list[Row]:
    """The rows with three tags each."""
    return [{**row, "tags": [*row["meta"]["labels"][:2], f"w{number % 50}"]} for number, row in enumerate(rows)]
