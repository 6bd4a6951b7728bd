"""Threads: how many processor cores a worker may use, as the user said by an environment variable."""

from __future__ import annotations

import os

from ..core.numbers import whole_number

# A number of cores; not set, or no number: as many as an engine sees fit.
THREADS_VARIABLE = "FEWSHOT_ANNOTATE_THREADS"
# What numeric libraries go by; they read these when they are loaded.
_MAX_THREADS = 1024
_LIBRARY_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def thread_variables(count: int) -> dict[str, str]:
    """Environment in which numeric libraries of a new process use so many cores."""
    return dict.fromkeys(_LIBRARY_VARIABLES, str(count))


def worker_environment() -> dict[str, str]:
    """This process's environment, in which libraries heed the user's number of cores."""
    count = _wished()
    return dict(os.environ) if count is None else {**os.environ, **thread_variables(count)}


def threads(most: int) -> int:
    """Threads that an engine may have at the same time, `most` at most."""
    return max(1, min(most, os.cpu_count() or 1, _wished() or most))


def _wished() -> int | None:
    text = os.environ.get(THREADS_VARIABLE, "")
    count = whole_number(text)
    return count if count is not None and 1 <= count <= _MAX_THREADS else None
