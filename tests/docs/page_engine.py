"""The engine that `docs/writing-a-plugin.md` builds, held to the conformance kit: a run of its own takes this file.

Not here: who starts that run (`tests/docs/test_page_engine.py`).
"""

from __future__ import annotations

from typing import Any

import pytest

from heaven_core import ext
from heaven_core.testing import StorageConformance
from tests.docs.engine import json_file

pytestmark = pytest.mark.integration

Base: Any = json_file()


class PageEngine(Base):
    type = "page-jsonfile"  # the page registers its own name when it is run


ext.register_backend_class(PageEngine)  # before the tests are collected


class TestJsonFile(StorageConformance):
    backend = PageEngine.type
