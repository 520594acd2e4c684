"""`hb completion`: the script that teaches a shell to complete `hb`.

Not here: what is offered (`heavenbase.cli.completing`, click).
"""

from __future__ import annotations

import click

from heavenbase.cli.output import write

SHELLS = ("bash", "fish", "zsh")


_EXAMPLES = """\b
Examples:
  eval "$(hb completion bash)"                                  # in ~/.bashrc
  eval "$(hb completion zsh)"                                   # in ~/.zshrc
  hb completion fish > ~/.config/fish/completions/hb.fish
"""


@click.command(epilog=_EXAMPLES, short_help="Print what teaches a shell to complete.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that teaches SHELL to complete commands, options, and names.

    Names are those of workspaces, entities and fields, read when Tab is pressed.
    """
    from click.shell_completion import get_completion_class

    from heavenbase.cli.app import hb

    made = get_completion_class(shell)
    assert made is not None
    write(made(hb, {}, "hb", "_HB_COMPLETE").source().strip("\n"))
