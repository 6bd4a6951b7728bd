"""Temporary files and folders: names nobody can guess, closed to other users, never left behind for good.

Whoever makes one holds the system's lock on it, which ends with the process, however that ends. What nobody holds was
left by a process that died, and is removed at the next occasion. Where there are no such locks (Windows, some network
drives), age decides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from .interrupts import uninterrupted

# Beside a file that is written, a hidden one; short, so that it fits where a long name fits.
HIDDEN_PREFIX = ".fsa-"
FOLDER_PREFIX = "fewshot-annotate-"
_ATTEMPTS = 100
_ABANDONED_SECONDS = 24 * 3600.0
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class TemporaryFile:
    """A new empty file of an unguessable name, which this process holds.

    Parameters
    ----------
    folder : Path
    suffix : str
        End of its name, by which writers choose the format.

    Attributes
    ----------
    path : Path
        Until `rename` the file is this user's alone.

    Raises
    ------
    OSError
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        remove_abandoned(folder, HIDDEN_PREFIX)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY
        for _ in range(_ATTEMPTS):
            self.path = folder / f"{HIDDEN_PREFIX}{secrets.token_hex(4)}{suffix}"
            with contextlib.suppress(FileExistsError):
                self._descriptor = os.open(self.path, flags, 0o666)
                if _held(self._descriptor, self.path):
                    break
                os.close(self._descriptor)
        else:
            raise FileExistsError(errno.EEXIST, "no name is free", str(folder))
        self._open = True
        self._mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        with contextlib.suppress(OSError):  # a file system without permissions
            self.path.chmod(0o600)

    def open(self) -> IO[bytes]:
        """This very file, to be written, whatever has its name by now."""
        return os.fdopen(os.dup(self._descriptor), "wb", buffering=0)

    def bring_to_disk(self) -> None:
        """Wait until what was written is on the disk and not only in memory.

        Raises
        ------
        OSError
            The disk is full, or the file is no longer the one that was made.
        """
        os.fsync(self._descriptor)
        if not os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
            raise FileExistsError(errno.EEXIST, "another program replaced it", str(self.path))

    def rename(self, path: Path) -> None:
        """Give the file its name and the permissions of any new file, in place of what has that name.

        Raises
        ------
        OSError
        """
        with contextlib.suppress(OSError):  # a file system without permissions
            self.path.chmod(self._mode)
        if os.name == "nt":  # where an open file cannot be renamed
            self._release()
        self.path.replace(path)

    def close(self) -> None:
        """Let go of the file, and remove it if it still has its temporary name."""
        with uninterrupted():
            self._release()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._open:
            os.close(self._descriptor)
        self._open = False


class TemporaryFolder:
    """A new folder for this user alone, gone with all that is in it when it is closed; also for a `with` statement.

    Parameters
    ----------
    place : Path, optional
        Where it is made, hidden; by default in the system's folder for temporary files.

    Attributes
    ----------
    path : Path

    Raises
    ------
    OSError
    """

    def __init__(self, place: Path | None = None) -> None:
        prefix = FOLDER_PREFIX if place is None else HIDDEN_PREFIX
        parent = Path(tempfile.gettempdir()) if place is None else place
        remove_abandoned(parent, prefix)
        for _ in range(_ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._lock = _open_folder(self.path)
            if self._lock is None or _held(self._lock, self.path):
                return
            os.close(self._lock)
        raise FileExistsError(errno.EEXIST, "no name is free", str(parent))

    def close(self) -> None:
        """Remove the folder."""
        with uninterrupted():
            shutil.rmtree(self.path, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_abandoned(folder: Path, prefix: str = FOLDER_PREFIX) -> None:
    """Remove temporary files and folders that died processes of this user left in a folder."""
    try:
        with os.scandir(folder) as listed:
            found = [entry for entry in listed if entry.name.startswith(prefix)]
    except OSError:
        return
    for entry in found:
        with contextlib.suppress(OSError):
            _remove_if_abandoned(Path(entry.path), entry.stat(follow_symlinks=False))


def _remove_if_abandoned(path: Path, about: os.stat_result) -> None:
    is_folder = stat.S_ISDIR(about.st_mode)
    if not (is_folder or stat.S_ISREG(about.st_mode)) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
        return
    lock = _open_folder(path) if is_folder else os.open(path, os.O_RDWR | _NO_FOLLOW | _BINARY)
    try:
        if _taken(lock, about):
            shutil.rmtree(path, ignore_errors=True) if is_folder else path.unlink()
    finally:
        if lock is not None:
            os.close(lock)


def _taken(lock: int | None, about: os.stat_result) -> bool:
    """Whether nobody holds what `lock` is open on; where that cannot be told, whether it is old."""
    try:
        if lock is not None and os.name != "nt":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        pass
    return time.time() - about.st_mtime > _ABANDONED_SECONDS


def _held(lock: int, path: Path) -> bool:
    """Hold a file or folder just made; False if another process, taking it for abandoned, was quicker."""
    if os.name == "nt":
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return path.exists() and os.path.samestat(os.fstat(lock), path.lstat())


def _open_folder(path: Path) -> int | None:
    """A descriptor of a folder itself, None where there is no such thing."""
    if os.name == "nt":
        return None
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_FOLLOW)
