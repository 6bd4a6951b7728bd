"""Flushing of files and folders to the disk, and the error for those that cannot be written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError, Message

DISK_FULL = Message("disk_full_or_refuses")


def sync_file(path: Path) -> None:
    """Flush to the disk (fsync) a file that was written by a library.

    Raises
    ------
    OSError
        The disk is full.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk (fsync), where the system supports it."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unwritable_error(path: object, error: OSError) -> InputError:
    """The error for a file that cannot be written, with the reason."""
    return InputError("output_unwritable", path=path, detail=error.strerror or DISK_FULL)


@contextlib.contextmanager
def os_errors_as_unwritable(path: object) -> Iterator[None]:
    """Context manager: convert an `OSError` to the `InputError` that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise unwritable_error(path, error) from None
