"""Estimate of the time that a batch still takes, from the cases that it has filled."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import fmean

# Nothing is estimated from fewer cases than this, nor before this fraction of them.
_MIN_CASES = 2
_MIN_FRACTION = 0.1
# A case that takes longer than all before it is expected to take this fraction longer than it has so far.
_OVERTIME = 0.25


class BatchTime:
    """Durations of the cases of one run of a batch.

    Parameters
    ----------
    clock : function
        Seconds of a clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._durations: list[float] = []
        self._parallel = 1

    def begin(self, name: str) -> None:
        """A case starts."""
        self._began[name] = self._clock()
        self._parallel = max(self._parallel, len(self._began))

    def end(self, name: str) -> None:
        """A case has ended."""
        began = self._began.pop(name, None)
        if began is not None:
            self._durations.append(self._clock() - began)

    def seconds_left(self, waiting: int) -> float | None:
        """Seconds until the running and `waiting` cases have ended; None while too few have."""
        ended, running = len(self._durations), len(self._began)
        if not waiting and not running:
            return 0.0
        if ended < max(_MIN_CASES, self._parallel) or ended < _MIN_FRACTION * (ended + running + waiting):
            return None
        typical, now = fmean(self._durations), self._clock()
        rest = [self._rest(now - began) for began in self._began.values()]
        return round(max((sum(rest) + waiting * typical) / self._parallel, max(rest, default=0.0)), 1)

    def _rest(self, elapsed: float) -> float:
        """What is left of a case that has run for so long: as of the cases that took longer than that."""
        longer = [duration - elapsed for duration in self._durations if duration > elapsed]
        return fmean(longer) if longer else _OVERTIME * elapsed
