"""Signals that end the program, all in one way: as Ctrl+C, so that everything is tidied up that it would tidy up."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

# Ctrl+C, `kill`, a closed terminal, Ctrl+\. Windows has only some of them.
ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
)


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """All signals that end a program do what Ctrl+C does, for the time of the block, which is the whole program.

    What the program was started to ignore, as by nohup, it still ignores.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    changed = [one for one in ENDING_SIGNALS[1:] if signal.getsignal(one) is signal.SIG_DFL]
    for one in changed:
        signal.signal(one, _as_interrupt)
    try:
        yield
    finally:
        for one in changed:
            signal.signal(one, signal.SIG_DFL)


def _as_interrupt(_number: int, frame: object) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)  # type: ignore[arg-type]
    else:  # Ctrl+C is ignored, as in the background of a shell; other signals are not
        raise KeyboardInterrupt


@contextlib.contextmanager
def on_first_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Ctrl+C does `action` instead of raising KeyboardInterrupt wherever the program happens to be; once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        action()

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def to_the_end() -> Iterator[None]:
    """What is done in the block is brought to its end; a signal that arrives meanwhile comes too late.

    For the last step of long work: its result is worth more than a quick end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(one, signal.signal(one, signal.SIG_IGN)) for one in ENDING_SIGNALS]
    try:
        yield
    finally:
        for one, handler in before:
            signal.signal(one, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that end the program wait until the block is done: for tidying up, which is short."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
