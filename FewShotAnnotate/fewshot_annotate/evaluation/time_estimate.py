"""Progress of a comparison, and an estimate of its remaining time from the trials that each engine has finished."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.remaining_time import StableEstimate
from ..engines.registry import engine_class

# The rest of a trial is estimated from its own rate once this fraction of it is done.
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
        Expected remaining time in s; None until it can be estimated, such as before a trial of each engine has ended.
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

    The time of a trial is proportional to `Engine.relative_time` of its support size.

    Parameters
    ----------
    pending : sequence of (str, int)
        Engine and support size of each trial that is still to be run.
    done : int
        Number of trials that were finished before.
    on_progress : function
        Called with the progress at every change.
    clock : function
        Seconds of a clock.
    """

    def __init__(
        self,
        pending: Sequence[tuple[str, int]],
        done: int,
        on_progress: Callable[[ComparisonProgress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = Counter(pending)
        self._clock = clock
        self._stable = StableEstimate(clock)
        self._done, self._total = done, done + len(pending)
        self._on_progress = on_progress
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._work: defaultdict[str, float] = defaultdict(float)
        self._engine, self._size, self._start_time = "", 0, clock()

    def start_trial(self, engine: str, size: int) -> None:
        """Start a trial of an engine at a support size."""
        self._left[engine, size] -= 1
        self._engine, self._size, self._start_time = engine, size, self._clock()
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
        self._seconds[self._engine] += self._clock() - self._start_time
        self._work[self._engine] += _work(self._engine, self._size)
        self._done += 1

    def skip_trials(self, sizes: Sequence[int]) -> None:
        """Count the current trial, which failed, and further trials of its engine at these support sizes as done."""
        self._done += 1 + len(sizes)
        for size in sizes:
            self._left[self._engine, size] -= 1

    def _eta(self, fraction: float) -> float | None:
        elapsed = self._clock() - self._start_time
        rates = {engine: seconds / self._work[engine] for engine, seconds in self._seconds.items()}
        work = _work(self._engine, self._size)
        if fraction >= MIN_OWN_FRACTION:  # it may take longer than the trials before
            current = elapsed * (1 - fraction) / fraction
            rates.setdefault(self._engine, elapsed / fraction / work)
        elif self._engine in rates:
            current = rates[self._engine] * work * (1 - fraction)
        else:
            return None
        following = [(engine, size, count) for (engine, size), count in self._left.items() if count]
        if any(engine not in rates for engine, _, _ in following):
            return None
        left = current + sum(rates[engine] * _work(engine, size) * count for engine, size, count in following)
        announced = self._stable.announced(left)
        return None if announced is None else round(announced, 1)


def _work(engine: str, size: int) -> float:
    return engine_class(engine).relative_time(size)
