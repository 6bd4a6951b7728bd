"""RunStore: folders of runs in the user's data folder, where they outlive a crash of the application.

A run's folder is held by a lock that the system drops when the process ends, however it ends. A folder that nobody
holds was left by such a process, or by one that closed the scene: its run can be continued.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..core.errors import InputError
from ..core.lock import take_lock
from ..engines.pretrained.weights import HOME_VARIABLE

# Left runs hold a copy of their volume each, so only some are kept.
MOST_LEFT = 5
PLAN_FILE = "run.json"
# Whoever made a folder this long ago and holds no lock is not about to take one.
_TORN_SECONDS = 60.0
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class LeftRun:
    """A run that no process works on.

    Attributes
    ----------
    size : int
        Bytes on disk.
    changed : float
        When something was written last, in seconds since 1970.
    """

    run_id: str
    size: int
    changed: float


class RunFolder:
    """Folder of one run, held by this process until it is left or deleted."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.path = path
        self._lock = lock

    @property
    def run_id(self) -> str:
        """What tells the run from all others, on any computer."""
        return self.path.name

    def leave(self) -> None:
        """Let go of the folder; any process may continue the run."""
        self._lock.close()

    def delete(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()
        Path(self._lock.name).unlink(missing_ok=True)


class RunStore:
    """All runs of this user.

    Parameters
    ----------
    folder : Path or None
        Where they lie; None: below the user's data folder, as it is at each use.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the runs lie; it need not exist."""
        return self._folder if self._folder is not None else user_data_folder() / "runs"

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
            raise InputError("output_unwritable", path=self.folder, detail=error.strerror) from None
        assert held is not None
        return held

    def take(self, run_id: str) -> RunFolder | None:
        """The folder of a left run; None if there is none of this id or a process works on it."""
        path = self.folder / run_id
        # The id may come from a scene that somebody else made.
        if not _ID.fullmatch(run_id) or not path.is_dir():
            return None
        try:
            held = self._hold(path)
        except OSError:
            return None
        if held is not None and not path.is_dir():  # deleted while we waited for the lock
            held.delete()
            return None
        return held

    def left(self) -> list[LeftRun]:
        """Runs that no process works on, the latest first."""
        found = []
        for path in self._folders():
            held = self.take(path.name)
            if held is not None:
                found.append(_look(path))
                held.leave()
        return sorted(found, key=lambda run: -run.changed)

    def live(self) -> list[str]:
        """Ids of the runs that a process works on."""
        left = {run.run_id for run in self.left()}
        return [path.name for path in self._folders() if path.name not in left]

    def delete(self, run_id: str) -> None:
        """Remove a left run, if it is there."""
        held = self.take(run_id)
        if held is not None:
            held.delete()

    def prune(self, most: int = MOST_LEFT) -> None:
        """Remove the oldest of the left runs, and those whose making was interrupted; never one at work."""
        whole = 0
        for run in self.left():
            torn = not (self.folder / run.run_id / PLAN_FILE).is_file()
            whole += not torn
            if torn and time.time() - run.changed < _TORN_SECONDS:
                continue
            if torn or whole > most:
                self.delete(run.run_id)

    def _folders(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in sorted(self.folder.iterdir()) if _ID.fullmatch(path.name) and path.is_dir())

    def _hold(self, path: Path) -> RunFolder | None:
        # The lock lies beside the folder, so that all of the folder can be deleted while it is held.
        lock = path.with_suffix(".lock").open("a+b")
        if take_lock(lock):
            return RunFolder(path, lock)
        lock.close()
        return None


def user_data_folder() -> Path:
    """The user's data folder, where weights lie as well. Slicer's Python need not have platformdirs for it."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named)
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "FewShotAnnotate"


def _look(path: Path) -> LeftRun:
    size, changed = 0, path.stat().st_mtime
    for file in path.rglob("*"):
        if file.is_file():
            size += file.stat().st_size
            changed = max(changed, file.stat().st_mtime)
    return LeftRun(path.name, size, changed)
