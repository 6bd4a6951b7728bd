"""Handling of signals that end the program: all are treated as Ctrl+C, so that clean-up code runs."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

# Ctrl+C, `kill`, a closed terminal, Ctrl+\. Windows has only some of them.
TERMINATION_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
)

# Long enough for the finalizer to have ended.
_REPEAT_SECONDS = 0.05


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Context manager around a whole program: every terminating signal acts as Ctrl+C.

    Signals that the program was started to ignore, as by nohup, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    changed = [one for one in TERMINATION_SIGNALS[1:] if signal.getsignal(one) is signal.SIG_DFL]
    for one in changed:
        signal.signal(one, _as_interrupt)
    try:
        with repeat_lost_signals(signal.SIGINT):
            yield
    finally:
        for one in changed:
            signal.signal(one, signal.SIG_DFL)


@contextlib.contextmanager
def repeat_lost_signals(number: int) -> Iterator[None]:
    """Context manager: a signal whose exception was lost in a finalizer is sent again as signal `number`.

    Python prints what a finalizer or a callback of a weak reference raises, and goes on.
    """
    before = sys.unraisablehook

    def repeat_or_print(unraisable: sys.UnraisableHookArgs, /) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
            again = threading.Timer(_REPEAT_SECONDS, _send_to_main_thread, (number,))
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = repeat_or_print
    try:
        yield
    finally:
        sys.unraisablehook = before


def _send_to_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # it interrupts a system call of the main thread, too
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _as_interrupt(_number: int, frame: object) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)  # type: ignore[arg-type]
    else:  # Ctrl+C is ignored, as in a background job of a shell; the other signals are not
        raise KeyboardInterrupt


@contextlib.contextmanager
def on_first_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Context manager: the first Ctrl+C calls `action` instead of raising KeyboardInterrupt."""
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
def ignore_signals() -> Iterator[None]:
    """Context manager: ignore terminating signals, so that the block is completed.

    For the last step of long work, whose result is worth more than a quick exit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(one, signal.signal(one, signal.SIG_IGN)) for one in TERMINATION_SIGNALS]
    try:
        yield
    finally:
        for one, handler in before:
            signal.signal(one, handler)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Context manager: terminating signals are delivered after the block; for short critical sections."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
