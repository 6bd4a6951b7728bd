"""ReviewLock: one person at a time reviews a case."""

from __future__ import annotations

import contextlib
import getpass
import socket
from typing import IO

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError, Message
from ..core.locks import open_locked, share_lock
from ..core.reading import read_text
from .case_files import CaseFiles

_LOCK = ".review.lock"
_MAX_NAME_BYTES = 200


class ReviewLock:
    """The lock of a case, held until `release` or until this process ends; its file names the reviewer.

    Parameters
    ----------
    files : CaseFiles
        Their folder exists.

    Raises
    ------
    InputError
        Somebody else reviews the case, or its folder cannot be written.
    """

    def __init__(self, files: CaseFiles) -> None:
        path = files.folder / _LOCK
        try:
            lock = open_locked(path)
        except OSError as error:
            raise unwritable_error(files.folder, error) from None
        if lock is None:
            reviewer = reviewer_of(files) or Message("somebody_else")
            raise InputError("case_in_review", name=files.folder.name, reviewer=reviewer)
        share_lock(path)
        self._file: IO[bytes] = lock
        self._write(reviewer_name().encode("utf-8", "replace")[:_MAX_NAME_BYTES])

    def release(self) -> None:
        """Let others review the case."""
        if not self._file.closed:
            self._write(b"")
            with contextlib.suppress(OSError):  # closing retries the write that found no room
                self._file.close()

    def _write(self, name: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.truncate(0)
            self._file.write(name)
            self._file.flush()


def reviewer_of(files: CaseFiles) -> Message | str:
    """Who holds the lock of a case, as USER@COMPUTER; empty if nobody does."""
    path = files.folder / _LOCK
    if not paths.is_plain_file(path):
        return ""
    try:
        lock = open_locked(path)
        if lock is not None:
            lock.close()
            return ""
        return read_text(path, max_bytes=_MAX_NAME_BYTES) or Message("somebody_else")
    except (OSError, UnicodeDecodeError):
        return ""


def reviewer_name() -> str:
    """Who reviews, as USER@COMPUTER."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
