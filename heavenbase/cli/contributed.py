"""Commands that installed extensions bring, by the hook `heaven_commands`.

Whatever is wrong with an extension is a warning, and its commands are left out: it never
keeps `hb` from doing something else. The names of our own commands cannot be taken, and
a name that two distributions want goes to neither.

Not here: the hook (`heaven_core.hooks`), and where these commands are listed and called
(`heavenbase.cli.app`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from heaven_core.discovery import PluginRef


class Contributed(NamedTuple):
    """A command of an extension, not imported yet; `source` is the distribution and its version."""

    name: str
    reference: str
    source: str

    def loaded(self) -> click.Command:
        """The command itself; imports its module.

        Raises:
            PluginLoadError: it cannot be imported, or is no click command; the cause is what was raised.
        """
        from heaven_core.errors import PluginLoadError
        from heaven_core.plugin import resolve

        try:
            found = resolve(self.reference)
        except PluginLoadError as error:
            raise PluginLoadError(
                f"the command {self.name!r} of {self.source} cannot be used: {error.message}", name=self.name
            ) from error
        if isinstance(found, click.Command):
            return found
        raise PluginLoadError(
            f"the command {self.name!r} of {self.source} is of type {type(found).__name__}, which is no click command",
            name=self.name,
        )


def contributed_commands(taken: Collection[str]) -> dict[str, Contributed]:
    """The commands of the installed extensions by name, without those whose name is `taken`."""
    from heavenbase.cli.output import working

    claims: dict[str, list[Contributed]] = {}
    with working("looking for commands of extensions"):
        for one in _all():
            claims.setdefault(one.name, []).append(one)
    for name, rivals in list(claims.items()):
        sources = " and ".join(one.source for one in rivals)
        if name in taken:
            _warn(f"{sources} wants to be the command {name!r}, which hb has itself; it is left out")
        elif len(rivals) > 1:
            _warn(f"{sources} both want to be the command {name!r}; it goes to neither, uninstall one of them")
        else:
            continue
        del claims[name]
    return {name: rivals[0] for name, rivals in claims.items()}


def _all() -> Iterator[Contributed]:
    from heaven_core.activation import INSTALLED  # activation adds the check of hooks
    from heaven_core.discovery import EXTENSION
    from heaven_core.hooks import commands_of
    from heaven_core.plugin import Extension, describe

    for ref in INSTALLED.refs(EXTENSION):
        extension = INSTALLED.load(ref)  # which warns of one that is broken
        if not isinstance(extension, Extension) or extension.plugin is None:
            continue
        try:
            found = commands_of(extension.load_plugin())
        except (Exception, SystemExit) as error:  # noqa: BLE001  # foreign code
            _warn(f"the commands of {_source(ref)} are left out: {describe(error)}")
            continue
        yield from (Contributed(name, reference, _source(ref)) for name, reference in found.items())


def _source(ref: PluginRef) -> str:
    return f"{ref.dist} {ref.version}".strip()


def _warn(message: str) -> None:
    logging.getLogger("heavenbase.plugins").warning("%s", message)
