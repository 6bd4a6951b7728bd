"""Estimate of how long work still takes, from the rate of its last part."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

# Nothing is estimated before this fraction of the work is done, nor from the first part that is done: set-up is
# slower or faster than what follows and must not be extrapolated.
MIN_FRACTION = 0.1
RATE_WINDOW_FRACTION = 0.3


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
        self._samples: deque[tuple[float, float]] = deque()
        self.fraction = 0.0

    def advance(self, fraction: float) -> None:
        """Set the fraction of the work that is done; it never decreases, and NaN is ignored."""
        self.fraction = min(1.0, max(self.fraction, float(fraction)))
        if self.fraction > (self._samples[-1][1] if self._samples else 0.0):
            self._samples.append((self._clock(), self.fraction))
        oldest = self.fraction * (1 - RATE_WINDOW_FRACTION)
        while len(self._samples) > 2 and self._samples[1][1] <= oldest:
            self._samples.popleft()

    def seconds(self) -> float | None:
        """Seconds that the rest is expected to take; None while too little is done."""
        if self.fraction < MIN_FRACTION or len(self._samples) < 2:
            return None
        began, fraction = self._samples[0]
        return (self._clock() - began) / (self.fraction - fraction) * (1 - self.fraction)
