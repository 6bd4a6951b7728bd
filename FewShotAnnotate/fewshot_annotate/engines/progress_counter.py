"""ProgressCounter: progress of an engine, as a fraction of the processor time that its work is expected to take."""

from __future__ import annotations

import threading
from collections.abc import Callable

# Sums of many amounts differ by less than this fraction from what was planned.
ROUNDING = 1e-9


class ProgressCounter:
    """Reports the completed fraction of all work; `done` may be called from any thread.

    Amounts of work are the seconds of one processor core that it is expected to take. Their ratios matter alone, as
    the speed of a computer is measured while it works.

    Parameters
    ----------
    report : function
        `RunContext.report_progress`.
    """

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report = report
        self._total = 0.0
        self._done = 0.0
        self._lock = threading.Lock()

    def plan(self, amount: float) -> None:
        """Add to the total work."""
        self._total += amount

    def reporter(self, amount: float) -> Callable[[float], None]:
        """A function that receives the completed fraction of planned work of this amount, ascending."""
        reported = 0.0

        def report(fraction: float) -> None:
            nonlocal reported
            self.done(amount * (fraction - reported))
            reported = fraction

        return report

    def done(self, amount: float) -> None:
        """Add to the completed work and report progress."""
        with self._lock:
            self._done += amount
            fraction = self._done / self._total if self._total > 0 else 0.0
            self._report(1.0 if fraction > 1 - ROUNDING else fraction)

    def finish(self) -> None:
        """Report that all work is done, also where less than planned was needed."""
        with self._lock:
            self._report(1.0)
