"""How a figure comes about: two ways of doing the same work, timed in turns, and the median of their ratios.

Absolute times say what the machine was busy with; the ratio of two neighbours in one
process says what the code costs. Each pair is one run of either side, one right after
the other; the side that goes first alternates.

Here: pairs, samples, the record of a figure.
Not here: what is measured (`figures`, `peers`, `door`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple


class Sample(NamedTuple):
    """Seconds that one run took: of the process's CPU, and on the wall."""

    cpu: float
    wall: float


class Figure(NamedTuple):
    """A measured ratio, ours to theirs (smaller is better), beside its target.

    `ratio` is of CPU times, `wall` of the clock on the wall; `spread` holds the quartiles
    of the CPU ratios. `ours_us` and `theirs_us` are medians per operation in microseconds
    of CPU, there for orientation only. `headline` is False for a variation of another figure.
    """

    group: str
    action: str
    rows: int
    against: str
    ratio: float
    wall: float
    spread: tuple[float, float]
    pairs: int
    ours_us: float
    theirs_us: float
    target: float | None = None
    headline: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        return None if self.target is None else self.ratio <= self.target

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**self._asdict(), "spread": list(self.spread), "met": self.met}


LONG_S = 0.3
"""A run that takes longer is a sample by itself."""

Run = Callable[[], Any]
Prepare = Callable[[], Run]


def timed(run: Run, repeat: int = 1) -> Sample:
    """One sample: `repeat` runs in a row."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        run()
    return Sample(time.process_time() - cpu, time.perf_counter() - wall)


def repeats(run: Run, seconds: float) -> int:
    """How many runs take about this long, so that a sample stands above the clock's grain."""
    count = 1
    while (spent := timed(run, count).wall) < seconds / 4 and count < 1 << 20:
        count *= 4
    return max(1, round(count * seconds / spent)) if spent < seconds else count


class Pairs:
    """Samples of two sides, taken in turns."""

    def __init__(self) -> None:
        self.ours: list[Sample] = []
        self.theirs: list[Sample] = []

    def add(self, ours: Prepare, theirs: Prepare, repeat: int = 1) -> None:
        """One more pair; each side is prepared anew, outside the timed section."""
        sides = [(self.ours, ours), (self.theirs, theirs)]
        if len(self.ours) % 2:
            sides.reverse()
        for samples, prepare in sides:
            run = prepare()
            if repeat == 1:  # a long run; many short ones go on where the others left off
                gc.collect()
            samples.append(timed(run, repeat))

    def figure(self, group: str, action: str, rows: int, *, per: int = 1, **more: Any) -> Figure:
        """The figure; `per` is the number of operations in one sample."""
        cpu = sorted(a.cpu / b.cpu for a, b in zip(self.ours, self.theirs, strict=True))
        wall = median(a.wall / b.wall for a, b in zip(self.ours, self.theirs, strict=True))
        quarter = len(cpu) // 4
        return Figure(
            group,
            action,
            rows,
            more.pop("against", "hand-written"),
            median(cpu),
            wall,
            (cpu[quarter], cpu[-1 - quarter]),
            len(cpu),
            median(one.cpu for one in self.ours) / per * 1e6,
            median(one.cpu for one in self.theirs) / per * 1e6,
            **more,
        )


def compare(ours: Run, theirs: Run, *, pairs: int, seconds: float) -> tuple[Pairs, int]:
    """Pairs of two actions that can be repeated as often as one likes, and the repeats in each sample.

    Many short samples: what disturbs the machine then disturbs both sides of most pairs alike. Where one run takes
    long, a few pairs of single runs.
    """
    ours()  # statements, plans and pages are warm on both sides
    theirs()
    if timed(theirs).wall > LONG_S:
        return _pairs(ours, theirs, max(5, pairs // 8), 1), 1
    repeat = max(2, repeats(ours, seconds), repeats(theirs, seconds))
    return _pairs(ours, theirs, pairs, repeat), repeat


def _pairs(ours: Run, theirs: Run, pairs: int, repeat: int) -> Pairs:
    gc.collect()
    taken = Pairs()
    for _ in range(pairs):
        taken.add(lambda: ours, lambda: theirs, repeat)
    return taken
