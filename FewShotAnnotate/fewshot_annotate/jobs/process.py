"""WorkerProcess: starts, polls and cancels the worker of a folder, without blocking the host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from .. import __version__
from ..core import paths
from ..core.errors import InputError, Message
from ..core.events import ENDINGS, Cancelled, Event, Failed, Started, Warned, event_from_line
from ..core.exit_codes import ExitCode
from ..core.reading import open_regular_file
from ..core.signals import on_first_interrupt
from ..engines.threads import worker_environment
from .run_folder import JobFolder
from .work_folder import WorkFolder

WORKER_SCRIPT = Path(__file__).resolve().with_name("worker.py")
CANCEL_GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05
# Maximum size read by one poll, so that it stays short regardless of how much the worker prints.
POLL_BYTES = 1 << 16
_SIGKILL = getattr(signal, "SIGKILL", 9)


class WorkerProcess:
    """One worker on one folder.

    Parameters
    ----------
    folder : WorkFolder
    python : str
        Python executable that runs the worker, such as Slicer's `PythonSlicer`.
    drafts_only : bool
        Whether the worker ends when all slices are drafted.
    """

    script: ClassVar[Path] = WORKER_SCRIPT
    failure_advice: ClassVar[Message] = Message("run_can_be_resumed")

    def __init__(self, folder: WorkFolder, python: str = sys.executable, drafts_only: bool = False) -> None:
        self.folder = folder
        self.ending: Event | None = None
        self._python = python
        self._drafts_only = drafts_only
        self._process: subprocess.Popen[bytes] | None = None
        self._worker_pid: int | None = None
        self._reported_ending: Event | None = None
        self._version_mismatch: Message | None = None
        self._incomplete_line = b""
        self._warned = False
        self._kill_time: float | None = None
        self._start_failure: Event | None = None
        self._read_offset = paths.size(folder.events_path)

    def start(self) -> None:
        """Start the worker. If that fails, `poll` reports it like any other failure."""
        try:
            self.folder.require_own_files()
            if self.folder.busy():
                raise InputError("job_busy", path=self.folder.path)
        except InputError as refusal:
            self._start_failure = Failed.of(refusal)
            return
        command = [self._python, str(self.script), str(self.folder.path), "--host-pid", str(os.getpid())]
        command += [*self.folder.worker_arguments, *self._options()]
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            self.folder.clear_cancel()
            with self.folder.log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env=worker_environment(),
                    creationflags=hidden,
                    start_new_session=True,
                )
        except OSError as error:
            program = error.filename or self._python
            failure = Message("worker_not_started", detail=error.strerror, program=program)
            self._start_failure = Failed.of(failure)

    def _options(self) -> list[str]:
        """Command line options of the worker."""
        return ["--drafts-only"] if self._drafts_only else []

    @property
    def running(self) -> bool:
        """Whether `start` was called and `poll` has not reported the end yet."""
        return self.ending is None and (self._process is not None or self._start_failure is not None)

    @property
    def pid(self) -> int | None:
        """Process id; None before `start`."""
        return self._process.pid if self._process is not None else None

    def poll(self) -> list[Event]:
        """Events since the last call; the last event of a run is one of `ENDINGS`. Takes milliseconds."""
        if self.ending is None and self._start_failure is not None:
            self.ending = self._start_failure
            return [self.ending]
        if self._process is None or self.ending is not None:
            return []
        exited = self._process.poll() is not None  # checked before reading, so that no line is missed
        events = []
        for event in self._new_events(final=exited):
            if isinstance(event, Started):
                self._worker_pid = event.pid
                self._version_mismatch = self._check_version(event)
            if isinstance(event, ENDINGS):
                self._reported_ending = event
                self._kill_time = self._kill_time or time.monotonic() + CANCEL_GRACE_SECONDS
            else:
                events.append(event)
        if self._version_mismatch is not None or (self._kill_time is not None and time.monotonic() > self._kill_time):
            self.kill()
        if exited and not self._more_to_read():
            self.ending = self._ending()
            events.append(self.ending)
        return events

    def cancel(self, grace: float = CANCEL_GRACE_SECONDS) -> None:
        """Ask the worker to stop, and kill it if it still runs after `grace` seconds. Finished slices are kept."""
        if self.running and self._kill_time is None:
            self._kill_time = time.monotonic() + grace
            with contextlib.suppress(OSError):  # a worker that cannot be asked is killed
                self.folder.request_cancel()

    def kill(self) -> None:
        """Kill the worker process, and the launcher through which it may have been started."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._worker_pid and self._worker_pid not in (0, os.getpid(), self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(self._worker_pid, signal.SIGTERM if os.name == "nt" else _SIGKILL)
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait until the process has exited; False if it has not after `seconds`. Not for a GUI thread."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _ending(self) -> Event:
        if self._version_mismatch is not None:
            return Failed.of(self._version_mismatch)
        if self._reported_ending is not None:
            return self._reported_ending
        return Cancelled() if self._kill_time is not None else self._failure()

    def _more_to_read(self) -> bool:
        return paths.size(self.folder.events_path) > self._read_offset

    def _new_events(self, final: bool) -> list[Event]:
        """Events of complete lines; after the end of the worker, an incomplete line counts as complete."""
        try:
            with open_regular_file(self.folder.events_path) as file:
                file.seek(self._read_offset)
                data = file.read(POLL_BYTES)
        except OSError:
            return []
        self._read_offset += len(data)
        *lines, self._incomplete_line = (self._incomplete_line + data).split(b"\n")
        if final and self._incomplete_line and not self._more_to_read():
            lines, self._incomplete_line = [*lines, self._incomplete_line], b""
        self._incomplete_line = self._incomplete_line[-POLL_BYTES:]
        events: list[Event] = []
        for line in lines:
            event = event_from_line(line.decode("ascii", "replace"))
            if event is not None and not self.folder.concerns(event):
                event = None
            if event is not None:
                events.append(event)
            elif line and not self._warned:
                self._warned = True
                events.append(Warned.of(Message("worker_line_passed_over")))
        return events

    def _failure(self) -> Event:
        """Failure of a worker that ended without reporting it."""
        assert self._process is not None
        code = self._process.returncode
        last_line = self._last_log_line()
        refusal = event_from_line(last_line)
        if isinstance(refusal, Failed):
            return refusal
        advice = self.failure_advice
        if code == ExitCode.CANNOT_WRITE:
            return Failed.of(Message("worker_cannot_write", advice=advice))
        if code == -signal.SIGTERM or code == -_SIGKILL:
            return Failed.of(Message("worker_killed", advice=advice))
        if code < 0:
            return Failed.of(Message("worker_crashed", number=-code, advice=advice))
        line = f": {last_line[:300]}" if last_line else ""
        return Failed.of(Message("worker_exited", number=code, line=line, advice=advice))

    def _check_version(self, started: Started) -> Message | None:
        """Message if the started worker has another version or path; None if it is the expected one."""
        if started.version != __version__:
            return Message("worker_other_version", found=started.version, expected=__version__)
        if os.path.normcase(started.path) != os.path.normcase(str(self.script)):
            return Message("worker_other_copy", path=started.path)
        return None

    def _last_log_line(self) -> str:
        """Last line of the worker's log that is not empty."""
        try:
            with open_regular_file(self.folder.log_path) as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - POLL_BYTES))
                lines = log.read(POLL_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        non_empty = [line.strip() for line in lines if line.strip()]
        return non_empty[-1] if non_empty else ""


def run_in_worker(
    folder: JobFolder,
    on_event: Callable[[Event], None],
    python: str = sys.executable,
    drafts_only: bool = False,
    check: Callable[[], object] = lambda: None,
) -> Event:
    """Run a folder in a worker process to its end, and return the last event.

    The first Ctrl+C cancels and keeps finished slices, the second one kills the worker. `check` is called repeatedly;
    its exceptions end the run immediately.
    """
    process = WorkerProcess(folder, python, drafts_only)

    def cancel() -> None:
        process.cancel()
        with contextlib.suppress(OSError):
            folder.request_cancel()  # also where the worker has just ended: what would follow it is cancelled

    try:
        process.start()
        with on_first_interrupt(cancel):
            while process.running:
                check()
                for event in process.poll():
                    on_event(event)
                time.sleep(POLL_SECONDS)
    finally:
        process.kill()
        process.wait(POLL_SECONDS)
    return process.ending or Failed.of(Message("worker_absent"))
