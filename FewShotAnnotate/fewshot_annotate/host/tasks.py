"""BackgroundTasks: calls functions in a background thread; Signal: calls the functions connected to it.

An application that embeds Python may hold the global interpreter lock (GIL) while its event loop runs. A thread then
runs only while the main thread executes Python code, so each `poll` in the main thread waits briefly for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakSet

# Too short for the user to notice, long enough for many small steps of the thread.
MAX_WAIT_SECONDS = 0.015
# The names of all threads begin with it.
THREAD_NAME = "FewShotAnnotate"

P = ParamSpec("P")
T = TypeVar("T")

_calls: WeakSet[Future[Any]] = WeakSet()  # of all threads; a thread keeps its own until they end


def wait_for_threads(seconds: float) -> bool:
    """Wait until no call of any `BackgroundTasks` is executed.

    Parameters
    ----------
    seconds : float
        The longest to wait.

    Returns
    -------
    bool
        Whether all calls have ended.
    """
    return not wait(tuple(_calls), seconds).not_done


class BackgroundTasks:
    """One thread that executes calls in the order in which they were started; a timer calls `poll`.

    Parameters
    ----------
    name : str
        Part of the thread's name, after `THREAD_NAME`.
    """

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"{THREAD_NAME}{name}")
        self._started: deque[tuple[Future[Any], Callable[[Any], object] | None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a call has not ended, or its result was not delivered yet; it ends sooner if polled often."""
        return any(on_result is not None or not future.done() for future, on_result in self._started)

    @property
    def has_pending_results(self) -> bool:
        """Whether a result is still to be delivered."""
        return any(on_result is not None for _, on_result in self._started)

    def start(self, function: Callable[[], T], on_result: Callable[[T], object] | None = None) -> None:
        """Call a function in the thread.

        Parameters
        ----------
        function : function
            Must not access nodes or widgets.
        on_result : function or None
            Called by `poll` with the result; None: the result is not needed, and errors are ignored.
        """
        future = self._threads.submit(function)
        _calls.add(future)
        self._started.append((future, on_result))

    def start_copy(
        self, read: Callable[[], Callable[[], T]], version: Callable[[], object], on_result: Callable[[T], object]
    ) -> None:
        """Copy in the thread what the main thread may change; the copy is of one state, the last before `on_result`.

        Parameters
        ----------
        read : function
            Called at once, by the main thread: reads nodes and returns the function that copies their voxels, which
            the thread calls. Both are called again if `version` has changed by the time the copy is delivered.
        version : function
            Returns a value that changes with what is copied. Takes microseconds.
        on_result : function
            Called by `poll` with the copy.

        Raises
        ------
        Exception
            What `read` raises; later on, `poll` raises it.
        """
        before = version()

        def deliver(copy: T) -> None:
            if version() == before:
                on_result(copy)
            else:
                self.start_copy(read, version, on_result)

        self.start(read(), deliver)

    def poll(self) -> bool:
        """Let the thread run for at most `MAX_WAIT_SECONDS`, then deliver one result.

        Returns
        -------
        bool
            Whether a result was delivered.

        Raises
        ------
        Exception
            What the call raised whose result was to be delivered.
        """
        self._remove_unneeded()
        if not self._started:
            return False
        wait([self._started[-1][0]], MAX_WAIT_SECONDS)
        self._remove_unneeded()
        if not self._started or not self._started[0][0].done():
            return False
        future, on_result = self._started.popleft()
        assert on_result is not None
        on_result(future.result())
        return True

    def cancel(self) -> None:
        """Deliver no result of what was started; it is still executed to its end, before anything started later."""
        self._started = deque((future, None) for future, _ in self._started)

    def close(self) -> None:
        """Cancel and accept no more calls."""
        self.cancel()
        self._threads.shutdown(wait=False)

    def _remove_unneeded(self) -> None:
        while self._started and self._started[0][1] is None and self._started[0][0].done():
            self._started.popleft()


class Signal(Generic[P]):
    """Calls everyone who is connected, in the order in which they were connected."""

    def __init__(self) -> None:
        self._slots: list[Callable[P, object]] = []
        self._blocked = False

    def connect(self, slot: Callable[P, object]) -> None:
        """Call a function at every `emit` from now on."""
        self._slots.append(slot)

    def emit(self, *arguments: P.args, **keywords: P.kwargs) -> None:
        """Call all that are connected; what one of them raises is raised."""
        if not self._blocked:
            for slot in tuple(self._slots):
                slot(*arguments, **keywords)

    def disconnect_all(self) -> None:
        """Disconnect all functions."""
        self._slots.clear()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Call no connected function within the block."""
        self._blocked = True
        try:
            yield
        finally:
            self._blocked = False
