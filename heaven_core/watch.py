"""Stopping what runs too long in an engine that has to be interrupted from another thread.

Not here: who says that a query is to stop (`heaven_core.cancellation`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from heaven_core.backend import Limits
from heaven_core.cancellation import Cancellation

WATCH_S = 0.02
"""How often running queries are looked at."""
IDLE_S = 1.0
"""How long the thread stays when there are none."""

Running = tuple[Callable[[], object], float | None, Cancellation | None]


class Watch:
    """Interrupts queries that pass their deadline or are cancelled, from one thread that lives while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Running] = {}
        self._last = 0
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, interrupt: Callable[[], object], limits: Limits | None) -> Generator[None]:
        """Watch what happens inside; `interrupt` stops it, and may be called again and again until it has."""
        if limits is None or (limits.deadline is None and limits.cancel is None):
            yield
            return
        ends = None if limits.deadline is None else time.monotonic() + limits.deadline
        with self._lock:
            key = self._last = self._last + 1
            self._running[key] = (interrupt, ends, limits.cancel)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="heaven-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._running[key]

    def _look(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(WATCH_S)
            now = time.monotonic()
            with self._lock:
                if self._running:
                    idle_since = now
                elif now - idle_since > IDLE_S:
                    self._thread = None
                    return
                self._interrupt(now)

    def _interrupt(self, now: float) -> None:
        """Stop what is over its time. A thread at rest must keep no cursor: DuckDB complains of it."""
        for interrupt, ends, cancel in self._running.values():
            if (ends is not None and now > ends) or (cancel is not None and cancel.cancelled):
                interrupt()
