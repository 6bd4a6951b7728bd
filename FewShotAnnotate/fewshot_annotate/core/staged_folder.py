"""Folders that are written under a hidden name and appear complete, in one step, under their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .disk import sync_folder, unwritable_error
from .errors import InputError
from .file_transaction import count_written
from .signals import defer_signals
from .temporary import TemporaryFolder


@contextlib.contextmanager
def staged_folder(path: Path, permissions_of: Path | None = None) -> Iterator[Path]:
    """Context manager: a hidden folder beside `path`, which gets this name at the end of the block.

    Parameters
    ----------
    path : Path
        A folder that does not exist.
    permissions_of : Path, optional
        Folder whose permissions it gets; by default, only this user can read it.

    Raises
    ------
    InputError
        It cannot be created or renamed, or the disk is full; nothing is left behind.
    """
    with hidden_folder(path, path.parent) as folder:
        yield folder
        rename_folder(folder, path, permissions_of)


@contextlib.contextmanager
def hidden_folder(goal: Path, parent: Path) -> Iterator[Path]:
    """Context manager: a hidden temporary folder in `parent` for what is to become `goal`, which errors name.

    Raises
    ------
    InputError
        It cannot be created, or the disk is full.
    """
    try:
        with TemporaryFolder(parent) as folder:
            try:
                yield folder
            except InputError as error:
                path = error.data.get("path")
                if isinstance(path, Path) and path.is_relative_to(folder):
                    raise error.with_data(path=goal) from None
                raise
    except OSError as error:
        raise unwritable_error(goal, error) from None


def rename_folder(folder: Path, path: Path, permissions_of: Path | None = None) -> None:
    """Give a complete hidden folder its own name; a signal is handled after that.

    Parameters
    ----------
    folder : Path
    path : Path
        A folder that does not exist, on the same file system.
    permissions_of : Path, optional
        As for `staged_folder`.

    Raises
    ------
    OSError
        It cannot be renamed.
    """
    with defer_signals():
        if permissions_of is not None:
            folder.chmod(permissions_of.stat().st_mode & 0o777)
        folder.rename(path)
        count_written(path)
    sync_folder(path.parent)
