"""Data that is given on a command line: JSON as it stands, in a file (``@name``), or on stdin (``-``).

Not here: what the data mean (each command).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


def read_json(option: str, text: str) -> Any:
    """The data that `text` is, or that the file ``@name`` or stdin (``-``) holds.

    Raises:
        QueryError: it is no JSON, or names a key twice, or is nested too deeply.
    """
    from heaven_core.errors import QueryError, QueryTooDeep, shown

    what = f"the file {shown(text[1:], 200)} of {option}" if text.startswith("@") else option
    try:
        return json.loads(_content(what, text), object_pairs_hook=_object)
    except RecursionError:
        raise QueryTooDeep(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise QueryError(f"{what} is no JSON: {error}") from None


def _content(what: str, text: str) -> str:
    if text == "-":
        stream: Any = sys.stdin
        if stream is None:  # None where whoever started us has closed it
            raise click.UsageError(f"{what} - reads stdin, which is closed; give the JSON itself.")
        return stream.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{what} cannot be read: {error.strerror}.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} comes twice in one object")
    return made
