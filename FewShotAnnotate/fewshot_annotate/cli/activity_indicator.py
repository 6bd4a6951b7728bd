"""Activity indicator while nothing else is shown: a spinner on a terminal, one line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .terminal import bar_console, bar_stream

if TYPE_CHECKING:
    from rich.status import Status

# Nothing is shown for shorter work, so that a quick error message stays the only line.
DELAY_SECONDS = 0.6
# Least delay of the first output of a command, for which `DELAY_SECONDS` counts from the command's start.
_MIN_DELAY_SECONDS = 0.1
_began: list[float] = []  # of a command that has shown nothing yet


def command_begins(seconds: float | None = None) -> None:
    """Count the delay until the first output from a time of `time.monotonic()`, now by default."""
    _began[:] = [time.monotonic() if seconds is None else seconds]


def output_shown() -> None:
    """The command has shown something: the delay of further indicators counts from their own start."""
    _began.clear()


@contextmanager
def starting() -> Iterator[None]:
    """Context manager: show on a terminal that the program is being loaded, once that takes a while."""
    if not sys.stderr.isatty():
        yield
        return
    text, stream = "Starting ...", bar_stream()
    lock, stopped, shown = threading.Lock(), threading.Event(), threading.Event()

    def show() -> None:  # without rich, which would have to be loaded first
        with lock:
            if not stopped.is_set():
                shown.set()
                stream.write(text)
                stream.flush()

    timer = threading.Timer(max(DELAY_SECONDS - _passed(), 0.0), show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            stopped.set()
            if shown.is_set():
                stream.write("\r" + " " * len(text) + "\r")


def _passed() -> float:
    """Seconds since the command began; 0 once it has shown something."""
    return time.monotonic() - _began[0] if _began else 0.0


class ActivityIndicator:
    """Shows that work is under way, once it takes longer than a moment.

    Parameters
    ----------
    what : str
        What is being done.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._stopped = False
        self._spinner: Status | None = None
        delay = max(DELAY_SECONDS - _passed(), _MIN_DELAY_SECONDS)
        self._timer = threading.Timer(delay, self._show)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Remove it; may be called again."""
        self._timer.cancel()
        with self._lock:
            self._stopped = True
            if self._spinner is not None:
                self._spinner.stop()
                self._spinner = None

    def _show(self) -> None:
        with self._lock:
            if self._stopped:
                return
            output_shown()
            if sys.stderr.isatty():
                self._spinner = bar_console().status(f"{self._what} ...")
                self._spinner.start()
            else:
                print(f"{self._what} ...", file=sys.stderr, flush=True)


@contextmanager
def activity_indicator(kind: str, what: str) -> Iterator[None]:
    """Context manager: show that work goes on, unless `kind` (as of `open_display`) is 'json' or 'none'."""
    if kind != "bar":
        yield
        return
    indicator = ActivityIndicator(what)
    try:
        yield
    finally:
        indicator.stop()
