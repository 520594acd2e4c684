"""Brings the pages that are made from the code up to date: `docs/reference/` and `llms.txt`.

Not here: what stands on them (`reference.py`, `llms.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.docs import llms, reference


def made() -> dict[Path, str]:
    """Every file that is made, with its text."""
    pages = {reference.FOLDER / path: text for path, text in reference.pages().items()}
    return pages | {llms.FILE: llms.text()}


def outdated(files: dict[Path, str]) -> list[Path]:
    """The files that are missing or differ, and those in the folder that are no longer made."""
    differing = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    return differing + [path for path in sorted(reference.FOLDER.rglob("*.md")) if path not in files]


def main(arguments: Sequence[str]) -> int:
    """Write what is outdated, or with `--check` only name it; the status is 1 if then there is any."""
    if set(arguments) - {"--check"}:
        print("usage: python -m tests.docs [--check]")
        return 2
    files = made()
    stale = outdated(files)
    for path in stale:
        print(path.relative_to(reference.ROOT).as_posix())
        if not arguments:
            _write(path, files.get(path))
    return 1 if arguments and stale else 0


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
