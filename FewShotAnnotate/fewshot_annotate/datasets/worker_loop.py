"""The loop of a worker process of a batch, which runs the cases that arrive."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from multiprocessing.connection import Connection
from typing import NoReturn

from ..core.exit_codes import ExitCode
from ..core.library_warnings import suppress_library_warnings
from ..core.signals import TERMINATION_SIGNALS, repeat_lost_signals, set_handler
from ..core.temporary import system_folder
from ..engines.threads import temporary_compile_cache
from ..jobs.host_monitor import HOST_CHECK_SECONDS, host_liveness_check
from .case import run_case


def _exit_on_sigterm(*_: object) -> NoReturn:
    """Exit by an exception, so that temporary files are removed."""
    raise SystemExit(ExitCode.TERMINATED)


def run_cases(connection: Connection, host_pid: int) -> None:
    """Run the cases that arrive until the connection is closed; the process ends when its host has exited."""
    # A terminal sends these to the whole process group; the host handles them and asks by the cancel file.
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    set_handler(signal.SIGTERM, _exit_on_sigterm)
    with contextlib.suppress(OSError):
        system_folder()  # is probed by writing a file, once: no signal may interrupt that
    if hasattr(signal, "pthread_sigmask"):  # they waited while this process was started, and still do in it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINATION_SIGNALS)
    alive = host_liveness_check(host_pid)

    def watch() -> None:
        while alive():
            time.sleep(HOST_CHECK_SECONDS)
        os._exit(ExitCode.FAILED)

    threading.Thread(target=watch, daemon=True).start()
    try:
        with (
            repeat_lost_signals(signal.SIGTERM),
            suppress_library_warnings(),
            temporary_compile_cache(),
            contextlib.suppress(EOFError, OSError),
        ):
            while True:
                connection.send(run_case(connection.recv()))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process ends already
