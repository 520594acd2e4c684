"""Stopping a query from another thread.

Not here: who looks at it while a query runs (`heaven_core.evaluate.Clock`, and each engine).
"""

from __future__ import annotations

from heaven_core.errors import QueryCancelled


class Cancellation:
    """A word to one or more running queries to stop; any thread may say it, once and for all.

    stop = Cancellation()
    query.limits(cancel=stop).execute()     # in one thread
    stop.cancel()                           # in another: the query raises QueryCancelled
    """

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said = False

    def cancel(self) -> None:
        """Stop the queries that were given this; later ones do not begin. A second call does nothing."""
        self._said = True

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._said

    def check(self) -> None:
        """Stop here if it was.

        Raises:
            QueryCancelled: `cancel` was called.
        """
        if self._said:
            raise QueryCancelled("the query was cancelled by another thread; nothing was returned")

    def __repr__(self) -> str:
        return f"<cancellation, {'said' if self._said else 'not said'}>"
