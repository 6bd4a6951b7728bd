"""Estimate of the time that a batch still takes, from the cases that it has filled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import fmean, stdev

from ..core.remaining_time import StableEstimate

# Nothing is estimated from fewer cases than this.
_MIN_CASES = 2
# Nor where cases differ so much that the standard error of what is left is a larger fraction of it.
_MAX_RELATIVE_ERROR = 0.25
# A case that takes longer than all before it is expected to take this fraction longer than it has so far.
_OVERTIME_FRACTION = 0.25


class BatchTime:
    """Durations of the cases of one run of a batch.

    Parameters
    ----------
    clock : function
        Seconds of a clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stable = StableEstimate(clock)
        self._began: dict[str, float] = {}
        self._durations: list[float] = []
        self._parallel = 1
        self._page_seconds = 0.0

    def begin(self, name: str) -> None:
        """A case starts."""
        self._began[name] = self._clock()
        self._parallel = max(self._parallel, len(self._began))

    def end(self, name: str) -> None:
        """A case has ended."""
        began = self._began.pop(name, None)
        if began is not None:
            self._durations.append(self._clock() - began)

    def page_written(self, seconds: float) -> None:
        """The page, which is written once more after the last case, took so long."""
        self._page_seconds = seconds

    def seconds_left(self, waiting: int) -> float | None:
        """Seconds until the running and `waiting` cases have ended and the page is written; None if unknown."""
        if not waiting and not self._began:
            return round(self._page_seconds, 1)
        durations = self._typical_durations()
        if len(durations) < _MIN_CASES or len(self._durations) < self._parallel:
            return None
        typical, now = fmean(durations), self._clock()
        rest = [self._remaining_seconds(now - began) for began in self._began.values()]
        longest = max([*rest, typical] if waiting else rest)
        left = max((sum(rest) + waiting * typical) / self._parallel, longest)
        announced = self._stable.announced(left + self._page_seconds)
        error = stdev(durations) / typical * math.sqrt(1 / len(durations) + 1 / (waiting + len(rest)))
        return None if announced is None or error > _MAX_RELATIVE_ERROR else round(announced, 1)

    def _typical_durations(self) -> list[float]:
        """Durations of the ended cases, without the first of each worker, which starts it, once there are others."""
        later = self._durations[self._parallel :]
        return later if len(later) >= _MIN_CASES else self._durations

    def _remaining_seconds(self, elapsed: float) -> float:
        """What is left of a case that has run for so long: as of the cases that took longer than that."""
        longer = [duration - elapsed for duration in self._durations if duration > elapsed]
        return fmean(longer) if longer else _OVERTIME_FRACTION * elapsed
