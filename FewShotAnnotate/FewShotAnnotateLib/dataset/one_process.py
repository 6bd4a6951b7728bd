"""OneProcess: runs the cases of a batch one after the other in one process beside this one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from ..engines.threads import thread_variables
from ..run.host_watch import host_watch
from .case import Task, run_case
from .status import CaseStatus, Status

# A case whose process dies so often is at fault itself; fewer times it may be bad luck.
MOST_DEATHS = 2
CANCEL_GRACE_SECONDS = 10.0
_HOST_CHECK_SECONDS = 1.0


class OneProcess:
    """A process that stays for all cases, so that weights are loaded once; if a case ends it, there is a new one.

    Parameters
    ----------
    threads : int
        Processor cores that libraries may use for one case.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._task: Task | None = None
        self._deaths = 0

    def slots(self) -> int:
        """How many cases may run at the same time."""
        return 1

    def submit(self, task: Task) -> None:
        """Begin a case."""
        self._task, self._deaths = task, 0
        self._send()

    def ended(self, seconds: float) -> list[CaseStatus]:
        """The cases that ended since the last call; waits for the first one, but no longer than `seconds`."""
        if self._task is None or self._connection is None or not wait([self._connection], seconds):
            return []
        try:
            status = self._connection.recv()
        except (EOFError, OSError):
            return self._died(self._task)
        self._task = None
        return [status]

    def close(self) -> None:
        """End the process; a case that asks whether it was cancelled has a moment to stop by itself."""
        if self._connection is not None:
            if self._task is not None:
                wait([self._connection], CANCEL_GRACE_SECONDS)
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _send(self) -> None:
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._connection is not None
        with contextlib.suppress(OSError):  # it died just now, which `ended` will see
            self._connection.send(self._task)

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        with thread_environment(self._threads):
            self._process.start()
        theirs.close()

    def _died(self, task: Task) -> list[CaseStatus]:
        """The case is tried again in a new process, or has failed."""
        assert self._process is not None
        self._process.join()
        self._deaths += 1
        if self._deaths < MOST_DEATHS:
            self._send()
            return []
        self._task = None
        return [died_status(task, self._deaths, self._process.exitcode)]


def died_status(task: Task, times: int, code: int | None = None) -> CaseStatus:
    """A case whose process died so many times, with the last exit code if that is known."""
    if code is None:
        how = "died, often because memory ran out"
    elif code < 0 and -code not in (signal.SIGKILL, signal.SIGTERM):
        how = f"crashed (signal {-code})"
    else:
        how = "was ended from outside, often because memory ran out"
    message = f"row {task.case.row}: the process that ran this case {how}, {times} times."
    return CaseStatus(task.case.name, Status.FAILED, None, message)


@contextlib.contextmanager
def thread_environment(threads: int) -> Iterator[None]:
    """Processes started in the block let their numeric libraries use so many cores."""
    variables = thread_variables(threads)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, host_pid: int) -> None:
    """What the process does: one case after the other, until nobody asks for more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the host's; it asks by the cancel file
    alive = host_watch(host_pid)

    def watch() -> None:
        while alive():
            time.sleep(_HOST_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(run_case(connection.recv()))
