"""WorkerProcess: the host's end of a job folder. Starts, polls, cancels; never blocks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .. import __version__
from ..core.event import ENDINGS, Cancelled, Event, Failed, Started, Warned, event_from_line
from .folder import JobFolder

WORKER_SCRIPT = Path(__file__).resolve().with_name("worker.py")
CANCEL_GRACE_SECONDS = 10.0
# One poll reads no more than this, so that it stays short whatever the worker prints.
POLL_BYTES = 1 << 16


class WorkerProcess:
    """One worker on one folder.

    Parameters
    ----------
    folder : JobFolder
    python : str
        Program that runs the worker: this Python, or Slicer's `PythonSlicer`.
    """

    def __init__(self, folder: JobFolder, python: str = sys.executable) -> None:
        self.folder = folder
        self.ending: Event | None = None
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._worker_pid: int | None = None
        self._announced: Event | None = None
        self._refusal = ""
        self._rest = b""
        self._warned = False
        self._kill_at: float | None = None
        self._read_from = folder.events_path.stat().st_size

    def start(self) -> None:
        """Start the worker. A failure to start is reported by `poll`, like any other."""
        self.folder.clear_cancel()
        command = [self._python, str(WORKER_SCRIPT), str(self.folder.path), "--host-pid", str(os.getpid())]
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            with self.folder.log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    creationflags=hidden,
                    start_new_session=True,
                )
        except OSError as error:
            self.ending = Failed(f"The worker could not be started ({error.strerror}): {self._python}")

    @property
    def running(self) -> bool:
        """Whether the worker was started and its end was not yet seen by `poll`."""
        return self._process is not None and self.ending is None

    def poll(self) -> list[Event]:
        """What happened since the last call; the last event of a run is one of `ENDINGS`. Takes milliseconds."""
        if self._process is None or self.ending is not None:
            return []
        exited = self._process.poll() is not None  # looked at first, so that no line is missed after it
        events = []
        for event in self._new_events(whole=exited):
            if isinstance(event, Started):
                self._worker_pid = event.pid
                self._refusal = _mismatch(event)
            if isinstance(event, ENDINGS):
                self._announced = event
            else:
                events.append(event)
        if self._refusal or (self._kill_at is not None and time.monotonic() > self._kill_at):
            self.kill()
        if exited and not self._more_to_read():
            self.ending = self._how_it_ended()
            events.append(self.ending)
        return events

    def cancel(self, grace: float = CANCEL_GRACE_SECONDS) -> None:
        """Ask the worker to stop; it is killed if it has not after `grace` seconds. Finished slices stay."""
        if self.running and self._kill_at is None:
            self.folder.request_cancel()
            self._kill_at = time.monotonic() + grace

    def kill(self) -> None:
        """End the worker at once: the process itself, then the launcher that may stand before it."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._worker_pid and self._worker_pid not in (0, os.getpid(), self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(self._worker_pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait until the process itself is gone; False if it is not after `seconds`. Not for a GUI thread."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _how_it_ended(self) -> Event:
        if self._refusal:
            return Failed(self._refusal)
        if self._announced is not None:
            return self._announced
        return Cancelled() if self._kill_at is not None else Failed(self._death())

    def _more_to_read(self) -> bool:
        return self.folder.events_path.exists() and self.folder.events_path.stat().st_size > self._read_from

    def _new_events(self, whole: bool) -> list[Event]:
        """Events of complete lines; a line torn by death counts as complete once the worker is gone."""
        try:
            with self.folder.events_path.open("rb") as file:
                file.seek(self._read_from)
                data = file.read(POLL_BYTES)
        except OSError:
            return []
        self._read_from += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if whole and self._rest and not self._more_to_read():
            lines, self._rest = [*lines, self._rest], b""
        self._rest = self._rest[-POLL_BYTES:]
        events: list[Event] = []
        for line in lines:
            event = event_from_line(line.decode("ascii", "replace"))
            if event is not None:
                events.append(event)
            elif not self._warned:
                self._warned = True
                events.append(Warned("The worker wrote a line that is no event; it was passed over."))
        return events

    def _death(self) -> str:
        """One plain sentence about a worker that ended without a word."""
        assert self._process is not None
        code = self._process.returncode
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            how = f"was ended from outside ({name}), often because memory ran out"
        else:
            how = f"ended unexpectedly (code {code}{self._last_words()})"
        return f"The worker process {how}; finished slices are kept and the job can be resumed."

    def _last_words(self) -> str:
        try:
            lines = self.folder.log_path.read_bytes()[-POLL_BYTES:].decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        words = [line.strip() for line in lines if line.strip()]
        return f": {words[-1][:300]}" if words else ""


def _mismatch(started: Started) -> str:
    """Why the worker that started is not ours, or nothing."""
    if started.version != __version__:
        return (
            f"The worker has version {started.version}, this program {__version__}; "
            "restart the application so that both are the same."
        )
    if os.path.normcase(started.path) != os.path.normcase(str(WORKER_SCRIPT)):
        return f"Another copy of the worker started ({started.path}); remove the second installation."
    return ""
