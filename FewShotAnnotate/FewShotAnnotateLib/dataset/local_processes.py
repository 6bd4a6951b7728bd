"""LocalProcesses: runs the cases of a batch in processes beside this one, each with one case at a time.

They speak with this process by pipes that nobody else can open: no port, no server, no file.
"""

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

from ..engines.threads import own_compile_cache, thread_variables
from ..run.host_watch import host_watch
from .case import Task, run_case
from .status import CaseStatus, Status

# A case whose process dies so often is at fault itself; fewer times it may be bad luck.
MOST_DEATHS = 2
CANCEL_GRACE_SECONDS = 10.0
_HOST_CHECK_SECONDS = 1.0
# Windows waits for 63 objects at once.
_MOST_PROCESSES = 60 if os.name == "nt" else 1000


class LocalProcesses:
    """Processes that stay for all cases, so that weights are loaded once; if a case ends one, there is a new one.

    Parameters
    ----------
    count : int
        How many cases may run at the same time, at most 60 on Windows. A process is started with its first case.
    threads : int
        Processor cores that libraries may use for one case.
    """

    def __init__(self, count: int = 1, threads: int = 1) -> None:
        self._idle = [_Process(threads) for _ in range(min(count, _MOST_PROCESSES))]
        self._busy: list[_Process] = []

    def slots(self) -> int:
        """How many cases may run at the same time."""
        return len(self._idle) + len(self._busy)

    def submit(self, task: Task) -> None:
        """Begin a case."""
        process = self._idle.pop()
        self._busy.append(process)
        process.submit(task)

    def ended(self, seconds: float) -> list[CaseStatus]:
        """The cases that ended since the last call; waits for the first one, but no longer than `seconds`."""
        if not self._busy:
            return []
        ready = wait([process.connection for process in self._busy], seconds)
        statuses = []
        for process in [process for process in self._busy if process.connection in ready]:
            status = process.receive()
            if status is not None:
                statuses.append(status)
                self._busy.remove(process)
                self._idle.append(process)
        return statuses

    def close(self) -> None:
        """End the processes; cases that ask whether they were cancelled have a moment to stop by themselves."""
        end = time.monotonic() + CANCEL_GRACE_SECONDS
        for process in self._busy:
            wait([process.connection], max(0.0, end - time.monotonic()))
        for process in (*self._busy, *self._idle):
            process.close()


class _Process:
    """One of them."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess | None = None
        self._task: Task | None = None
        self._deaths = 0

    def submit(self, task: Task) -> None:
        """Begin a case."""
        self._task, self._deaths = task, 0
        self._send()

    def receive(self) -> CaseStatus | None:
        """What became of the case, once the connection has something; None if a new process tries it again."""
        assert self._task is not None
        try:
            status: CaseStatus = self.connection.recv()
        except (EOFError, OSError):
            return self._died(self._task)
        return status

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self.connection.close()
            self._process.kill()
            self._process.join()

    def _send(self) -> None:
        if self._process is None or not self._process.is_alive():
            self._start()
        with contextlib.suppress(OSError):  # it died just now, which `receive` will see
            self.connection.send(self._task)

    def _start(self) -> None:
        self.connection: Connection
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
        with thread_environment(self._threads):
            self._process.start()
        theirs.close()

    def _died(self, task: Task) -> CaseStatus | None:
        """The case is tried again in a new process, or has failed."""
        assert self._process is not None
        self._process.join()
        self._deaths += 1
        if self._deaths < MOST_DEATHS:
            self._send()
            return None
        return died_status(task, self._deaths, self._process.exitcode)


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
    with own_compile_cache(), contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(run_case(connection.recv()))
