"""ChildProcess: one background process of a data set, started and followed by the panel's timer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...core.data_folder import data_folder
from ...core.errors import Message
from ...core.events import Cancelled, Event, Failed, Finished, Progress
from ...datasets.background import RequestFolder
from ...jobs.process import WorkerProcess
from ..fill.run_store import RunFolder, RunStore, delete_in_background, delete_orphaned_runs
from ..tasks import BackgroundTasks


class ChildProcess:
    """Runs one request at a time.

    Parameters
    ----------
    make : function
        Takes a folder and the Python executable, and returns the process.
    python : str
        Program that runs it.

    Attributes
    ----------
    progress : Progress or None
        Progress of the process; None before its first report.
    error : Message or str or None
        Why the last one failed.
    stopped : bool
        Whether the last one was stopped before its end.
    """

    def __init__(self, make: Callable[[RequestFolder, str], WorkerProcess], python: str = sys.executable) -> None:
        self.progress: Progress | None = None
        self.error: Message | str | None = None
        self.stopped = False
        self._make = make
        self._python = python
        self._tasks = BackgroundTasks("Child")
        self._held: RunFolder | None = None
        self._process: WorkerProcess | None = None

    @property
    def busy(self) -> bool:
        """Whether a process runs."""
        return self._process is not None

    def start(self, request: Mapping[str, Any]) -> None:
        """Start the process of a request, if none runs.

        Raises
        ------
        InputError
            Its folder cannot be written.
        """
        if self.busy:
            return
        self.progress, self.error, self.stopped = None, None, False
        store = RunStore(data_folder() / "background")
        self._held = store.create()
        try:
            folder = RequestFolder(self._held.path)
            folder.write_request(request)
        except BaseException:
            self._held.delete()
            self._held = None
            raise
        self._tasks.start(partial(delete_orphaned_runs, store))
        self._process = self._make(folder, self._python)
        self._process.start()

    def poll(self) -> bool:
        """Follow the process; True if something was reported. Takes milliseconds, and nothing if none runs."""
        process = self._process
        if process is None:
            return False
        events = process.poll()
        for event in events:
            self._handle_event(event)
        if process.ending is not None:
            self._release()
        return bool(events)

    def cancel(self) -> None:
        """Ask the process to stop; it ends a little later."""
        if self._process is not None:
            self._process.cancel()

    def close(self) -> None:
        """Stop the process; it is killed if it does not end within a moment."""
        self.cancel()
        self._release()
        self._tasks.close()

    def _handle_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Failed):
            self.error = event.content
        elif isinstance(event, Cancelled):
            self.stopped = True
        elif isinstance(event, Finished):
            self.progress = None

    def _release(self) -> None:
        process, self._process = self._process, None
        held, self._held = self._held, None
        delete_in_background(self._tasks, process, held)
