"""Explanations: the way to an answer as data and as text; and what can answer a query at all.

Not here: how the steps come about (`heaven_core.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from heaven_core.frame import ResultFrame
    from heaven_core.query import Query


MOST_CHARS = 300
"""How much of a condition an explanation prints; all of it is in `query`."""


class Source(Protocol):
    """What can answer a query: a workspace or a transaction."""

    def run_query(self, query: Query) -> ResultFrame:
        """The answer."""
        ...

    def explain(self, query: Query, *, analyze: bool = False) -> Explanation:
        """The way to it."""
        ...


class Explanation:
    """The steps of a query: which backend and strategy serves each part, natively or in Python."""

    __slots__ = ("entity", "placement", "query", "rows", "seconds", "steps")

    def __init__(
        self,
        entity: str,
        query: dict[str, Any],
        steps: list[dict[str, Any]],
        placement: dict[str, Any],
        seconds: float | None,
        rows: int | None,
    ) -> None:
        self.entity, self.query, self.steps, self.placement = entity, query, steps, placement
        self.seconds, self.rows = seconds, rows

    @property
    def native(self) -> bool:
        """Whether no step runs in Python."""
        return all(step["mode"] == "native" for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON data."""
        body: dict[str, Any] = {
            "entity": self.entity,
            "query": self.query,
            "steps": self.steps,
            "placement": self.placement,
        }
        if self.seconds is not None:
            body["seconds"], body["rows"] = self.seconds, self.rows
        return body

    def __str__(self) -> str:
        lines = [f"query on {self.entity}"]
        if _has_choice(self.query.get("filter")):  # of a plain conjunction the steps say all
            lines.append(f"  where {_cut(repr(self.query['filter']))}")
        for number, step in enumerate(self.steps, 1):
            what = " ".join(str(step[key]) for key in ("field", "op") if step.get(key))
            where = f"{step['backend']}" + (f" ({step['backend_type']}" if "backend_type" in step else "")
            if "backend_type" in step:
                where += f", {step['strategy']})" if "strategy" in step else ")"
            extra = [
                step[key] if key == "notes" else f"{key} {step[key]}"
                for key in ("order", "limit", "files", "estimate", "handler", "notes")
                if step.get(key) is not None
            ]
            lines.append(
                f"  {number}. {step['step']:<9} {what:<28} {step['mode']:<6} {where}  {'; '.join(extra)}".rstrip()
            )
        if self.seconds is not None:
            lines.append(f"  {self.rows} row{'' if self.rows == 1 else 's'} in {self.seconds * 1000:.2f} ms")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def _has_choice(condition: Any) -> bool:
    """Whether a condition says more than that several things hold at once."""
    if isinstance(condition, dict):
        spec = cast("dict[str, Any]", condition)
        return not {"$or", "$not"}.isdisjoint(spec) or any(map(_has_choice, spec.get("$and", ())))
    return False


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + "..."
