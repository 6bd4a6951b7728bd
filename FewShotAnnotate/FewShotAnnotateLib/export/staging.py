"""Staging: files are made in a hidden folder beside their place and moved there together once they are right."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import InputError


def require_place(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise `InputError` if nothing can be written at `path`: wrong suffix, or a folder without room. No trace."""
    if suffixes and not any(path.name.lower().endswith(end) and len(path.name) > len(end) for end in suffixes):
        raise InputError("suffix_unknown", path=path, allowed=" or ".join(suffixes))
    if suffixes and path.is_dir():
        raise InputError("output_unwritable", path=path, detail="it is a folder")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError("output_unwritable", path=path, detail=error.strerror) from None


@contextlib.contextmanager
def staged(beside: Path) -> Iterator[Path]:
    """A new folder beside `beside`, gone after the block with all that was not moved out of it.

    Raises
    ------
    InputError
        The disk is full or the folder is not writable.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{beside.name}.", dir=beside.parent))
        yield folder
    except OSError as error:
        raise InputError("output_unwritable", path=beside, detail=error.strerror or "it failed") from None
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def move(staged_path: Path, place: Path) -> None:
    """Put a file, or the files of a folder, in their place; files of the same name are replaced.

    Raises
    ------
    OSError
        They cannot be moved.
    """
    if staged_path.is_file():
        staged_path.replace(place)
        return
    place.mkdir(exist_ok=True)
    for file in sorted(staged_path.iterdir()):
        file.replace(place / file.name)
