"""WorkFolder: events, log, lock and cancel request of the folder of a worker process."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from ..core import paths
from ..core.errors import InputError, Message
from ..core.events import Event
from ..core.locks import open_locked

LOCK = "worker.lock"


class WorkFolder(ABC):
    """A folder through which host and worker communicate.

    Parameters
    ----------
    path : Path
        The folder, which is an argument of the worker.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def worker_arguments(self) -> list[str]:
        """Further command line arguments of the worker."""
        return []

    @property
    def events_path(self) -> Path:
        """File to which the worker appends its events."""
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        """File with the worker's stderr."""
        return self.path / "worker.log"

    @property
    def _cancel_path(self) -> Path:
        return self.path / "cancel"

    @abstractmethod
    def concerns(self, event: Event) -> bool:
        """Whether an event can belong to the content of the folder."""

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
        """Context manager: hold the folder's lock, which the system also releases if the process crashes.

        Raises
        ------
        InputError
            Another worker holds it, or it cannot be opened.
        """
        try:
            file = open_locked(self.path / LOCK)
        except OSError as error:
            detail = Message("file_and_reason", file=LOCK, reason=error.strerror)
            raise InputError("job_folder_unreadable", path=self.path, detail=detail) from None
        if file is None:
            raise InputError("job_busy", path=self.path)
        with file:
            yield

    def require_own_files(self) -> None:
        """Raise `InputError` if one of the worker's files is a link, a folder, a pipe or a device."""
        for path in (self.events_path, self.log_path, self._cancel_path, self.path / LOCK):
            if paths.lexists(path) and (paths.is_link(path) or not paths.is_file(path)):
                detail = Message("file_not_plain", file=path.name)
                raise InputError("job_folder_unreadable", path=self.path, detail=detail)

    def busy(self) -> bool:
        """Whether a worker holds the folder's lock."""
        try:
            with self.exclusive():
                return False
        except InputError as error:
            return error.code == "job_busy"
