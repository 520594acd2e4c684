"""For tests of HeavenBase, of plugins and of extensions.

Here: registries that forget what a test registered, and the name of the conformance kit.
Not here: the kit (`heaven_core.testing.conformance`), which needs pytest and hypothesis and is imported where it
is named.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heaven_core.testing.conformance import StorageConformance

__all__ = ["StorageConformance", "isolated_registries"]


@contextmanager
def isolated_registries() -> Generator[None]:
    """Take back at the end whatever code registers inside: backends, handlers, types, operations, extensions.

    What was registered before stays visible inside, and what the block took back or
    replaced answers again after it. Blocks can be nested. The registries belong to the
    process, so threads outside the block see what is registered inside it.

        with isolated_registries():
            heavenbase.ext.register_extension(...)
    """
    from heaven_core.registry import remember

    restore = remember()
    try:
        yield
    finally:
        restore()


def __getattr__(name: str) -> Any:
    if name != "StorageConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_installed()
    _show_what_differs()
    from heaven_core.testing.conformance import StorageConformance

    return StorageConformance


def _show_what_differs() -> None:
    """Let pytest explain the kit's asserts as it does those of test files; it must be told before they are imported."""
    import sys

    import pytest

    modules = [f"{__name__}.{part}" for part in ("answers", "comparing", "decides", "declares", "stores", "survives")]
    pytest.register_assert_rewrite(*(one for one in modules if one not in sys.modules))


def _check_installed() -> None:
    """Raise unless the kit's libraries are there.

    Raises:
        EngineNotInstalled: one is missing; the message has the command that installs it.
    """
    from importlib.util import find_spec

    from heaven_core.errors import EngineNotInstalled

    missing = [one for one in ("pytest", "hypothesis") if find_spec(one) is None]
    if missing:
        raise EngineNotInstalled(
            f"StorageConformance needs {' and '.join(missing)}; pip install 'heaven-core[testing]'",
            name=missing[0],
            hint="pip install 'heaven-core[testing]'",
        )
