"""WorkFolder: events, log, lock and cancel request of a folder that a worker process runs on."""

from __future__ import annotations

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from ..core.events import Event
from ..core.locks import open_locked

LOCK = "worker.lock"


class WorkFolder(ABC):
    """A folder that a worker is started on and followed in.

    Parameters
    ----------
    path : Path
        The folder; the worker is started with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def worker_arguments(self) -> list[str]:
        """Further words of the command that starts a worker on this folder."""
        return []

    @property
    def events_path(self) -> Path:
        """Where the worker appends its events."""
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        """Where the worker's stderr goes."""
        return self.path / "worker.log"

    @property
    def _cancel_path(self) -> Path:
        return self.path / "cancel"

    @abstractmethod
    def concerns(self, event: Event) -> bool:
        """Whether an event can be about what is in the folder."""

    def request_cancel(self) -> None:
        """Ask the worker to stop."""
        with contextlib.suppress(FileExistsError):
            self._cancel_path.open("xb").close()  # without following a link

    def clear_cancel(self) -> None:
        """Remove an earlier request to stop."""
        self._cancel_path.unlink(missing_ok=True)

    def cancel_requested(self) -> bool:
        """Whether the worker should stop."""
        return paths.lexists(self._cancel_path)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder's lock; the system drops it when the process ends, however it ends.

        Raises
        ------
        InputError
            Another worker holds it, or it cannot be opened.
        """
        try:
            file = open_locked(self.path / LOCK)
        except OSError as error:
            detail = f"{LOCK}: {error.strerror}"
            raise InputError("job_folder_unreadable", path=self.path, detail=detail) from None
        if file is None:
            raise InputError("job_busy", path=self.path)
        with file:
            yield

    def require_own_files(self) -> None:
        """Raise `InputError` if a link, a folder, a pipe or a device is where a worker's own file belongs."""
        for path in (self.events_path, self.log_path, self._cancel_path, self.path / LOCK):
            if paths.lexists(path) and (paths.is_link(path) or not paths.is_file(path)):
                detail = f"{path.name} is no plain file"
                raise InputError("job_folder_unreadable", path=self.path, detail=detail)

    def busy(self) -> bool:
        """Whether a worker holds the folder at this moment."""
        try:
            with self.exclusive():
                return False
        except InputError as error:
            return error.code == "job_busy"

    def delete(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
