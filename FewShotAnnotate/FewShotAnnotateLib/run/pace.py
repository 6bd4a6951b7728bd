"""Pace: how far a run is, how long it will take, and whether it should go on."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.event import Event, Progress, SliceDone, Stage, Warned
from ..engines.base import Stopped
from .folder import JobFolder

# However often the engine gives signs of life, progress is told no more often than this.
TELL_SECONDS = 0.5
# With less of the work done than this the time left is anybody's guess.
LEAST_WORK = 0.01
# A run that is over its time limit by more than this is worth a warning.
GRACE_SECONDS = 2.0


class Pace:
    """Counts slices and work of one run, and tells.

    Parameters
    ----------
    folder : JobFolder
    report : function
        Takes the events.
    should_stop : function
        Asked at every slice and every pulse.

    Attributes
    ----------
    deadline : float or None
        `time.monotonic()` at which the job's time limit is over.
    """

    def __init__(self, folder: JobFolder, report: Callable[[Event], None], should_stop: Callable[[], bool]) -> None:
        self._began = time.monotonic()
        self._budget = folder.job.budget
        self.deadline = None if self._budget is None else self._began + self._budget
        self._report = report
        self._should_stop = should_stop
        pending, drafts = folder.pending(), folder.drafts()
        self._total = sum(index not in folder.indices for index in folder.job.slices)
        self._drafts = {index for index in pending if drafts[index]}
        self._unwritten = set(pending) - self._drafts
        self._drafting = bool(self._drafts)
        self._before = 1 - len(pending) / self._total if self._total else 1.0
        self._work = 0.0
        self._told = self._began
        self._warned = False

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def pulse(self, fraction: float) -> None:
        """What an engine calls as `Engine.pulse`.

        Raises
        ------
        Stopped
        """
        self._advance(fraction)
        if time.monotonic() - self._told >= TELL_SECONDS:
            self.tell()
        self.require_going()

    def wrote(self, index: int, draft: bool) -> None:
        """A slice is written. Work that the engine does not count by `pulse` is shared out among the final slices.

        Raises
        ------
        Stopped
            There are more slices to come, and the run should stop.
        """
        left = len(self._unwritten | self._drafts)
        self._unwritten.discard(index)
        if draft:
            self._drafts.add(index)
            self._drafting = True
        else:
            self._drafts.discard(index)
            self._advance(self._work + (1 - self._work) / max(1, left))
        self._report(SliceDone(index, draft))
        self.tell()
        if self._unwritten or self._drafts:
            self.require_going()

    def tell(self) -> None:
        """Report how far the run is."""
        self._told = time.monotonic()
        fraction = self._before + (1 - self._before) * self._work
        done = self._total - len(self._unwritten)
        stage = Stage.FILLING if not self._drafting else Stage.DRAFTING if self._unwritten else Stage.REFINING
        self._report(Progress(done, self._total, self._eta(), round(fraction, 4), len(self._drafts), stage))

    def require_going(self) -> None:
        """Raise `Stopped` if the run should stop; warn once if it is over its time limit."""
        if self._should_stop():
            raise Stopped
        if self.deadline is not None and not self._warned and time.monotonic() > self.deadline + GRACE_SECONDS:
            self._warned = True
            self._report(Warned(f"The time limit of {self._budget:g} s is over; the run goes on to its last slice."))

    def _advance(self, fraction: float) -> None:
        """Work never goes back, and neither NaN nor more than all gets in."""
        self._work = min(1.0, max(self._work, float(fraction)))

    def _eta(self) -> float | None:
        if not self._unwritten and not self._drafts:
            return 0.0
        if self._work < LEAST_WORK:
            return None
        eta = self.seconds / self._work * (1 - self._work)
        if self.deadline is None:
            return round(eta, 2)
        left = self.deadline - time.monotonic()
        return round(min(eta, left), 2) if left > 0 else None
