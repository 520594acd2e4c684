"""`hb plugin`: a new storage plugin from the template.

The template is `demos/plugin_template`, which the wheel holds beside this module.
Not here: the list of installed plugins (`heavenbase.cli.plugins`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import click

from heavenbase.cli.output import as_json_option, print_json, write
from heavenbase.cli.verbs import Verbs

_EXAMPLES = """\b
Examples:
  hb plugin new shelf
  hb plugin new shelf --into projects --json
"""


@click.group(cls=Verbs, epilog=_EXAMPLES, invoke_without_command=True, short_help="Start a plugin of your own.")
@click.pass_context
def plugin(context: click.Context) -> None:
    """Start a plugin of your own."""
    if context.invoked_subcommand is None:
        write(context.get_help())


class Names(NamedTuple):
    """What a plugin is called where."""

    name: str
    distribution: str
    module: str
    cls: str

    @property
    def in_place_of(self) -> Mapping[str, str]:
        """What the template's words become; each is looked for before the ones that it contains."""
        return {
            "Parquetfile": self.cls,
            "hb-parquetfile": self.distribution,
            "hb_parquetfile": self.module,
            "test_parquetfile": f"test_{self.module.removeprefix('hb_')}",
            "parquetfile": self.name,
        }

    def put_into(self, text: str) -> str:
        """A text of the template with these names."""
        for word, own in self.in_place_of.items():
            text = text.replace(word, own)
        return text


_NEW_EXAMPLES = """\b
Examples:
  hb plugin new shelf
  hb plugin new shelf --into projects
"""


@plugin.command(epilog=_NEW_EXAMPLES, short_help="Write a storage plugin that works.")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    metavar="DIR",
    help="The folder that gets the new one; the current folder if not given.",
)
@as_json_option
def new(name: str, into: Path, as_json: bool) -> None:
    """Write the distribution hb-NAME into a new folder of that name.

    It is a storage plugin that works: a small engine with one Parquet file per entity,
    handlers, and tests that hold it to what every engine promises. Put your own engine
    in its place. NAME is what users write as the type of a backend.
    """
    names = _checked(name)
    folder = into / names.distribution
    files = dict(_files(names))
    try:
        folder.mkdir()
    except FileExistsError:
        raise click.UsageError(f"{names.distribution} is there already; choose another name, or --into.") from None
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    if as_json:
        print_json({**names._asdict(), "folder": str(folder), "files": list(files)})
        return
    write("\n".join([f"{folder}:", *(f"  {path}" for path in files), "", "Next:", *_steps(folder)]))


def _checked(name: str) -> Names:
    """The names of a plugin that nobody has installed yet.

    Raises:
        InvalidName: no plugin can be called so.
        RegistrationConflict: one is.
    """
    from heaven_core.discovery import INSTALLED, STORAGE
    from heaven_core.errors import RegistrationConflict
    from heaven_core.names import check_identifier
    from heaven_core.registry import registries

    check_identifier(name, "storage plugin name")
    taken = {ref.name: ref.dist for ref in INSTALLED.refs(STORAGE)}
    for known in registries().backend_types().values():
        taken.update(dict.fromkeys(known.aliases, known.distribution))
    if name in taken:
        raise RegistrationConflict(
            f"there is a storage plugin {name!r} already, from {taken[name]}; choose another name", name=name
        )
    words = name.replace("_", "-").split("-")
    return Names(name, f"hb-{name}", f"hb_{name.replace('-', '_')}", "".join(map(str.capitalize, words)))


def _files(names: Names) -> Iterator[tuple[str, str]]:
    """Path and text of each file of the new distribution."""
    root = _template()
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inner.parts):
            yield names.put_into(inner.as_posix()), names.put_into(path.read_text(encoding="utf-8"))


def _template() -> Path:
    """The template's folder: beside this module where a wheel was installed, else in the checkout."""
    packaged = Path(__file__).with_name("template")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "demos" / "plugin_template"


def _steps(folder: Path) -> list[str]:
    return [
        f"  python -m pip install -e '{folder}[test]'",
        f"  python -m pytest {folder}",
        "  hb plugins --check",
    ]
