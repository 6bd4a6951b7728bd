"""Number of CPU cores that a worker may use, which the user sets by an environment variable."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from ..core.numbers import int_or_none
from ..core.temporary import TemporaryFolder

Item = TypeVar("Item")
Result = TypeVar("Result")

# Environment variable with the maximum number of cores. If it is unset or not a number, each engine chooses.
THREADS_VARIABLE = "FEWSHOT_ANNOTATE_THREADS"
_MAX_THREADS = 1024
# Numeric libraries read these when they are loaded, so they must be set before a process starts.
_LIBRARY_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_COMPILE_CACHE = "TORCHINDUCTOR_CACHE_DIR"

# Held while initial weights are drawn, because all threads share the random state of torch.
TORCH_RANDOM_STATE_LOCK = threading.Lock()


def thread_variables(count: int) -> dict[str, str]:
    """Environment variables that limit the numeric libraries of a new process to `count` cores."""
    return dict.fromkeys(_LIBRARY_VARIABLES, str(count))


def worker_environment() -> dict[str, str]:
    """Environment for a worker process: the current one, with numeric libraries limited to the requested cores."""
    count = _requested_cores()
    return dict(os.environ) if count is None else {**os.environ, **thread_variables(count)}


@contextlib.contextmanager
def temporary_compile_cache() -> Iterator[None]:
    """Context in which torch keeps its compile cache in a temporary folder, unless the user has set one."""
    with contextlib.ExitStack() as stack:
        if _COMPILE_CACHE not in os.environ:
            with contextlib.suppress(OSError):  # on a full disk, torch works without a cache
                os.environ[_COMPILE_CACHE] = str(stack.enter_context(TemporaryFolder()))
                stack.callback(os.environ.pop, _COMPILE_CACHE, None)
        yield


def max_threads(limit: int) -> int:
    """Number of threads that an engine may run at the same time, 1 to `limit`."""
    return max(1, min(limit, os.cpu_count() or 1, _requested_cores() or limit))


def _requested_cores() -> int | None:
    text = os.environ.get(THREADS_VARIABLE, "")
    count = int_or_none(text)
    return count if count is not None and 1 <= count <= _MAX_THREADS else None


# Threads of `propagate` and `adapt`. numpy and scipy release the interpreter lock in most of their work; memory grows
# with each thread.
ENGINE_THREADS = max_threads(2)


def map_all(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function(item)` of all items in order, in threads of their own."""
    with ThreadPoolExecutor(ENGINE_THREADS) as threads:
        return list(threads.map(function, items))


def map_few(
    threads: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Yield `function(item)` in order like `threads.map`, with at most `ENGINE_THREADS` results in memory."""
    following = iter(items)
    jobs: deque[Future[Result]] = deque()
    try:
        while True:
            for item in islice(following, ENGINE_THREADS - len(jobs)):
                jobs.append(threads.submit(function, item))
            if not jobs:
                return
            yield jobs.popleft().result()
    finally:
        for job in jobs:
            job.cancel()
