"""A sign of life while nothing else is shown: a spinner on a terminal, one line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .terminal import bar_console

if TYPE_CHECKING:
    from rich.status import Status

# Nothing is shown of what is done sooner, so that a refusal stays a single line.
DELAY_SECONDS = 0.8
# The same for the first sign of a command, whose delay counts from the command's start, if imports took long.
_MIN_DELAY_SECONDS = 0.3
_began: list[float] = []  # of a command that has shown no sign yet


def command_begins(seconds: float | None = None) -> None:
    """Count the delay of the next sign from a time of `time.monotonic()`, now by default."""
    _began[:] = [time.monotonic() if seconds is None else seconds]


class SignOfLife:
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
        passed = time.monotonic() - _began.pop() if _began else 0.0
        delay = max(DELAY_SECONDS - passed, _MIN_DELAY_SECONDS)
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
            if sys.stderr.isatty():
                self._spinner = bar_console().status(f"{self._what} ...")
                self._spinner.start()
            else:
                print(f"{self._what} ...", file=sys.stderr, flush=True)


def kind_on_terminal() -> str:
    """Form of progress of commands whose output in a log is their result alone."""
    return "bar" if sys.stderr.isatty() else "none"


@contextmanager
def sign_of_life(kind: str, what: str) -> Iterator[None]:
    """Context manager: show that work goes on, unless `kind` (as of `open_display`) is 'json' or 'none'."""
    if kind != "bar":
        yield
        return
    sign = SignOfLife(what)
    try:
        yield
    finally:
        sign.stop()
