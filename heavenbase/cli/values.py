"""How the commands of `hb config` write values and files.

Not here: what a text from the shell means for a setting (`heaven_core.config.parsed`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heavenbase.cli.output import escaped, json_text


def shown_value(name: str, value: Any) -> Any:
    """A value as it may be shown."""
    from heaven_core.config import REDACTED, is_secret

    return REDACTED if is_secret(name) else value


def value_text(value: Any) -> str:
    """A value as `hb config set` takes it."""
    if value is None:
        return "none"
    if isinstance(value, list):
        names: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # of names
        simple = names and all(name and name == name.strip() and "," not in name and name[0] != "[" for name in names)
        return ",".join(names) if simple else json_text(names)
    return value if isinstance(value, str) else json_text(value)


def shown_path(path: str) -> str:
    """A path for people: from the current folder where it is beneath or above, else from the home folder."""
    path = escaped(path)
    here, folder = str(Path.cwd()), str(Path(path).parent)
    if f"{here}/".startswith(f"{folder}/"):
        return "../" * here[len(folder) :].count("/") + Path(path).name
    for base, sign in ((here, ""), (str(Path("~").expanduser()), "~/")):
        if base != "/" and path.startswith(f"{base}/"):
            return sign + path[len(base) + 1 :]
    return path
