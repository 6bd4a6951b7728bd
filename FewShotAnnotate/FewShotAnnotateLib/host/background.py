"""Background: one thread for work on voxels, which also gets on where the event loop holds Python's lock.

An application that embeds Python may keep the interpreter's lock while its own event loop runs. Then a thread only
runs while Python code of the main thread lets it, so at each tick the main thread waits a little for work under way.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import ParamSpec, TypeVar

# Short enough not to be felt, long enough for many small steps of the thread.
TURN_SECONDS = 0.015

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """One thread; calls are worked off in the order they came."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._last: Future[object] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is waiting or under way."""
        return self._last is not None and not self._last.done()

    def submit(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        """Have a function called in the thread."""
        future = self._threads.submit(function, *arguments, **keywords)
        self._last = future  # type: ignore[assignment]
        return future

    def give_turn(self) -> None:
        """Let the thread work for `TURN_SECONDS` at most, less if it has nothing left to do."""
        if self._last is not None and not self._last.done():
            wait([self._last], TURN_SECONDS)

    def close(self) -> None:
        """Take no more calls; those submitted are still worked off."""
        self._threads.shutdown(wait=False)
