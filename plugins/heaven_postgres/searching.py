"""Words and their weight: BM25 over the words that PostgreSQL keeps and finds. Imported by the first search.

The server finds the rows by its index, and counts in them how often each word is there; at most 255 times of each
are told from one another, and words after the first 16 383 of a text count as one.

Not here: what a word is (`heaven_core.text`), how words are kept (`heaven_postgres.writing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from heaven_core.backend import Rows, Scan, Search
from heaven_core.evaluate import K1, B, check_bytes, check_rows, most_rows
from heaven_core.sql import Sql, decoders, quote, where_sql
from heaven_core.sql_scan import limited, order_sql
from heaven_postgres.handlers import id_set, words_query
from heaven_postgres.statements import length_column, table, words_column

ALL_TERMS = 1.6449340668482264
RANKED_OVER = 1.64493406685
"""The same, as PostgreSQL has it."""

Fetch = Callable[[Sql], list[tuple[Any, ...]]]


def answer_search(fetch: Fetch, request: Scan, search: Search) -> Rows:
    """The best rows first; `fetch` runs statements that see one moment."""
    source = table(request.layout.entity)
    score, values = _score(fetch, source, search)
    found, words = _found(search, search.tokens)
    columns = ", ".join(f"t.{quote(name)}" for name in request.columns)
    text = f"select {columns}, {score} as _score from {source} t where {found}"
    condition, more = where_sql(request.where, id_set)
    if condition:
        text += f" and {condition}"
    text += order_sql(request.order) or ' order by _score desc, t."object_id"'
    tuples = fetch(limited(text, (*values, *words, *more), most_rows(request), request.offset))
    check_rows(len(tuples), request.limits)
    check_bytes(tuples, request.limits)
    return Rows((*request.columns, "_score"), (*decoders(request.layout, request.columns), None), tuples)


def _found(search: Search, tokens: Sequence[str]) -> Sql:
    """The condition that one of the words is in one of the fields."""
    parts = [f"t.{words_column(field.name)} @@ ?::tsquery" for field in search.fields]
    return f"({' or '.join(parts)})", (words_query(tokens, "|"),) * len(parts)


def _score(fetch: Fetch, source: str, search: Search) -> Sql:
    """A row's BM25: what each word is worth in all rows, times how much of the row it is."""
    length = " + ".join(f"t.{length_column(field.name)}" for field in search.fields)
    documents, words = fetch((f"select count(*), coalesce(sum({length}), 0)::bigint from {source} t", ()))[0]
    average = words / documents if documents else 1.0
    share = f"{K1!r} * ({1 - B!r} + {B!r} * ({length}) / {average or 1.0!r})"
    terms: list[str] = []
    values: list[Any] = []
    for token in search.tokens:
        found, asked = _found(search, [token])
        having = fetch((f"select count(*) from {source} t where {found}", asked))[0][0]
        idf = math.log(1 + (documents - having + 0.5) / (having + 0.5))
        count, more = _count(search, token)
        terms.append(
            f"(select {idf!r} * n * {K1 + 1!r} / (n + {share}) from (select {count} as n) counted where n > 0)"
        )
        values += more
    return " + ".join(f"coalesce({one}, 0)" for one in terms), tuple(values)


def _count(search: Search, token: str) -> Sql:
    """How often a word is in the fields of a row, each by its weight.

    PostgreSQL has no function that counts, but ranks by one word with 1 + 1/4 + 1/9 and so on, a term for each time
    that it is there, over the sum of all such terms. What is lacking to that sum is close to 1 / (n + 1/2).
    """
    parts: list[str] = []
    for place, field in enumerate(search.fields):
        weight = float(search.weights[place]) if search.weights else 1.0
        rank = f"ts_rank('{{1,1,1,1}}', t.{words_column(field.name)}, ?::tsquery)::double precision"
        count = f"round(1 / ({ALL_TERMS!r} - {RANKED_OVER!r} * {rank}) - 0.5)"
        parts.append(f"coalesce({count}, 0) * {weight!r}")
    return " + ".join(parts), (words_query([token], "|"),) * len(parts)
