"""Exclusive file locks of the operating system, which end with the process that holds them.

The package filelock is not used, because Slicer does not come with it, and because it accepts a named pipe as a lock
file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .disk import unwritable_error
from .errors import InputError, Message
from .new_folder import new_folder

_POLL_SECONDS = 0.01


def lock_descriptor(descriptor: int) -> bool | None:
    """Lock an open file or folder.

    Returns
    -------
    bool or None
        False if another process holds the lock, None if the file system has no locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if os.name == "nt" or isinstance(error, BlockingIOError) else None
    return True


def open_locked(path: Path) -> IO[bytes] | None:
    """Open and lock a file, created if missing; returns None if another process holds the lock.

    Raises
    ------
    OSError
        It cannot be opened, is not a regular file, or its file system has no locks. `strerror` can be shown to users.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)
    while True:
        number = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise OSError(errno.EINVAL, Message("lock_is_pipe_or_device"), str(path))
        file = os.fdopen(number, "r+b")
        locked = lock_descriptor(file.fileno())
        if not locked:
            file.close()
            if locked is None:
                raise OSError(errno.ENOLCK, Message("no_locks"), str(path))
            return None
        # The previous holder may have removed the file since it was opened; then the lock protects nothing.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def share_lock(path: Path) -> None:
    """Give a lock file the permissions of its folder, so that all who may change files there can hold it."""
    with contextlib.suppress(OSError):  # it belongs to another user, whose process has set them already
        path.chmod(path.parent.stat().st_mode & 0o666)


@contextlib.contextmanager
def locked_folder(path: Path, lock_name: str) -> Iterator[bool]:
    """Context manager: create a folder that only the user can read, and lock it; yields whether it was locked.

    If the block raises, the lock file and the folders created here are removed again if they are empty.

    Raises
    ------
    OSError
        It cannot be created or locked.
    """
    with new_folder(path, 0o700):  # such folders hold images of patients
        existed = os.path.lexists(path / lock_name)
        lock = open_locked(path / lock_name)
        try:
            yield lock is not None
        except BaseException:
            if lock is not None and not existed:
                _remove_locked(lock, path / lock_name)
            raise
        finally:
            if lock is not None:
                lock.close()


def _remove_locked(lock: IO[bytes], path: Path) -> None:
    if os.name == "nt":  # an open file cannot be removed there
        lock.close()
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def file_lock(path: Path, seconds: float, subject: Path) -> Iterator[None]:
    """Context manager: hold the lock on a file, created if missing, for the time of the block.

    Parameters
    ----------
    path : Path
        The lock file; a link is not followed.
    seconds : float
        How long to wait for another process to release it.
    subject : Path
        What the lock protects, for the error message.

    Raises
    ------
    InputError
        Another process still holds it, or it cannot be created.
    """
    end = time.monotonic() + seconds
    try:
        while (file := open_locked(path)) is None:
            if time.monotonic() > end:
                raise InputError("output_unwritable", path=subject, detail=Message("held_by_another_program"))
            time.sleep(_POLL_SECONDS)
    except OSError as error:
        raise unwritable_error(subject, error) from None
    with file:
        yield
