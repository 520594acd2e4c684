"""A question to a workspace, as `hb query` and `hb explain` take it on the command line.

Not here: the JSON form itself (`heaven_core.query.from_json`), and what is done with the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from heaven_core.query import Query

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("workspace"),
    click.argument("entity"),
    click.option("--path", metavar="DIR", help="The workspace's own folder, if it isn't in the usual place."),
    click.option("--filter", "filter_", metavar="JSON", help='A condition, such as \'{"year": {"$gte": 1990}}\'.'),
    click.option("--spec", metavar="JSON|@FILE|-", help="A whole query as JSON: here, in a file, or on stdin."),
    click.option("--search", metavar="TEXT", help="Rank by full-text relevance; rows without any word are left out."),
    click.option("--select", metavar="A,B", multiple=True, help="Only these fields, and object_id."),
    click.option("--order", metavar="A,-B", multiple=True, help="Sort by these fields; a minus reverses."),
    click.option("--limit", metavar="N", type=click.IntRange(min=0), help="At most N rows."),
    click.option("--count", "counts", is_flag=True, help="Only how many rows there are."),
)


def asks(command: Command) -> Command:
    """Give a command the arguments and options that `Question` is made of."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Question(NamedTuple):
    """What was asked for; the options replace the keys of `spec` that they stand for."""

    workspace: str
    entity: str
    path: str | None
    filter_: str | None
    spec: str | None
    search: str | None
    select: Sequence[str]
    order: Sequence[str]
    limit: int | None
    counts: bool

    def to_spec(self) -> Any:
        """The JSON form of the question.

        Raises:
            QueryError: what should be JSON isn't, or is no query.
        """
        from heaven_core.errors import QueryError, a_kind
        from heaven_core.narrow import is_mapping

        given: Any = {} if self.spec is None else read_json("--spec", self.spec)
        if not is_mapping(given):
            raise QueryError(f"--spec takes a JSON object with keys such as 'filter', not {a_kind(given)}")
        options = {
            "filter": None if self.filter_ is None else read_json("--filter", self.filter_),
            "search": None if self.search is None else {"query": self.search},
            "select": _names(self.select),
            "order": _names(self.order),
            "limit": self.limit,
        }
        return {**given, **{key: value for key, value in options.items() if value is not None}}

    @contextmanager
    def opened(self) -> Generator[Query]:
        """The query, in its workspace, which is closed at the end and never created.

        Raises:
            WorkspaceError: there is no such workspace.
            HeavenError: it cannot be opened, or the question cannot be asked.
        """
        from heaven_core.workspace import HeavenBase

        spec = self.to_spec()
        check_there(self.workspace, self.path)
        with HeavenBase(self.workspace, path=self.path) as workspace:
            yield workspace.query_json(self.entity, spec)


def check_there(workspace: str, path: str | None) -> None:
    """Raise unless the workspace exists.

    Raises:
        WorkspaceError: it does not; the message has the nearest that does.
        InvalidName: no workspace can have this id.
    """
    from heaven_core.errors import WorkspaceError, did_you_mean
    from heaven_core.workspace import workspace_exists, workspace_ids

    if workspace_exists(workspace, path):
        return
    if path is not None:
        raise WorkspaceError(f"there is no workspace {workspace!r} in the folder given by --path")
    raise WorkspaceError(f"there is no workspace {workspace!r}; {did_you_mean(workspace, workspace_ids())}")


def read_json(option: str, text: str) -> Any:
    """The data that `text` is, or that the file ``@name`` or stdin (``-``) holds.

    Raises:
        QueryError: it is no JSON, or names a key twice, or is nested too deeply.
    """
    from heaven_core.errors import QueryError, QueryTooDeep

    try:
        return json.loads(_content(option, text), object_pairs_hook=_object)
    except RecursionError:
        raise QueryTooDeep(f"{option} is nested too deeply") from None
    except ValueError as error:
        raise QueryError(f"{option} is no JSON: {error}") from None


def _content(option: str, text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"the file that {option} names cannot be read: {error.strerror}.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} comes twice in one object")
    return made


def _names(given: Sequence[str]) -> list[str] | None:
    names = [name.strip() for part in given for name in part.split(",")]
    return [name for name in names if name] or None
