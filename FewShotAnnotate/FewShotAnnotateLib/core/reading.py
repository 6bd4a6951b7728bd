"""Reading of text and JSON that may be anything: never more than a limit, never from a pipe or a device."""

from __future__ import annotations

import errno
import json
import math
import os
from stat import S_ISDIR, S_ISREG
from typing import IO, Any, NoReturn

from .paths import PathLike

# Far above any table, record or list of names of ours; far below what fills a memory.
MAX_TEXT_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20


def open_file(path: PathLike) -> IO[bytes]:
    """A regular file, opened for reading.

    A pipe may never end or never begin, and a device may never end: neither is waited for.

    Raises
    ------
    OSError
        It cannot be read, or is a folder, a pipe or a device. `strerror` is fit for users.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise OSError(errno.EINVAL, "the name holds a zero byte", str(path)) from None
    try:
        mode = os.fstat(number).st_mode
        if S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device and no file", str(path))
        return os.fdopen(number, "rb")
    except OSError:
        os.close(number)
        raise


def read_bytes(path: PathLike, most: int = MAX_TEXT_BYTES) -> bytes:
    """Content of a regular file of at most `most` bytes.

    Raises
    ------
    OSError
        As `open_file`, or it holds more.
    """
    with open_file(path) as file:
        parts, left = [], most + 1
        while left > 0 and (part := file.read(min(left, _BLOCK_BYTES))):
            parts.append(part)
            left -= len(part)
    if left <= 0:
        raise OSError(errno.EFBIG, f"it holds more than {most} bytes", str(path))
    return b"".join(parts)


def read_text(path: PathLike, encoding: str = "utf-8", most: int = MAX_TEXT_BYTES) -> str:
    """Text of a file, as `read_bytes`.

    Raises
    ------
    OSError
        As `read_bytes`.
    UnicodeDecodeError
        It is not text in this encoding.
    """
    return read_bytes(path, most).decode(encoding)


def parse_json(text: str) -> Any:
    """What a JSON text says; all its numbers are finite.

    Raises
    ------
    ValueError
        It is no JSON, nested too deeply, or holds a number that is not finite or has too many digits.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: PathLike, most: int = MAX_TEXT_BYTES) -> Any:
    """What a JSON file in UTF-8 says, as `read_bytes` and `parse_json`.

    Raises
    ------
    OSError, ValueError
        As those.
    """
    return parse_json(read_text(path, most=most))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value
