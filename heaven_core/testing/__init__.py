"""For tests of HeavenBase, of plugins and of extensions.

Here: registries that forget what a test registered.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["isolated_registries"]


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
