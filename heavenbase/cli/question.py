"""A question to a workspace, as `hb query` and `hb explain` take it on the command line.

Not here: the JSON form itself (`heaven_core.query.from_json`), whether the workspace
is there (`heavenbase.cli.location`), and what is done with the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from heavenbase.cli.completing import entities, fields, workspaces
from heavenbase.cli.given import read_json
from heavenbase.cli.location import located, opened

if TYPE_CHECKING:
    from heaven_core.query import Query

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--filter", "filter_", metavar="JSON", help='A condition, such as \'{"year": {"$gte": 1990}}\'.'),
    click.option("--spec", metavar="JSON|@FILE|-", help="A whole query as JSON: here, in a file, or on stdin."),
    click.option("--search", metavar="TEXT", help="Rank by full-text relevance; rows without any word are left out."),
    click.option(
        "--select", metavar="A,B", multiple=True, shell_complete=fields, help="Only these fields, and object_id."
    ),
    click.option(
        "--order", metavar="A,-B", multiple=True, shell_complete=fields, help="Sort by these fields; a minus reverses."
    ),
    click.option("--limit", metavar="N", type=click.IntRange(min=0), help="At most N rows."),
    click.option("--count", "counts", is_flag=True, help="Only how many rows there are."),
)


def asks(command: Command) -> Command:
    """Give a command the arguments and options that `Question` is made of."""
    for option in reversed(_OPTIONS):
        command = option(command)
    command = click.argument("entity", shell_complete=entities)(located(command))
    return click.argument("workspace", shell_complete=workspaces)(command)


class Question(NamedTuple):
    """What was asked for; the options replace the keys of `spec` that they stand for."""

    workspace: str
    entity: str
    path: str | None
    backends: str | None
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
        spec = self.to_spec()
        with opened(self.workspace, self.path, self.backends) as workspace:
            yield workspace.query_json(self.entity, spec)


def _names(given: Sequence[str]) -> list[str] | None:
    names = [name.strip() for part in given for name in part.split(",")]
    return [name for name in names if name] or None
