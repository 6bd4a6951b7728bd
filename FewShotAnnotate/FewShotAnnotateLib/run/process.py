"""WorkerProcess: the host's end of a job folder. Starts, polls, cancels; never blocks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from .. import __version__
from ..core import paths
from ..core.errors import InputError
from ..core.event import ENDINGS, Cancelled, Event, Failed, Started, Warned, event_from_line
from ..core.reading import open_file
from ..engines.threads import worker_environment
from .folder import CANNOT_WRITE
from .work_folder import WorkFolder

WORKER_SCRIPT = Path(__file__).resolve().with_name("worker.py")
CANCEL_GRACE_SECONDS = 10.0
# One poll reads no more than this, so that it stays short whatever the worker prints.
POLL_BYTES = 1 << 16
_SIGKILL = getattr(signal, "SIGKILL", 9)


class WorkerProcess:
    """One worker on one folder.

    Parameters
    ----------
    folder : WorkFolder
    python : str
        Program that runs the worker: this Python, or Slicer's `PythonSlicer`.
    drafts_only : bool
        Whether the worker ends once the slices are drafted.
    """

    script: ClassVar[Path] = WORKER_SCRIPT
    afterwards: ClassVar[str] = "finished slices are kept and the job can be resumed"

    def __init__(self, folder: WorkFolder, python: str = sys.executable, drafts_only: bool = False) -> None:
        self.folder = folder
        self.ending: Event | None = None
        self._python = python
        self._drafts_only = drafts_only
        self._process: subprocess.Popen[bytes] | None = None
        self._worker_pid: int | None = None
        self._announced: Event | None = None
        self._refusal = ""
        self._rest = b""
        self._warned = False
        self._kill_at: float | None = None
        self._cannot_start: Event | None = None
        self._read_from = paths.size(folder.events_path)

    def start(self) -> None:
        """Start the worker. A failure to start is reported by `poll`, like any other."""
        try:
            self.folder.require_own_files()
            if self.folder.busy():
                raise InputError("job_busy", path=self.folder.path)
        except InputError as refusal:
            self._cannot_start = Failed(str(refusal), refusal.code)
            return
        command = [self._python, str(self.script), str(self.folder.path), "--host-pid", str(os.getpid())]
        command += self._options()
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
            where = error.filename or self._python
            self._cannot_start = Failed(f"The worker could not be started ({error.strerror}): {where}")

    def _options(self) -> list[str]:
        """Further words of the worker's command."""
        return ["--drafts-only"] if self._drafts_only else []

    @property
    def running(self) -> bool:
        """Whether `start` was called and the end was not yet seen by `poll`."""
        return self.ending is None and (self._process is not None or self._cannot_start is not None)

    def poll(self) -> list[Event]:
        """What happened since the last call; the last event of a run is one of `ENDINGS`. Takes milliseconds."""
        if self.ending is None and self._cannot_start is not None:
            self.ending = self._cannot_start
            return [self.ending]
        if self._process is None or self.ending is not None:
            return []
        exited = self._process.poll() is not None  # looked at first, so that no line is missed after it
        events = []
        for event in self._new_events(whole=exited):
            if isinstance(event, Started):
                self._worker_pid = event.pid
                self._refusal = self._mismatch(event)
            if isinstance(event, ENDINGS):
                self._announced = event
                self._kill_at = self._kill_at or time.monotonic() + CANCEL_GRACE_SECONDS
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
            self._kill_at = time.monotonic() + grace
            with contextlib.suppress(OSError):  # a worker that cannot be asked is killed
                self.folder.request_cancel()

    def kill(self) -> None:
        """End the worker at once: the process itself, then the launcher that may stand before it."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._worker_pid and self._worker_pid not in (0, os.getpid(), self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(self._worker_pid, signal.SIGTERM if os.name == "nt" else _SIGKILL)
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
        return Cancelled() if self._kill_at is not None else self._death()

    def _more_to_read(self) -> bool:
        return paths.size(self.folder.events_path) > self._read_from

    def _new_events(self, whole: bool) -> list[Event]:
        """Events of complete lines; a line torn by death counts as complete once the worker is gone."""
        try:
            with open_file(self.folder.events_path) as file:
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
            if event is not None and not self.folder.concerns(event):
                event = None
            if event is not None:
                events.append(event)
            elif line and not self._warned:
                self._warned = True
                events.append(Warned("The worker wrote a line that is no event; it was passed over."))
        return events

    def _death(self) -> Event:
        """One plain sentence about a worker that ended without a word."""
        assert self._process is not None
        code = self._process.returncode
        words = self._last_words()
        refusal = event_from_line(words)
        if isinstance(refusal, Failed):
            return refusal
        if code == CANNOT_WRITE:
            how = "could not write to the job folder, often because the disk is full"
        elif code == -signal.SIGTERM or code == -_SIGKILL:
            how = "was ended from outside, often because memory ran out"
        elif code < 0:
            how = f"crashed (signal {-code})"
        else:
            how = f"ended unexpectedly (code {code}{words and ': '}{words[:300]})"
        return Failed(f"The worker process {how}; {self.afterwards}.")

    def _mismatch(self, started: Started) -> str:
        """Why the worker that started is not ours, or nothing."""
        if started.version != __version__:
            return (
                f"The worker has version {started.version}, this program {__version__}; "
                "restart the application so that both are the same."
            )
        if os.path.normcase(started.path) != os.path.normcase(str(self.script)):
            return f"Another copy of the worker started ({started.path}); remove the second installation."
        return ""

    def _last_words(self) -> str:
        """Last line of the log."""
        try:
            with open_file(self.folder.log_path) as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - POLL_BYTES))
                lines = log.read(POLL_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        words = [line.strip() for line in lines if line.strip()]
        return words[-1] if words else ""
