"""Staging of files in a hidden folder next to their destination, to which they are moved together once verified."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core import paths
from ..core.disk import sync_file, unwritable_error
from ..core.errors import InputError, Message
from ..core.file_transaction import FileTransaction
from ..core.signals import defer_signals
from ..core.staged_folder import hidden_folder, rename_folder
from ..core.storage import require_creatable
from ..core.text import any_of
from ..io.label_names import move_label_map, sidecar_path


def require_destination(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise `InputError` if `path` cannot be written, or has a wrong suffix; leaves nothing behind."""
    if suffixes and not any(path.name.lower().endswith(end) and len(path.name) > len(end) for end in suffixes):
        raise InputError("suffix_unknown", path=path, allowed=any_of(suffixes))
    if suffixes and paths.is_folder(path):
        raise InputError("output_unwritable", path=path, detail=Message("is_folder"))
    require_creatable(path)


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Context manager: a new hidden folder next to the destination, removed after the block.

    Raises
    ------
    InputError
        The disk is full or the folder is not writable.
    """
    with hidden_folder(destination, destination.parent) as folder:
        yield folder


def move_all(destinations: Mapping[Path, Path]) -> None:
    """Move staged files and folders to their destinations; existing files of the same name are replaced.

    A new folder appears complete, in one step, and only the user can read it. Label maps are replaced together with
    the names of their labels.

    Raises
    ------
    InputError
        One of them cannot be moved; new folders are removed again.
    """
    new: list[Path] = []
    try:
        for staged_path, destination in destinations.items():
            if staged_path.is_dir() and not paths.lexists(destination):
                for file in staged_path.iterdir():
                    sync_file(file)
                with defer_signals():
                    rename_folder(staged_path, destination)
                    new.append(destination)
        _move_files({source: target for pair in destinations.items() for source, target in _files_of(*pair)})
    except (OSError, InputError) as error:
        for path in new:
            shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, InputError):
            raise
        raise unwritable_error(next(iter(destinations.values())), error) from None


def _files_of(staged_path: Path, destination: Path) -> list[tuple[Path, Path]]:
    """The files that are still to be moved, each with its destination."""
    if staged_path.is_dir():
        return [(file, destination / file.name) for file in sorted(staged_path.iterdir())]
    return [(staged_path, destination)] if staged_path.exists() else []


def _move_files(destinations: Mapping[Path, Path]) -> None:
    names = {sidecar_path(file) for file in destinations}
    with FileTransaction() as files:
        for source, target in destinations.items():
            if source not in names:
                move_label_map(files, source, target)
