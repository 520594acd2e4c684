"""The examples of the reference pages as whole programs, and what these print.

Not here: what they are about (`examples.py`).
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.testing import isolated_registries
from tests.docs.layout import fenced


def program(field: str, body: Sequence[str], *, imports: str = "", where: str = 'preset="debug"') -> str:
    """A program with an entity `Thing` whose one field is called `value`, and a workspace; `body` is done with them."""
    lines = [
        *([imports, ""] if imports else []),
        "import heavenbase as hb",
        "",
        "",
        "class Thing(hb.Entity):",
        f"    value = {field}",
        "",
        "",
        f'with hb.HeavenBase("reference", {where}) as ws:',
        "    ws.register(Thing)",
        *(f"    {line}" for line in body),
    ]
    return "\n".join(lines) + "\n"


def ran(source: str) -> tuple[str, dict[str, Any]]:
    """What a program prints in an empty folder, and the names that it leaves."""
    names: dict[str, Any] = {"__name__": "example"}
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(isolated_registries())
        stack.enter_context(contextlib.redirect_stdout(printed))
        exec(compile(source, "example", "exec", dont_inherit=True), names)
    return printed.getvalue(), names


def shown(source: str, printed: str) -> list[str]:
    """A program and what it prints, as lines of a page."""
    return [*fenced("python", source), "", *fenced("text", printed)]


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """A home of its own: what the user has configured has no place on a page."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("HEAVENBASE_")}
    with tempfile.TemporaryDirectory() as home:
        os.environ["HEAVENBASE_HOME"] = home
        try:
            yield
        finally:
            del os.environ["HEAVENBASE_HOME"]
            os.environ.update(kept)
