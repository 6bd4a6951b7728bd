"""Streaming of voxels to files, and from files that may be compressed, truncated or damaged."""

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

from ..core.errors import InputError, Message
from ..core.sparse_array import copy_nonzero, sparse_zeros

_BLOCK_BYTES = 1 << 24
# Maximum number of blocks read after the voxels, so that a file that decompresses to much more does not take long.
_BLOCKS_AFTER = 8
_MAX_OFFSET_BYTES = 1 << 48
# The compression ratio of deflate is at most 1032; if more voxels are declared, the file is truncated or damaged.
_DEFLATE_RATIO = 1040
GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
_GZIP_LEVEL = 6
ByteOrder = Literal["<", ">"]
_DAMAGED = Message("compression_damaged")


class Writable(Protocol):
    """Binary stream that can be written."""

    def write(self, data: Any, /) -> Any:
        """Write bytes."""


class Readable(Protocol):
    """Binary stream that can be read."""

    def readinto(self, buffer: Any, /) -> int | None:
        """Read into a buffer; returns the number of bytes read."""

    def read(self, size: int = ..., /) -> bytes | None:
        """Read at most `size` bytes."""


@contextlib.contextmanager
def header_errors_as_input_errors(path: Path) -> Iterator[None]:
    """Context manager: convert errors from missing or malformed header fields to `InputError` with the file name."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, KeyError):
        raise InputError("file_unreadable", path=path, detail=Message("header_damaged")) from None


@contextlib.contextmanager
def file_errors_as_input_errors(path: Path) -> Iterator[None]:
    """Context manager: convert errors of files and decompressors to `InputError` with the file name."""
    try:
        yield
    except EOFError:
        raise InputError("file_truncated", path=path, detail=Message("compression_incomplete")) from None
    except (gzip.BadGzipFile, zlib.error):
        raise InputError("file_unreadable", path=path, detail=_DAMAGED) from None
    except MemoryError:
        raise InputError("image_too_large", path=path) from None
    except OSError as error:
        if error.errno is None:  # raised by bz2 for damaged data
            raise InputError("file_unreadable", path=path, detail=_DAMAGED) from None
        raise InputError("file_unreadable", path=path, detail=error.strerror) from None


def open_decompressed(path: Path) -> io.BufferedIOBase:
    """Open a file for reading, decompressing gzip or bzip2, which are detected from the content."""
    with path.open("rb") as raw:
        magic = raw.read(3)
    if magic.startswith(GZIP_MAGIC):
        return gzip.open(path)
    return bz2.open(path) if magic == BZIP2_MAGIC else path.open("rb")


def is_compressed(stream: io.BufferedIOBase) -> bool:
    """Whether a stream of `open_decompressed` decompresses its file."""
    return isinstance(stream, gzip.GzipFile | bz2.BZ2File)


def read_head(path: Path, length: int, unpacked: bool = True) -> bytes:
    """First bytes of the content; fewer if the file is shorter or its compression is damaged."""
    try:
        with open_decompressed(path) if unpacked else path.open("rb") as stream:
            return stream.read(length)
    except (OSError, EOFError, zlib.error):
        return b""


def require_plausible_size(path: Path, expected: int, available: int, packed: bool) -> None:
    """Check that the voxels that a header declares fit into the file and into memory, before allocating them.

    Parameters
    ----------
    path : Path
        For errors.
    expected, available : int
        Size in bytes of the declared voxels, and of the part of the file that holds them.
    packed : bool
        Whether the file is compressed.

    Raises
    ------
    InputError
        They do not fit.
    """
    if expected > available * (_DEFLATE_RATIO if packed else 1):
        raise InputError(
            "file_truncated", path=path, detail=Message("bytes_for", found=max(0, available), count=expected)
        )
    if expected > memory_bytes():
        raise InputError("image_too_large", path=path)


def read_voxels(stream: Readable, dtype: np.dtype, shape: Sequence[int], path: Path) -> np.ndarray:
    """Read an array from the current position of a stream; returns native byte order.

    Raises
    ------
    InputError
        The stream ends too early, or its compression is damaged.
    """
    with file_errors_as_input_errors(path):
        array = _read_exactly(stream, dtype, shape, path)
        _read_to_end(stream)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_exactly(stream: Readable, dtype: np.dtype, shape: Sequence[int], path: Path) -> np.ndarray:
    array = np.empty(tuple(shape), dtype)
    view = memoryview(array.reshape(-1).view(np.uint8))
    position = 0
    while position < len(view):
        count = stream.readinto(view[position : position + _BLOCK_BYTES])
        if not count:
            raise InputError("file_truncated", path=path, detail=Message("bytes_of", found=position, count=len(view)))
        position += count
    return array


def _read_to_end(stream: Readable) -> None:
    """Read to the end of the stream, because the checksum of a compressed stream is verified there."""
    for _ in range(_BLOCKS_AFTER):
        if not stream.read(_BLOCK_BYTES):
            break


def read_layers(stream: Readable, dtype: np.dtype, shape: Sequence[int], path: Path) -> np.ndarray:
    """Read voxels of several components; the result takes memory only where they are not 0.

    Parameters
    ----------
    stream : Readable
        At the first voxel.
    dtype : numpy.dtype
    shape : (int, int, int, int)
        Number of slices, rows, columns and components, as in the file.
    path : Path
        The file, for errors.

    Returns
    -------
    ndarray, shape [component, k, j, i], native byte order

    Raises
    ------
    InputError
        As of `read_voxels`.
    """
    slices, *size, components = shape
    layers = sparse_zeros((components, slices, *size), dtype.newbyteorder("="))
    with file_errors_as_input_errors(path):
        for k in range(slices):
            slice_values = _read_exactly(stream, dtype, (*size, components), path)
            for layer, values in zip(layers, np.moveaxis(slice_values, -1, 0), strict=True):
                copy_nonzero(layer[k : k + 1], values[None])
        _read_to_end(stream)
    return layers


def slice_buffers(array: np.ndarray) -> Iterator[memoryview]:
    """Little-endian bytes of an array [k, j, i], slice by slice, so that it is never copied as a whole."""
    dtype = array.dtype.newbyteorder("<")
    for slice_values in array:
        yield np.ascontiguousarray(slice_values).astype(dtype, copy=False).data


def gzip_writer(stream: Writable) -> gzip.GzipFile:
    """Writer that compresses to a stream; without name and time, so that equal input gives equal bytes."""
    return gzip.GzipFile("", "wb", _GZIP_LEVEL, cast(BinaryIO, stream), mtime=0)


def skip_to(stream: io.BufferedIOBase, start: int, path: Path) -> None:
    """Seek to an offset in a decompressed stream; raises `InputError` if it is shorter."""
    with file_errors_as_input_errors(path):
        if start > _MAX_OFFSET_BYTES or stream.seek(start) < start:
            raise InputError("file_truncated", path=path, detail=Message("voxels_missing"))


def byte_count(dtype: np.dtype, shape: Sequence[int]) -> int:
    """Size of an array in bytes, without integer overflow."""
    return dtype.itemsize * math.prod(int(size) for size in shape)


def memory_bytes() -> int:
    """Physical memory in bytes, or 1 TiB if it cannot be determined."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 40
