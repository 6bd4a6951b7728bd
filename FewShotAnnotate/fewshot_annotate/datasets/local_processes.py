"""LocalProcesses: runs the cases of a batch in local worker processes, one case per process at a time.

They communicate by anonymous pipes, so no port is open to other users.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from ..core.exit_codes import ExitCode
from ..core.signals import defer_signals
from ..core.temporary import remove_abandoned_folders
from ..engines.threads import thread_variables
from .case import CaseJob
from .status import CaseStatus, Status
from .worker import start

# A case fails after this many crashes of its process; a single crash may have another cause.
MAX_CRASHES = 2
CANCEL_GRACE_SECONDS = 10.0
_EXIT_SECONDS = 2.0
# Windows can wait for at most 63 objects at once.
_MAX_PROCESSES = 60 if os.name == "nt" else 1000


class LocalProcesses:
    """Worker processes reused for all cases, so that weights are loaded once; a crashed one is replaced.

    Parameters
    ----------
    count : int
        How many cases may run at the same time, at most 60 on Windows. A process is started with its first case.
    threads : int
        Number of threads that numeric libraries may use for one case.
    """

    def __init__(self, count: int = 1, threads: int = 1) -> None:
        self._idle = [_Process(threads) for _ in range(min(count, _MAX_PROCESSES))]
        self._busy: list[_Process] = []

    def slots(self) -> int:
        """How many cases may run at the same time."""
        return len(self._idle) + len(self._busy)

    def submit(self, case_job: CaseJob) -> None:
        """Start a case."""
        process = self._idle.pop()
        self._busy.append(process)
        process.submit(case_job)

    def poll(self, seconds: float) -> list[CaseStatus]:
        """Cases that ended since the last call; waits at most `seconds` for the first one."""
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
        """End the processes; running cases have a grace period to notice the cancellation."""
        end = time.monotonic() + CANCEL_GRACE_SECONDS
        for process in self._busy:
            if process.started:  # a signal may have come before
                wait([process.connection], max(0.0, end - time.monotonic()))
        for process in self._busy:
            process.ask_to_end(busy=True)
        for process in self._idle:
            process.ask_to_end(busy=False)
        for process in (*self._busy, *self._idle):
            process.close()
        remove_abandoned_folders()


class _Process:
    """One worker process and the case it runs."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess | None = None
        self._task: CaseJob | None = None
        self._crashes = 0

    @property
    def started(self) -> bool:
        """Whether the process was started."""
        return self._process is not None

    def submit(self, case_job: CaseJob) -> None:
        """Start a case."""
        self._task, self._crashes = case_job, 0
        self._send()

    def receive(self) -> CaseStatus | None:
        """Status of the case once the connection is readable; None if it is retried after a crash."""
        assert self._task is not None
        try:
            status: CaseStatus = self.connection.recv()
        except (EOFError, OSError):
            return self._retry_or_fail(self._task)
        return status

    def ask_to_end(self, busy: bool) -> None:
        """Ask the process to clean up and exit: the end of its connection if idle, and a signal if busy."""
        if self._process is not None:
            self.connection.close()
            if busy:
                self._process.terminate()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.join(_EXIT_SECONDS)
            self._process.kill()
            self._process.join()

    def _send(self) -> None:
        if self._process is None or not self._process.is_alive():
            self._start()
        with contextlib.suppress(OSError):  # it died just now, which `receive` will see
            self.connection.send(self._task)

    def _start(self) -> None:
        connection, theirs = self._context.Pipe()
        process = self._context.Process(target=start, args=(theirs, os.getpid()), daemon=True)
        with thread_environment(self._threads), defer_signals():
            process.start()
            self.connection: Connection = connection
            self._process = process
        theirs.close()

    def _retry_or_fail(self, case_job: CaseJob) -> CaseStatus | None:
        """Retry the case in a new process, or return its failure."""
        assert self._process is not None
        self._process.join()
        self._crashes += 1
        if self._crashes < MAX_CRASHES:
            self._send()
            return None
        return crashed_status(case_job, self._crashes, self._process.exitcode)


def crashed_status(case_job: CaseJob, times: int, code: int | None = None) -> CaseStatus:
    """Status of a case whose process crashed `times` times, with the last exit code if known."""
    if code is None:
        how = "died, often because memory ran out"
    elif code > 0 and code != ExitCode.TERMINATED:
        how = f"could not run or ended by itself (exit code {code})"
    elif code < 0 and -code not in (signal.SIGKILL, signal.SIGTERM):
        how = f"crashed (signal {-code})"
    else:
        how = "was ended from outside, often because memory ran out"
    message = f"row {case_job.case.row}: the process that ran this case {how}, {times} times."
    return CaseStatus(name=case_job.case.name, status=Status.FAILED, seconds=None, message=message)


@contextlib.contextmanager
def thread_environment(threads: int) -> Iterator[None]:
    """Context manager: limit the numeric libraries of processes started in the block to `threads` threads."""
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
