"""Detached data files of a header file: a single one, or several that the header lists or numbers.

Several files are checked before ITK opens them: it hangs if one of them is a named pipe, and leaves voxels
uninitialised if one is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from ..core import paths
from ..core.errors import InputError, Message
from ..core.numbers import int_or_none
from .voxel_stream import file_errors_as_input_errors

# More files than any scanner writes for one series.
_MAX_FILES = 100_000
_LONGEST_NAME, _SHOWN_LETTERS = 255, 60
_NUMBERED = re.compile(r"([^%]*)%(0?)(\d{0,2})d([^%]*)")


def require_data_files(path: Path, text: str, listed: Sequence[str], sizes: Sequence[int], file_bytes: int) -> None:
    """Check that all data files of an image exist and are large enough.

    Parameters
    ----------
    path : Path
        The header file; data files are relative to its folder.
    text : str
        `LIST`, or a file name pattern with first number, last number and step, such as `slice%03d.raw 1 20 1`.
        Either may be followed by the number of axes stored in one file.
    listed : sequence of str
        The lines after the header.
    sizes : sequence of int
        Sizes of the axes, the fastest-varying first.
    file_bytes : int
        Minimum size in bytes of all data files together.

    Raises
    ------
    InputError
        A file is missing or too small, or the header is malformed.
    """
    fields = text.split()
    is_list = fields[0].upper() == "LIST"
    axes = fields[1:] if is_list else fields[4:]
    number = int_or_none(axes[0].rstrip("dD")) if axes else len(sizes) - 1
    names = list(listed) if is_list else _numbered(fields)
    if number is None or not 0 < number <= len(sizes) or names is None:
        raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))
    count = math.prod(sizes[number:])
    if count > min(len(names), _MAX_FILES):
        raise InputError(
            "file_truncated", path=path, detail=Message("files_of_voxels", found=len(names), count=count)
        )
    for name in names[:count]:
        file, size = data_file(path, name.strip())
        if size * count < file_bytes:
            raise InputError("file_truncated", path=file, detail=Message("bytes_found", count=size))


def listed_names(path: Path, start: int, max_bytes: int) -> list[str]:
    """The lines after a header of `start` bytes, which name the data files."""
    with file_errors_as_input_errors(path), path.open("rb") as stream:
        stream.seek(start)
        return stream.read(max_bytes).decode("utf-8", "surrogateescape").splitlines()


def data_file(path: Path, name: str) -> tuple[Path, int]:
    """Path and size in bytes of the data file that the header file `path` names.

    Raises
    ------
    InputError
        It is missing.
    """
    file = path.parent / name
    if not paths.is_file(file):
        raise missing_data_file(path, name)
    return file, paths.size(file)


def missing_data_file(path: Path, name: str) -> InputError:
    """The error for a missing data file that a header names; text that is too long for a file name is shortened."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_SHOWN_LETTERS]}..."
    return InputError("partner_missing", path=path, partner=shown)


def _numbered(fields: Sequence[str]) -> list[str] | None:
    """File names of a numbered pattern; None if it is malformed."""
    match = _NUMBERED.fullmatch(fields[0])
    numbers = [int_or_none(field) for field in fields[1:4]]
    if len(numbers) == 2:
        numbers.append(1)
    if match is None or len(numbers) < 3 or None in numbers:
        return None
    first, last, step = (int(number or 0) for number in numbers)
    if step == 0 or (last - first) // step >= _MAX_FILES:
        return None
    before, fill, width, after = match.groups()
    form = f"{fill}{width}d"
    return [f"{before}{number:{form}}{after}" for number in range(first, last + (1 if step > 0 else -1), step)]
