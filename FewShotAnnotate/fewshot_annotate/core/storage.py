"""Files written atomically in the formats of this program, and temporary folders."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .disk import unwritable_error
from .errors import InputError
from .file_transaction import atomic_stream
from .paths import lexists, require_nameable
from .spreadsheet_cells import escape_formula
from .temporary import TemporaryFolder


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; raises `InputError` if it cannot be written."""
    with atomic_stream(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, line ends unchanged; raises `InputError` if it cannot be written.

    Lone surrogates, as in file names that are not UTF-8, are written as `?`.
    """
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write a JSON file in ASCII; raises `InputError` if it cannot be written."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8 with formulas escaped; raises `InputError` if it cannot be written."""
    write_bytes(path, csv_bytes(head, rows))


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Content of a CSV file in UTF-8 with formulas escaped; lone surrogates become `?`."""
    text = io.StringIO(newline="")
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (head, *rows):
        cells = [escape_formula(cell) if isinstance(cell, str) else cell for cell in row]
        # The csv module does not quote a cell with a carriage return, which readers take for the end of the row.
        (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)
    return text.getvalue().encode("utf-8", "replace")


def require_creatable(path: Path) -> None:
    """Raise `InputError` if a file of this path cannot be created; leaves nothing behind.

    The name is tried in a hidden folder, so that a process killed meanwhile does not leave an empty file at `path`.
    """
    require_nameable(path)
    if os.path.lexists(path):
        return
    try:
        with TemporaryFolder(path.parent) as folder:
            os.close(os.open(folder / path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise unwritable_error(path, error) from None


def require_writable_folder(folder: Path) -> None:
    """Raise `InputError` if nothing can be created in a folder, which may not exist yet; leaves nothing behind."""
    existing = next((path for path in (folder, *folder.parents) if lexists(path)), folder)
    try:
        TemporaryFolder(existing).close()
    except OSError as error:
        raise unwritable_error(folder, error) from None


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Context manager: a temporary folder that is removed at the end of the block.

    Raises
    ------
    InputError
        It cannot be created, or the disk is full.
    """
    parent = os.environ.get("TMPDIR", "the folder for temporary files")
    try:
        with TemporaryFolder() as folder:
            try:
                yield folder
            except InputError as error:
                # Users did not choose the folder, so its random name tells them nothing.
                if error.code == "output_unwritable" and folder in Path(str(error.data["path"])).parents:
                    raise InputError("output_unwritable", path=parent, detail=error.data["detail"]) from None
                raise
    except BrokenPipeError:  # of an output stream whose reader has exited
        raise
    except OSError as error:
        raise unwritable_error(parent, error) from None
