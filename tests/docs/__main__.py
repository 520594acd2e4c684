"""`python -m tests.docs`, from the root of the checkout: writes what is made from the code; `--check` only compares."""

from __future__ import annotations

import sys

from tests.docs.writing import main

sys.exit(main(sys.argv[1:]))
