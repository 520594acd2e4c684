"""The conformance kit for storage plugins: what a plugin declares is what it is held to.

The parts, one module each: what a plugin says of itself (`declares`), what every engine does with rows (`stores`),
what is left when the process is killed (`survives`), what a primary decides besides (`decides`), what a workspace
with the engine answers (`answers`).
"""

from __future__ import annotations

from heaven_core.testing.answers import Answers
from heaven_core.testing.decides import Decides
from heaven_core.testing.declares import Declares
from heaven_core.testing.stores import Stores
from heaven_core.testing.survives import Survives


class StorageConformance(Declares, Stores, Survives, Decides, Answers):
    """The tests that a storage plugin has to pass; inherit them in a test file of your own.

        from heaven_core.testing import StorageConformance

        class TestShelf(StorageConformance):
            backend = "shelf"

    `backend` is a registered type, installed or registered in code before the tests are collected. `options` are
    what a workspace gives to open it; where each test needs other ones, override the fixture `backend_options`.
    What the plugin declares decides what is checked, and nothing else does: there is nothing to switch off.
    """
