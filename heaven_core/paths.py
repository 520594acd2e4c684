"""Paths as text, for what opening a workspace needs: importing `pathlib` would cost as much as all else it imports.

Users get a `Path` wherever they get one at all; whoever hands it out imports `pathlib` there.
"""

from __future__ import annotations

import os
import sys


def absolute(given: str | os.PathLike[str]) -> str:
    """The path from the root, without empty parts and `.`; links and `..` stay. A leading `~` is the home folder.

    Raises:
        TypeError, ValueError: it can be no path on this machine, or the home folder is nobody's.
    """
    text = os.fspath(given)
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users may not type-check
        raise TypeError("a path is a text")
    text = os.path.expanduser(text)
    if text.startswith("~") or b"\0" in os.fsencode(text):
        raise ValueError("no path on this machine")
    if not text.startswith(os.sep):  # only then, since the current folder may be gone
        text = os.path.join(os.getcwd(), text)
    parts = text.split(os.sep)
    return os.sep + os.sep.join(part for part in parts if part not in {"", "."})


def resolved(path: str) -> str:
    """Where `path` leads, links followed as far as they lead anywhere."""
    return os.path.realpath(path)


def user_folder(kind: str) -> str:
    """This user's folder for our `data` or `config`, as platformdirs has it.

    Raises:
        RuntimeError: nobody knows the user's home folder.
    """
    if sys.platform == "linux":  # its rule is short enough to spare the import
        given, home = os.environ.get(f"XDG_{kind.upper()}_HOME", ""), os.environ.get("HOME", "")
        if given.startswith("/"):
            return os.path.join(given, "heavenbase")
        if home.startswith("/"):
            usual = {"config": ".config", "data": ".local/share"}[kind]
            return f"{home.rstrip('/')}/{usual}/heavenbase"
    import platformdirs

    folder = platformdirs.user_config_dir if kind == "config" else platformdirs.user_data_dir
    return folder("heavenbase", appauthor=False)
