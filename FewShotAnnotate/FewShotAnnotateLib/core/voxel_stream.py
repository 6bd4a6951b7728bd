"""Voxels to files, and from files that may be compressed, cut off or damaged or declare more than they hold."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

import numpy as np

from .errors import InputError

_BLOCK = 1 << 24
# What may lie behind the voxels; a file that unpacks to much more is left there.
_BLOCKS_AFTER = 8
_MAX_OFFSET = 1 << 48
# Deflate can't pack more than 1032 bytes into one, so a file that claims more is cut off or lies.
_DEFLATE_RATIO = 1040
GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
_GZIP_LEVEL = 6
ByteOrder = Literal["<", ">"]
_DAMAGED = "its compression is damaged"


class Writable(Protocol):
    """A stream to write to."""

    def write(self, data: Any, /) -> Any: ...


class Readable(Protocol):
    """A stream to read from."""

    def readinto(self, buffer: Any, /) -> int | None: ...

    def read(self, size: int = ..., /) -> bytes | None: ...


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns what Python's decompressors and files raise into `InputError`."""
    try:
        yield
    except EOFError:
        raise InputError("file_truncated", path=path, detail="its compressed part is not complete") from None
    except (gzip.BadGzipFile, zlib.error):
        raise InputError("file_unreadable", path=path, detail=_DAMAGED) from None
    except MemoryError:
        raise InputError("image_too_large", path=path) from None
    except OSError as error:
        if error.errno is None:  # bz2 says so of damaged data
            raise InputError("file_unreadable", path=path, detail=_DAMAGED) from None
        raise InputError("file_unreadable", path=path, detail=error.strerror) from None


def open_unpacked(path: Path) -> io.BufferedIOBase:
    """The content of a file, gzip or bzip2 compression taken off, whatever the name ends in."""
    with path.open("rb") as raw:
        magic = raw.read(3)
    if magic.startswith(GZIP_MAGIC):
        return gzip.open(path)
    return bz2.open(path) if magic == BZIP2_MAGIC else path.open("rb")


def is_packed(stream: io.BufferedIOBase) -> bool:
    """Whether a stream of `open_unpacked` takes off a compression."""
    return isinstance(stream, gzip.GzipFile | bz2.BZ2File)


def head_of(path: Path, length: int, unpacked: bool = True) -> bytes:
    """The first bytes of the content; fewer if there are no more or the compression is damaged."""
    try:
        with open_unpacked(path) if unpacked else path.open("rb") as stream:
            return stream.read(length)
    except (OSError, EOFError, zlib.error):
        return b""


def require_plausible(path: Path, expected: int, available: int, packed: bool) -> None:
    """Refuse a header that declares more than the file can hold or the computer can take, before memory is taken.

    Parameters
    ----------
    expected, available : int
        Bytes of voxels that the header declares, and bytes of the file that may hold them.
    packed : bool
        Whether those are compressed.

    Raises
    ------
    InputError
    """
    if expected > available * (_DEFLATE_RATIO if packed else 1):
        raise InputError("file_truncated", path=path, detail=f"{max(0, available)} bytes for {expected}")
    if expected > memory_bytes():
        raise InputError("image_too_large", path=path)


def read_voxels(stream: Readable, kind: np.dtype, shape: Sequence[int], path: Path) -> np.ndarray:
    """Array of `kind` and `shape` from the stream's place, in the computer's byte order.

    Raises
    ------
    InputError
        The stream ends too early, or its compression is damaged.
    """
    with damage_named(path):
        array = np.empty(tuple(shape), kind)
        view = memoryview(array.reshape(-1).view(np.uint8))
        found = 0
        while found < len(view):
            count = stream.readinto(view[found : found + _BLOCK])
            if not count:
                raise InputError("file_truncated", path=path, detail=f"{found} of {len(view)} bytes")
            found += count
        for _ in range(_BLOCKS_AFTER):  # at the end of a compressed stream its checksum is compared
            if not stream.read(_BLOCK):
                break
    return array.astype(kind.newbyteorder("="), copy=False)


def planes(array: np.ndarray) -> Iterator[memoryview]:
    """Bytes of an array slice by slice, so that it is never copied as a whole; little endian."""
    kind = array.dtype.newbyteorder("<")
    for plane in array:
        yield np.ascontiguousarray(plane).astype(kind, copy=False).data


def gzip_writer(stream: Writable) -> gzip.GzipFile:
    """Compresses what is written; with neither name nor time, the same input gives the same bytes."""
    return gzip.GzipFile("", "wb", _GZIP_LEVEL, cast(BinaryIO, stream), mtime=0)


def skip_to(stream: io.BufferedIOBase, start: int, path: Path) -> None:
    """Go to a byte of the unpacked stream."""
    with damage_named(path):
        if start > _MAX_OFFSET or stream.seek(start) < start:
            raise InputError("file_truncated", path=path, detail="its voxels are missing")


def byte_count(kind: np.dtype, shape: Sequence[int]) -> int:
    """Bytes of an array, however large, without overflow."""
    return kind.itemsize * math.prod(int(size) for size in shape)


def memory_bytes() -> int:
    """Memory of this computer, or more than any image needs where it cannot be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 40
