"""Threads: how many processor cores a worker may use, as the user said by an environment variable."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ..core.numbers import whole_number
from ..core.temporary import TemporaryFolder

# A number of cores; not set, or no number: as many as an engine sees fit.
THREADS_VARIABLE = "FEWSHOT_ANNOTATE_THREADS"
# What numeric libraries go by; they read these when they are loaded.
_MAX_THREADS = 1024
_LIBRARY_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_COMPILE_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def thread_variables(count: int) -> dict[str, str]:
    """Environment in which numeric libraries of a new process use so many cores."""
    return dict.fromkeys(_LIBRARY_VARIABLES, str(count))


def worker_environment() -> dict[str, str]:
    """This process's environment, in which libraries heed the user's number of cores."""
    count = _wished()
    return dict(os.environ) if count is None else {**os.environ, **thread_variables(count)}


@contextlib.contextmanager
def own_compile_cache() -> Iterator[None]:
    """torch compiles into a folder that goes with this process, unless the user named one: it leaves none behind."""
    with contextlib.ExitStack() as stack:
        if _COMPILE_CACHE not in os.environ:
            with contextlib.suppress(OSError):  # no room: then torch has none either
                os.environ[_COMPILE_CACHE] = str(stack.enter_context(TemporaryFolder()))
                stack.callback(os.environ.pop, _COMPILE_CACHE, None)
        yield


def threads(most: int) -> int:
    """Threads that an engine may have at the same time, `most` at most."""
    return max(1, min(most, os.cpu_count() or 1, _wished() or most))


def _wished() -> int | None:
    text = os.environ.get(THREADS_VARIABLE, "")
    count = whole_number(text)
    return count if count is not None and 1 <= count <= _MAX_THREADS else None
