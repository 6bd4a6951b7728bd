"""Progress of trainings in several threads, all of which end if one fails or the run is stopped."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from ..base import RunContext, Stopped

Result = TypeVar("Result")


class SharedProgress:
    """Progress of several trainings as one fraction.

    Parameters
    ----------
    context : RunContext
    count : int
    first, last : float
        The fractions of the whole run at which the trainings begin and end.
    """

    def __init__(self, context: RunContext, count: int, first: float, last: float) -> None:
        self._context = context
        self._fractions = [0.0] * count
        self._first, self._last = first, last
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def member(self, number: int, fraction: float) -> None:
        """Report the fraction of one training; raises `Stopped` if the run should stop or another training failed."""
        if self._ended.is_set():
            raise Stopped
        with self._lock:
            self._fractions[number] = fraction
            mean = sum(self._fractions) / len(self._fractions)
            self._context.report_progress(self._first + (self._last - self._first) * mean)

    def results(self, futures: Sequence[Future[Result]]) -> list[Result]:
        """Results of all trainings. If one raises an exception, the others are ended and the exception is raised."""
        failure: BaseException | None = None
        results = []
        for future in futures:
            try:
                results.append(future.result())
            except BaseException as error:
                self._ended.set()
                if failure is None or isinstance(failure, Stopped):
                    failure = error
        if failure is not None:
            raise failure
        return results
