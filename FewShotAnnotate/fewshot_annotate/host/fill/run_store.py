"""RunStore: folders of runs in the user's data folder, where they outlive a crash of the application.

The folder of a run is locked by the process that works on it; the system releases the lock when the process ends,
however it ends. A folder without a lock was left by a crash, or when the scene was closed: its run can be continued.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ...core.data_folder import data_folder
from ...core.disk import unwritable_error
from ...core.locks import open_locked
from ...jobs.process import WorkerProcess
from ..tasks import BackgroundTasks

# Unfinished runs hold a copy of their volume each, so only some are kept.
MAX_STORED_RUNS = 5
PLAN_FILE = "run.json"
# A new folder is locked within this time, so an older one without a lock was left by a crash.
_INCOMPLETE_SECONDS = 60.0
# Maximum time that a removal waits for a lock.
_DELETE_SECONDS = 2.0
# A worker checks many times a second whether it is to stop; one that has not stopped within this time is killed.
_STOP_SECONDS = 3.0
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredRun:
    """A run that no process works on.

    Attributes
    ----------
    run_id : str
    size : int
        Size on disk in bytes.
    changed : float
        Time of the last change, in seconds since 1970.
    """

    run_id: str
    size: int
    changed: float


class RunFolder:
    """Folder of one run, locked by this process until it is released or deleted."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.path = path
        self._lock = lock

    @property
    def run_id(self) -> str:
        """Identifier of the run, unique across computers."""
        return self.path.name

    def release(self) -> None:
        """Release the folder; any process may continue the run."""
        self._lock.close()

    def delete(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()
        _lock_path(self.path).unlink(missing_ok=True)


class RunStore:
    """All runs of this user.

    Parameters
    ----------
    folder : Path or None
        Folder of the runs; None: below the user's data folder, which is determined at each use.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Folder of the runs; it need not exist."""
        return self._folder if self._folder is not None else data_folder() / "runs"

    def create(self) -> RunFolder:
        """An empty folder for a new run. It will hold a patient's images: nobody else may read it.

        Raises
        ------
        InputError
            It cannot be made.
        """
        path = self.folder / uuid.uuid4().hex
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            held = self._hold(path)
        except OSError as error:
            raise unwritable_error(self.folder, error) from None
        assert held is not None
        return held

    def acquire(self, run_id: str) -> RunFolder | None:
        """The folder of an unfinished run; None if there is none of this id or a process works on it."""
        path = self.folder / run_id
        if not self._is_run(run_id):
            return None
        try:
            held = self._hold(path)
        except OSError:
            return None
        if held is not None and not path.is_dir():  # deleted while we waited for the lock
            held.delete()
            return None
        return held

    def interrupted(self) -> list[StoredRun]:
        """Runs that no process works on, the latest first."""
        runs = []
        for path in self._folders():
            held = self.acquire(path.name)
            if held is not None:
                runs.append(_stored_run(path))
                held.release()
        return sorted(runs, key=lambda run: -run.changed)

    def delete(self, run_id: str) -> None:
        """Delete an unfinished run, if it is there; one whose lock is held for longer stays."""
        end = time.monotonic() + _DELETE_SECONDS
        # `interrupted` holds the lock of each run for a moment.
        while (held := self.acquire(run_id)) is None and self._is_run(run_id) and time.monotonic() < end:
            time.sleep(_DELETE_SECONDS / 100)
        if held is not None:
            held.delete()

    def prune(self, most: int = MAX_STORED_RUNS) -> None:
        """Delete the oldest unfinished runs, and folders whose creation was interrupted; never a run in progress."""
        total = 0
        for run in self.interrupted():
            incomplete = not (self.folder / run.run_id / PLAN_FILE).is_file()
            total += not incomplete
            if incomplete and time.time() - run.changed < _INCOMPLETE_SECONDS:
                continue
            if incomplete or total > most:
                self.delete(run.run_id)

    def _is_run(self, run_id: str) -> bool:
        # The id may come from a scene that somebody else made.
        return bool(_ID.fullmatch(run_id)) and (self.folder / run_id).is_dir()

    def _folders(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in sorted(self.folder.iterdir()) if _ID.fullmatch(path.name) and path.is_dir())

    def _hold(self, path: Path) -> RunFolder | None:
        # The lock file is beside the folder, so that the folder can be deleted while the lock is held.
        lock = open_locked(_lock_path(path))
        return RunFolder(path, lock) if lock is not None else None


def _lock_path(path: Path) -> Path:
    return path.with_suffix(".lock")


def _stored_run(path: Path) -> StoredRun:
    size, changed = 0, path.stat().st_mtime
    for file in path.rglob("*"):
        if file.is_file():
            size += file.stat().st_size
            changed = max(changed, file.stat().st_mtime)
    return StoredRun(path.name, size, changed)


def delete_orphaned_runs(store: RunStore) -> None:
    """Delete the runs that an application left when it crashed: they hold copies of a patient's images."""
    for run in store.interrupted():
        store.delete(run.run_id)


def delete_in_background(tasks: BackgroundTasks, process: WorkerProcess | None, held: RunFolder | None) -> None:
    """Cancel a worker, if any, and delete its folder in the background, after all that was started before."""
    if held is not None:
        if process is not None:
            process.cancel()
        tasks.start(partial(_delete_run, process, held))


def _delete_run(process: WorkerProcess | None, held: RunFolder) -> None:
    """Delete a folder once the worker has released it."""
    if process is not None and not process.wait(_STOP_SECONDS):
        process.kill()
        process.wait(_STOP_SECONDS)
    held.delete()
