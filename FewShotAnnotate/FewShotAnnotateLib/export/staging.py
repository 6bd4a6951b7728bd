"""Staging: files are made in a hidden folder beside their place and moved there together once they are right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from ..core.storage import bring_names_to_disk, bring_to_disk, require_name, unwritable
from ..core.temporary import TemporaryFolder


def require_place(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise `InputError` if nothing can be written at `path`: wrong suffix, or a folder that takes none. No trace."""
    if suffixes and not any(path.name.lower().endswith(end) and len(path.name) > len(end) for end in suffixes):
        raise InputError("suffix_unknown", path=path, allowed=" or ".join(suffixes))
    if suffixes and paths.is_folder(path):
        raise InputError("output_unwritable", path=path, detail="it is a folder")
    require_name(path)


@contextlib.contextmanager
def staged(beside: Path) -> Iterator[Path]:
    """A new folder beside `beside`, gone after the block with all that was not moved out of it.

    Raises
    ------
    InputError
        The disk is full or the folder is not writable.
    """
    try:
        with TemporaryFolder(beside.parent) as folder:
            yield folder
    except OSError as error:
        raise unwritable(beside, error) from None


def move_all(places: Mapping[Path, Path]) -> None:
    """Put staged files, and the files of staged folders, in their places; what was there of that name is replaced.

    Raises
    ------
    OSError
        One cannot be moved; those moved to where nothing was before are removed again.
    """
    new: list[Path] = []
    try:
        for staged_path, place in places.items():
            if staged_path.is_dir():
                if not place.exists():
                    place.mkdir()
                    new.append(place)
                pairs = {file: place / file.name for file in sorted(staged_path.iterdir())}
            else:
                pairs = {staged_path: place}
            for source, goal in pairs.items():
                bring_to_disk(source)
                if not goal.exists():
                    new.append(goal)
                source.replace(goal)
                bring_names_to_disk(goal.parent)
    except OSError:
        for path in reversed(new):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        raise
