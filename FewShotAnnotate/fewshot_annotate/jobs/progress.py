"""RunProgress: completed fraction and remaining time of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..core.errors import Message
from ..core.events import Event, Progress, SliceDone, Stage, Warned
from ..core.remaining_time import RemainingTime
from .run_folder import JobFolder

# Minimum interval between progress events that an engine causes.
REPORT_INTERVAL_SECONDS = 0.5
# A run that exceeds its time limit by more than this causes a warning.
OVERRUN_SECONDS = 2.0


class RunProgress:
    """Tracks the progress of one run and reports it as events; safe to use from several threads.

    Parameters
    ----------
    folder : JobFolder
    report : function
        Receives the events.
    clock : function
        Returns seconds; the deadlines of engines refer to `time.monotonic`.

    Attributes
    ----------
    deadline : float or None
        `clock()` at which the job's time limit is over.
    """

    def __init__(
        self, folder: JobFolder, report: Callable[[Event], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._start_time = self._clock()
        self._budget = folder.job.budget
        self.deadline = None if self._budget is None else self._start_time + self._budget
        self._report = report
        pending, drafts = folder.pending(), folder.drafts()
        self._total = len(folder.job.slices)
        self._drafts = {index for index in pending if drafts[index]}
        self._unwritten = set(pending) - self._drafts
        self._drafting = bool(self._drafts)
        self._initial_fraction = 1 - len(pending) / self._total if self._total else 1.0
        self._remaining = RemainingTime(clock)
        self._engine_reported = False
        self._lock = threading.RLock()
        self._last_report_time = self._start_time
        self._warned = False

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._start_time

    def report_fraction(self, fraction: float) -> None:
        """Update the fraction of work that the engine has completed; the `on_progress` of its `RunContext`."""
        with self._lock:
            before = self._remaining.fraction
            self._remaining.advance(fraction)
            self._engine_reported |= self._remaining.fraction > before
            if self._clock() - self._last_report_time >= REPORT_INTERVAL_SECONDS:
                self.report_progress()
            self._warn_of_overrun()

    def slice_written(self, index: int, draft: bool) -> None:
        """Report a written slice.

        The work that is left is divided among the final slices if the engine has not called `report_fraction` since
        the last one.
        """
        with self._lock:
            remaining = len(self._unwritten | self._drafts)
            self._unwritten.discard(index)
            if draft:
                self._drafts.add(index)
                self._drafting = True
            else:
                self._drafts.discard(index)
                if not self._engine_reported or remaining == 1:
                    fraction = self._remaining.fraction
                    self._remaining.advance(fraction + (1 - fraction) / max(1, remaining))
                self._engine_reported = False
            self._report(SliceDone(index, draft))
            self.report_progress()
            if self._unwritten or self._drafts:
                self._warn_of_overrun()

    def report_progress(self) -> None:
        """Report the progress of the run."""
        self._last_report_time = self._clock()
        fraction = self._initial_fraction + (1 - self._initial_fraction) * self._remaining.fraction
        done = self._total - len(self._unwritten)
        stage = Stage.FILLING if not self._drafting else Stage.DRAFTING if self._unwritten else Stage.REFINING
        self._report(
            Progress(
                done=done,
                total=self._total,
                eta=self._eta(),
                fraction=round(fraction, 4),
                drafts=len(self._drafts),
                stage=stage,
            )
        )

    def _warn_of_overrun(self) -> None:
        """Warn once if the run is over its time limit."""
        if self.deadline is not None and not self._warned and self._clock() > self.deadline + OVERRUN_SECONDS:
            self._warned = True
            self._report(Warned.of(Message("time_limit_over", seconds=self._budget)))

    def _eta(self) -> float | None:
        if not self._unwritten and not self._drafts:
            return 0.0
        eta = self._remaining.seconds()
        if eta is None:
            return None
        if self.deadline is None:
            return round(eta, 2)
        left = self.deadline - self._clock()
        return round(min(eta, left), 2) if left > 0 else None
