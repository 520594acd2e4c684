"""The `hb` command: what is installed, what a workspace holds, and questions to it, from a shell.

`main` is the entry point. Everything else is imported when it is called, so that
neither click nor rich is ever loaded by `import heavenbase`.
"""

from __future__ import annotations


def main() -> None:
    """Run `hb` with the arguments of this process, and end it with the exit code."""
    from heavenbase.cli.app import hb

    hb.main()
