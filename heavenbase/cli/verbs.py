"""A group of commands that says which it has where one is misspelt."""

from __future__ import annotations

import click


class Verbs(click.Group):
    """A group that suggests the nearest of its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            from heaven_core.errors import did_you_mean, shown

            known = did_you_mean(args[0], self.commands)
            raise click.UsageError(f"{ctx.command_path} has no command {shown(args[0])}; {known}", ctx)
        return super().resolve_command(ctx, args)
