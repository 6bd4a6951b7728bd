"""Reading of untrusted text and JSON files: bounded in size, regular files only, one error for damaged content.

JSON is converted by hand: the libraries that do it (pydantic, cattrs, msgspec) are not in Slicer's Python, where runs
and scenes are read before anything is installed.
"""

from __future__ import annotations

import errno
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from stat import S_ISDIR, S_ISREG
from typing import IO, Any, NoReturn, TypeVar
from zipfile import BadZipFile

from .errors import Message
from .paths import PathLike

Content = TypeVar("Content")
Key = TypeVar("Key")

# Errors that damaged JSON causes while it is converted to objects of this program. `InputError` is a `ValueError`.
_DATA_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
# Further errors of the readers of damaged .zip, .npy and torch files.
_ARCHIVE_ERRORS = (
    *_DATA_ERRORS,
    *(BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, SyntaxError),
)

# Far above the size of any table or record of this program, and far below the memory of a computer.
MAX_TEXT_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
# Errors that say nothing about what a file holds.
_SYSTEM_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES, errno.EPERM)


class DamagedContentError(ValueError):
    """Content that this program cannot have written, or not in this version."""


class ListedTwiceError(DamagedContentError):
    """Two entries of a list are about the same, such as a label value with two names, so that one would be lost."""

    def __init__(self, entry: object) -> None:
        super().__init__(f"{entry!r} is listed twice")
        self.entry = str(entry)


@contextmanager
def decoding() -> Iterator[None]:
    """Context manager: convert the exceptions that damaged JSON causes to `DamagedContentError`.

    Errors of the operating system, such as a missing file, are not converted.
    """
    try:
        yield
    except ListedTwiceError:
        raise
    except _DATA_ERRORS as error:
        raise DamagedContentError(_first_line(error)) from error


@contextmanager
def decoding_archive() -> Iterator[None]:
    """As `decoding`, for .zip, .npy and torch files."""
    try:
        yield
    except _ARCHIVE_ERRORS as error:
        raise DamagedContentError(_first_line(error)) from error


def system_error(error: BaseException | None) -> OSError | None:
    """The error of the system that led to another one, such as too many open files; None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
            return error
        error = error.__cause__ or error.__context__
    return None


def open_regular_file(path: PathLike) -> IO[bytes]:
    """Open a regular file for reading.

    Pipes and devices are refused without blocking, as they may never begin or end.

    Raises
    ------
    OSError
        It cannot be read, or is a folder, a pipe or a device. `strerror` can be shown to users.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise OSError(errno.EINVAL, Message("name_holds_zero_byte"), str(path)) from None
    try:
        mode = os.fstat(number).st_mode
        if S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, Message("is_folder"), str(path))
        if not S_ISREG(mode):
            raise OSError(errno.EINVAL, Message("is_pipe_or_device"), str(path))
        return os.fdopen(number, "rb")
    except OSError:
        os.close(number)
        raise


def read_bytes(path: PathLike, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Read a regular file of at most `max_bytes` bytes.

    Raises
    ------
    OSError
        As for `open_regular_file`, or the file is larger.
    """
    with open_regular_file(path) as file:
        blocks, left = [], max_bytes + 1
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            blocks.append(block)
            left -= len(block)
    if left <= 0:
        raise OSError(errno.EFBIG, Message("file_longer", count=max_bytes), str(path))
    return b"".join(blocks)


def read_text(path: PathLike, encoding: str = "utf-8", max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a text file of at most `max_bytes` bytes.

    Raises
    ------
    OSError
        As for `read_bytes`.
    UnicodeDecodeError
        It is not text of this encoding.
    """
    return read_bytes(path, max_bytes).decode(encoding)


def unique(pairs: Iterable[tuple[Key, Content]]) -> dict[Key, Content]:
    """A dict of pairs; raises `ListedTwiceError` if a key is given twice."""
    result: dict[Key, Content] = {}
    for key, content in pairs:
        if key in result:
            raise ListedTwiceError(key)
        result[key] = content
    return result


def parse_json(text: str, of_pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse JSON; numbers that are not finite are refused.

    Parameters
    ----------
    text : str
    of_pairs : function, optional
        Makes an object of its keys and values, such as `unique`; by default the last of equal keys counts.

    Raises
    ------
    ValueError
        It is not JSON, is nested too deeply, or holds a number that is not finite or has too many digits.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=of_pairs)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: PathLike, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises
    ------
    OSError, ValueError
        As for `read_bytes` and `parse_json`.
    """
    return parse_json(read_text(path, "utf-8-sig", max_bytes))


def read_json_as(path: PathLike, convert: Callable[[Any], Content]) -> Content:
    """Read a JSON file and convert its content.

    Raises
    ------
    OSError
        As for `read_bytes`.
    DamagedContentError
        It is not JSON, or `convert` refuses it.
    """
    return json_as(read_bytes(path), convert)


def json_as(content: bytes, convert: Callable[[Any], Content]) -> Content:
    """Convert the content of a JSON file.

    Raises
    ------
    DamagedContentError
        It is not JSON, or `convert` refuses it.
    """
    with decoding():
        return convert(parse_json(content.decode("utf-8-sig")))


def _first_line(error: Exception) -> str:
    """What is wrong with the content, in one line that a user can read."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding.removesuffix('-sig').upper()} text"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON (line {error.lineno}, column {error.colno})"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value
