"""Progress of a comparison, and an estimate of its remaining time from the trials that each engine has finished."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

# The duration of an engine's first trial is estimated once this fraction of it is done.
MIN_FRACTION = 0.05
# The rest of any trial is estimated from its own rate once this fraction of it is done.
MIN_OWN_FRACTION = 0.5


@dataclass(frozen=True, kw_only=True)
class ComparisonProgress:
    """Progress of a comparison.

    Attributes
    ----------
    done, total : int
        Number of trials.
    fraction : float
        Fraction of the trials that is done, 0..1.
    eta : float or None
        Expected remaining time in s; None while there is an engine whose trials have no known duration.
    engine : str
        Engine of the current trial.
    size : int
        Support size of the current trial.
    """

    done: int
    total: int
    fraction: float
    eta: float | None
    engine: str
    size: int


class TimeEstimator:
    """Reports the progress of trials that run one after the other.

    Parameters
    ----------
    pending : sequence of str
        Engine of each trial that is still to be run.
    done : int
        Number of trials that were finished before.
    on_progress : function
        Called with the progress at every change.
    """

    def __init__(self, pending: Sequence[str], done: int, on_progress: Callable[[ComparisonProgress], None]) -> None:
        self._left = Counter(pending)
        self._done, self._total = done, done + len(pending)
        self._on_progress = on_progress
        self._durations: defaultdict[str, list[float]] = defaultdict(list)
        self._engine, self._size, self._start_time = "", 0, time.monotonic()

    def start_trial(self, engine: str, size: int) -> None:
        """Start a trial of an engine at a support size."""
        self._left[engine] -= 1
        self._engine, self._size, self._start_time = engine, size, time.monotonic()
        self.update(0.0)

    def update(self, fraction: float) -> None:
        """Report the fraction of the current trial that is done, 0..1."""
        total_fraction = min(1.0, (self._done + fraction) / self._total)
        self._on_progress(
            ComparisonProgress(
                done=self._done,
                total=self._total,
                fraction=total_fraction,
                eta=self._eta(fraction),
                engine=self._engine,
                size=self._size,
            )
        )

    def finish_trial(self) -> None:
        """Record the duration of the current trial."""
        self._durations[self._engine].append(time.monotonic() - self._start_time)
        self._done += 1

    def skip_trials(self, skipped: int) -> None:
        """Count the current trial, which failed, and further trials of its engine as done."""
        self._done += 1 + skipped
        self._left[self._engine] -= skipped

    def _eta(self, fraction: float) -> float | None:
        elapsed = time.monotonic() - self._start_time
        seconds = {engine: mean(durations) for engine, durations in self._durations.items()}
        if self._engine not in seconds and fraction >= MIN_FRACTION:
            seconds[self._engine] = elapsed / fraction
        remaining = {engine: count for engine, count in self._left.items() if count}
        if not {self._engine, *remaining} <= set(seconds):
            return None
        current = max(seconds[self._engine] - elapsed, 0.0)
        if fraction >= MIN_OWN_FRACTION:  # it may take longer than the trials before
            current = elapsed * (1 - fraction) / fraction
        return round(current + sum(seconds[engine] * count for engine, count in remaining.items()), 1)
