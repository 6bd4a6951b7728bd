"""Clock: how far all trials are, and what time is left, foreseen from the trials that each engine has finished."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

# Before this part of its first trial is done nobody can say how long an engine takes.
LEAST_FRACTION = 0.05


@dataclass(frozen=True)
class Step:
    """How far a comparison is.

    Attributes
    ----------
    done, total : int
        Trials.
    fraction : float
        Part of all trials that is done, 0..1.
    eta : float or None
        Expected remaining time in s, None as long as an engine has still to begin.
    engine : str
        The one at work.
    size : int
        Support size of its trial.
    """

    done: int
    total: int
    fraction: float
    eta: float | None
    engine: str
    size: int


class Clock:
    """Follows trials one after the other.

    Parameters
    ----------
    pending : sequence of str
        The engine of each trial that is still to be run.
    done : int
        Trials that were finished before.
    tell : function
        Takes the steps.
    """

    def __init__(self, pending: Sequence[str], done: int, tell: Callable[[Step], None]) -> None:
        self._left = Counter(pending)
        self._done, self._total = done, done + len(pending)
        self._tell = tell
        self._took: defaultdict[str, list[float]] = defaultdict(list)
        self._engine, self._size, self._began = "", 0, time.monotonic()

    def begin(self, engine: str, size: int) -> None:
        """A trial begins."""
        self._left[engine] -= 1
        self._engine, self._size, self._began = engine, size, time.monotonic()
        self.within(0.0)

    def within(self, fraction: float) -> None:
        """The trial is so far, 0..1."""
        whole = min(1.0, (self._done + fraction) / self._total)
        self._tell(Step(self._done, self._total, whole, self._eta(fraction), self._engine, self._size))

    def end(self) -> None:
        """The trial is finished."""
        self._took[self._engine].append(time.monotonic() - self._began)
        self._done += 1

    def give_up(self, dropped: int) -> None:
        """The trial failed, and so many more of its engine will not be run."""
        self._done += 1 + dropped
        self._left[self._engine] -= dropped

    def _eta(self, fraction: float) -> float | None:
        spent = time.monotonic() - self._began
        seconds = {engine: mean(took) for engine, took in self._took.items()}
        if self._engine not in seconds and fraction >= LEAST_FRACTION:
            seconds[self._engine] = spent / fraction
        to_come = {engine: count for engine, count in self._left.items() if count}
        if not {self._engine, *to_come} <= set(seconds):
            return None
        rest = max(0.0, seconds[self._engine] - spent)
        return round(rest + sum(seconds[engine] * count for engine, count in to_come.items()), 1)
