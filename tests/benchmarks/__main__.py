"""`python -m tests.benchmarks`, from the root of the checkout."""

from __future__ import annotations

import sys

from tests.benchmarks.run import main

sys.exit(main())
