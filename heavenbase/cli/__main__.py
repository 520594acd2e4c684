"""`python -m heavenbase.cli` is `hb`, for environments whose scripts aren't on the path."""

from __future__ import annotations

from heavenbase.cli import main

main()
