"""Writing of results that took long to compute; if the destination cannot be written, they go to another folder."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .disk import DISK_FULL
from .errors import InputError
from .temporary import system_folder

# Folders for results that could not be written to their destination. They are never removed.
KEPT_PREFIX = "fewshot-results-"

# A file to be written, and the function that writes it to a given path.
Result = tuple[Path, Callable[[Path], None]]


def write_results(results: Sequence[Result], *fallbacks: Path) -> None:
    """Write results that took long to compute; those that cannot be written are kept in another folder.

    Parameters
    ----------
    results : sequence of (Path, callable)
        Destination, and a function that writes the result to a given path of the same suffix and raises `InputError`
        if it cannot.
    *fallbacks : Path
        Folders to try first; then the temporary, home and current folders are tried.

    Raises
    ------
    InputError
        A result could not be written to its destination. The error says where it was kept.
    """
    refused: list[tuple[Result, InputError]] = []
    for path, write in results:
        try:
            write(path)
        except InputError as error:
            if error.code != "output_unwritable":
                raise
            refused.append(((path, write), error))
    if not refused:
        return
    first = refused[0][1]
    for parent in (*fallbacks, *_folders_of_the_user()):
        kept_paths = _write_to_new_folder([result for result, _ in refused], parent)
        if kept_paths:
            path, listed = refused[0][0][0], ", ".join(map(str, kept_paths))
            if not path.parent.is_dir():  # such as one that was deleted meanwhile; more room would not help
                raise InputError("output_folder_absent", path=path, kept=listed)
            detail = first.data.get("detail", DISK_FULL)
            raise InputError("output_kept_elsewhere", path=path, detail=detail, kept=listed)
    raise first


def _folders_of_the_user() -> Iterator[Path]:
    """The temporary, home and current folders, where they exist."""
    for folder in (system_folder, Path.home, Path.cwd):
        with contextlib.suppress(OSError, RuntimeError):
            yield folder()


def _write_to_new_folder(results: Sequence[Result], parent: Path) -> list[Path]:
    """Write results to a new folder in `parent`; returns their paths, or none if one cannot be written."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=KEPT_PREFIX, dir=parent))
    except OSError:
        return []
    try:
        kept_paths = [folder / _plain_name(path, number) for number, (path, _) in enumerate(results)]
        for (_, write), kept_path in zip(results, kept_paths, strict=True):
            write(kept_path)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        return []
    return kept_paths


def _plain_name(path: Path, number: int) -> str:
    """A file name valid on any file system, with the same suffixes and unique by number."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "_" for letter in path.name)[-80:]
    return f"{number + 1}-{plain}" if number else plain
