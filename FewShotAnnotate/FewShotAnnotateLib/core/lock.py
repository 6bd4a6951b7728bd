"""Locks of the system on files, which end with the process that has them, however that ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from . import paths
from .errors import InputError

_ASK_SECONDS = 0.01


def take_lock(file: IO[bytes]) -> bool:
    """Take the system's lock on an open file, or say that another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def lock_file(path: Path) -> IO[bytes] | None:
    """The locked file of this name, made if it is not there; None if another process has it.

    Raises
    ------
    OSError
        It cannot be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = os.fdopen(os.open(path, flags, 0o600), "r+b")
        if not take_lock(file):
            file.close()
            return None
        # Whoever had it may have removed it since it was opened: then the lock is on a file that nobody else finds.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


@contextlib.contextmanager
def new_folder(path: Path, lock_name: str) -> Iterator[bool]:
    """A folder in which something is made while no other process does the same; tells whether the lock was had.

    The folder is made if it is not there. If the block raises, the lock's file and the folders that were made for it
    are removed again, as far as they are empty by then.

    Raises
    ------
    OSError
        It cannot be made or locked.
    """
    missing = [above for above in (path, *path.parents) if not paths.exists(above)]
    lock = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        was_there = os.path.lexists(path / lock_name)
        lock = lock_file(path / lock_name)
        try:
            yield lock is not None
        except BaseException:
            if lock is not None and not was_there:
                _remove_locked(lock, path / lock_name)
            raise
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # another process made it, or is at work in it
                folder.rmdir()
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
def lock_held(path: Path, seconds: float, subject: Path) -> Iterator[None]:
    """Hold the lock on a file, which is made if it is not there; one program at a time gets into the block.

    Parameters
    ----------
    path : Path
        The file; a link is not followed.
    seconds : float
        How long to wait for a program that holds it.
    subject : Path
        What the lock guards, for the message.

    Raises
    ------
    InputError
        Another program still holds it, or it cannot be made.
    """
    end = time.monotonic() + seconds
    try:
        while (file := lock_file(path)) is None:
            if time.monotonic() > end:
                raise InputError("output_unwritable", path=subject, detail="another program holds it")
            time.sleep(_ASK_SECONDS)
    except OSError as error:
        raise InputError("output_unwritable", path=subject, detail=error.strerror) from None
    with file:
        yield
