"""Estimates of how long work still takes, and the rule by which they are announced.

Work is counted in a unit that is proportional to the time that it is expected to take, so that its rate is the same
in all stages.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

# Nothing is announced before this fraction of the expected time is over.
MIN_FRACTION = 0.15
# Less than these seconds are not announced: the end of a process, which is no work, would be a large part of them.
MIN_SECONDS = 5.0
# The expected total time may have changed by this factor at most during the last part of the time that is over.
STABLE_FACTOR = 1.25
STABLE_PART = 1 / 3
# The rate is that of the last part of the work that is done.
RATE_PART = 0.6


class StableEstimate:
    """Withholds the estimates of a remaining time until they are roughly right.

    An estimate is announced once 15 % of the expected total time is over, if that total was nearly constant during
    the last third of the time, and as long as it is 5 s or more.

    Parameters
    ----------
    clock : function
        Seconds of a clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._totals: deque[tuple[float, float]] = deque()

    def announced(self, left: float | None) -> float | None:
        """The estimate of the seconds that are left, or None if it is not to be announced yet."""
        if left is None:
            return None
        elapsed = self._clock() - self._began
        total = elapsed + left
        self._totals.append((elapsed, total))
        since = elapsed * (1 - STABLE_PART)
        while len(self._totals) > 1 and self._totals[1][0] <= since:
            self._totals.popleft()
        totals = [total for _, total in self._totals]
        is_known_long_enough = self._totals[0][0] <= since
        is_stable = max(totals) <= STABLE_FACTOR * min(totals)
        has_begun = elapsed > 0 and elapsed >= MIN_FRACTION * total
        is_long = left >= MIN_SECONDS
        return left if has_begun and is_known_long_enough and is_stable and is_long else None


class RemainingTime:
    """Remaining time of work whose progress is known.

    Parameters
    ----------
    clock : function
        Seconds of a clock.

    Attributes
    ----------
    fraction : float
        Fraction of the work that is done, 0..1.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stable = StableEstimate(clock)
        self._samples: deque[tuple[float, float]] = deque([(clock(), 0.0)])
        self.fraction = 0.0

    def advance(self, fraction: float) -> None:
        """Set the fraction of the work that is done; it never decreases, and NaN is ignored.

        Time before the last report of 0 is that of set-up, which is no part of the work.
        """
        self.fraction = min(1.0, max(self.fraction, float(fraction)))
        if not self.fraction:
            self._samples[0] = self._clock(), 0.0
        elif self.fraction > self._samples[-1][1]:
            self._samples.append((self._clock(), self.fraction))
        oldest = self.fraction * (1 - RATE_PART)
        while len(self._samples) > 2 and self._samples[1][1] <= oldest:
            self._samples.popleft()

    def seconds(self) -> float | None:
        """Seconds that the rest is expected to take; None as long as that cannot be said."""
        if len(self._samples) < 2:
            return None
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return self._stable.announced((ended - began) / (last - first) * (1 - last))
