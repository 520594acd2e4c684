"""The file that `--output` names: written whole or not at all, and never over another by accident."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper
from pathlib import Path
from secrets import token_hex

import click

from heaven_core.errors import shown


def check_target(name: str, *, force: bool) -> None:
    """Refuse what cannot be written, before the work whose result it is to hold."""
    path = Path(name)
    try:
        is_there, is_file, is_folder = path.exists(), path.is_file(), path.is_dir()
        has_place = path.resolve().parent.is_dir()
    except OSError as error:
        raise _unwritable(name, error) from None
    if is_folder:
        raise click.UsageError(f"--output {shown(name, 200)} is a folder; name a file in it.")
    if is_file and not force:
        raise click.UsageError(f"--output {shown(name, 200)} is there already; --force replaces it.")
    if not is_there and not has_place:
        raise click.UsageError(f"--output {shown(name, 200)} lies in a folder that isn't there; make it first.")


@contextmanager
def written_to(name: str, *, force: bool) -> Generator[None]:
    """What is printed in the block becomes the content of the file, in UTF-8; nothing of it where the block fails.

    A device or a named pipe is written to as it is.
    """
    path = Path(name)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as stream, redirect_stdout(stream):
            yield
        return
    path = path.resolve()  # a link stays one
    new = path.with_name(f".{path.name[:200]}.{token_hex(4)}.tmp")
    try:
        stream = _created(new)
    except OSError as error:
        raise _unwritable(name, error) from None
    try:
        with stream, redirect_stdout(stream):
            yield
            stream.flush()
            os.fsync(stream.fileno())
        _put(new, path, name, force=force)
    finally:
        new.unlink(missing_ok=True)


def _created(new: Path) -> TextIOWrapper:
    return new.open("x", encoding="utf-8", newline="")


def _put(new: Path, path: Path, name: str, *, force: bool) -> None:
    """Give the new file its name in one step; without `force` only if nothing has it, whoever was quicker."""
    if force:
        with suppress(OSError):  # there is none, or it is somebody else's
            new.chmod(stat.S_IMODE(path.stat().st_mode))
        new.replace(path)
        return
    try:
        os.link(new, path)
    except FileExistsError:
        raise click.UsageError(f"--output {shown(name, 200)} is there already; --force replaces it.") from None
    except OSError:  # a file system without links
        new.replace(path)


def _unwritable(name: str, error: OSError) -> click.UsageError:
    return click.UsageError(f"--output {shown(name, 200)} cannot be written: {error.strerror}.")
