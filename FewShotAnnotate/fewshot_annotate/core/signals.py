"""Handling of signals that end the program: all are treated as Ctrl+C, so that clean-up code runs."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

TYPE_CHECKING = False  # typing itself would be the longest import of all before signals are handled
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    Handler = Callable[[int, FrameType | None], Any]

# Ctrl+C, `kill`, a closed terminal, Ctrl+\. Windows has only some of them.
TERMINATION_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
)

# Delay after which the finalizer has ended.
_REPEAT_SECONDS = 0.05


class _Deferral:
    """Whether signals are deferred in the main thread, and the one that waits."""

    depth = 0
    waiting: tuple[Handler, int] | None = None

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1

    def deliver(self) -> None:
        """Handle the waiting signal, unless signals are still deferred."""
        if self.depth == 0 and self.waiting is not None:
            (handler, number), self.waiting = self.waiting, None
            handler(number, None)


_deferral = _Deferral()


def set_handler(number: int, handler: Handler) -> None:
    """Set a signal's handler; within `defer_signals` it is called only after the block."""

    def handle_or_wait(number: int, frame: FrameType | None) -> None:
        if _deferral.depth:
            _deferral.waiting = _deferral.waiting or (handler, number)
        else:
            _deferral.waiting = None
            handler(number, frame)

    signal.signal(number, handle_or_wait)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Context manager: terminating signals are handled after the block; for short critical sections.

    They are also blocked, for processes that are started within the block and for programs that set handlers without
    `set_handler`. Blocking alone is not enough: a signal can then arrive in another thread, such as one of a
    numerical library, and Python handles it in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    blocked = None
    try:
        with _deferral:
            try:
                if hasattr(signal, "pthread_sigmask"):
                    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
                yield
            finally:
                if blocked is not None:
                    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    finally:
        _deferral.deliver()


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Context manager around a whole program: every terminating signal acts as Ctrl+C.

    Signals that the program was started to ignore, as by nohup, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handlers_restored():
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            set_handler(signal.SIGINT, interrupt)
        for number in TERMINATION_SIGNALS[1:]:
            if signal.getsignal(number) is signal.SIG_DFL:
                set_handler(number, _as_interrupt)
        with repeat_lost_signals(signal.SIGINT):
            yield


def _as_interrupt(_number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # Ctrl+C is ignored, as in a background job of a shell; the other signals are not
        raise KeyboardInterrupt


@contextlib.contextmanager
def on_first_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Context manager: the first Ctrl+C calls `action` instead of raising KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handlers_restored():
        before = signal.getsignal(signal.SIGINT)

        def interrupted(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            action()

        set_handler(signal.SIGINT, interrupted)
        yield


@contextlib.contextmanager
def ignore_signals() -> Iterator[None]:
    """Context manager: ignore terminating signals, so that the block is completed.

    For the last step of long work, whose result is worth more than a quick exit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handlers_restored():
        with defer_signals():
            for number in _python_handlers():
                signal.signal(number, signal.SIG_IGN)
        yield


@contextlib.contextmanager
def _handlers_restored() -> Iterator[None]:
    """Context manager: restore the handlers of all terminating signals at the end of the block."""
    before = _python_handlers()
    try:
        yield
    finally:
        with defer_signals():
            for number, handler in before.items():
                signal.signal(number, handler)


def _python_handlers() -> dict[int, Any]:
    """The handlers of terminating signals, without those that libraries in C have set."""
    handlers = {number: signal.getsignal(number) for number in TERMINATION_SIGNALS}
    return {number: handler for number, handler in handlers.items() if handler is not None}


@contextlib.contextmanager
def repeat_lost_signals(number: int) -> Iterator[None]:
    """Context manager: a signal whose exception was lost in a finalizer is sent again as signal `number`.

    Python prints an exception raised in a finalizer or in the callback of a weak reference, and continues.
    """
    before = sys.unraisablehook
    repeater = _Repeater(number)

    def repeat_or_print(unraisable: sys.UnraisableHookArgs, /) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
            before(unraisable)
            return
        with _deferral:  # an exception of a further signal would be lost here, too; the repeated signal replaces it
            repeater.start()

    sys.unraisablehook = repeat_or_print
    try:
        yield
    finally:
        with defer_signals():
            repeater.close()
            sys.unraisablehook = before


class _Repeater:
    """Sends a signal to the main thread a moment after `start`."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Send the signal a moment later."""
        timer = threading.Timer(_REPEAT_SECONDS, self._send)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Send no signal from now on: when the program ends, it has no handler any more."""
        with self._lock:
            self._closed = True

    def _send(self) -> None:
        with self._lock:
            if self._closed:
                return
            if hasattr(signal, "pthread_kill"):  # it interrupts a system call of the main thread, too
                signal.pthread_kill(threading.main_thread().ident or 0, self._number)
            else:
                signal.raise_signal(self._number)
