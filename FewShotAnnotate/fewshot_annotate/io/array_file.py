"""Reading and writing of .npy files that may be damaged: header, dtype and length are checked first.

Files are not memory-mapped, so they can be deleted at any time, also on Windows.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..core.reading import open_regular_file

_BLOCK_BYTES = 1 << 24
# The header of NEP 1 in version 1.0 as numpy writes it for real numbers in C order, and nothing else.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|][iufb][1248])', 'fortran_order': False, 'shape': \(((?:\d{1,9},? ?)+)\), \}\s*"
)


@dataclass(frozen=True)
class NpyHeader:
    """Header of an .npy file.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        A real or boolean type.
    start : int
        Offset of the data in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

    @property
    def item_bytes(self) -> int:
        """Size in bytes of one item along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """Minimum size of the whole file in bytes."""
        return self.start + self.shape[0] * self.item_bytes


def read_npy_header(path: Path) -> NpyHeader:
    """Read and check the header of an .npy file.

    NumPy's own reader raises exceptions and warnings of many types for a damaged header.

    Raises
    ------
    ValueError
        It is not an .npy file of real numbers in C order, or is truncated.
    OSError
        It cannot be read.
    """
    with open_regular_file(path) as file:
        return _parse_header(file, path.name)


def npy_from_bytes(data: bytes) -> np.ndarray:
    """Read-only array backed by the bytes of an .npy file; no memory is allocated.

    Raises
    ------
    ValueError
        As for `read_npy_header`.
    """
    header = _parse_header(io.BytesIO(data), "the array")
    return np.frombuffer(data, header.dtype, math.prod(header.shape), header.start).reshape(header.shape)


def _parse_header(file: IO[bytes], name: str) -> NpyHeader:
    start = file.read(10)
    text = file.read(int.from_bytes(start[8:], "little"))
    end = file.seek(0, 2)
    match = _HEADER.fullmatch(text)
    if start[:8] != _MAGIC or match is None:
        raise ValueError(f"{name} is damaged")
    shape = tuple(int(size) for size in match[2].decode().split(",") if size.strip())
    header = NpyHeader(shape, np.dtype(match[1].decode()), len(start) + len(text))
    if end < header.file_bytes:
        raise ValueError(f"{name} is cut short")
    return header


def read_npy(path: Path, first: int = 0, count: int | None = None) -> np.ndarray:
    """Read items of an .npy file along its first axis, all of them by default.

    Parameters
    ----------
    path : Path
    first : int
        Index of the first item.
    count : int, optional
        Number of items; default: all from the first one of the file.

    Returns
    -------
    ndarray, shape [count, ...]

    Raises
    ------
    ValueError, OSError
        As for `read_npy_header`.
    IndexError
        There are no such items.
    """
    header = read_npy_header(path)
    count = header.shape[0] if count is None else count
    if not 0 <= first <= first + count <= header.shape[0]:
        raise IndexError(first)
    shape = (count, *header.shape[1:])
    start = header.start + first * header.item_bytes
    return np.fromfile(path, header.dtype, math.prod(shape), offset=start).reshape(shape)


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an array to a new .npy file; unlike `numpy.save`, this detects a disk that is full at the last bytes.

    Raises
    ------
    OSError
        The disk is full, or the file exists.
    """
    array = np.ascontiguousarray(array)
    with path.open("xb") as file:
        _write_header(file, array.shape, array.dtype)
        file.write(array.reshape(-1).view(np.uint8).data)


def _write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def create_npy(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Create an .npy file of zeros with all its disk blocks allocated (not a sparse file).

    Raises
    ------
    OSError
        The disk is full, or the file exists.
    """
    left = math.prod(shape) * dtype.itemsize
    with path.open("xb") as file:
        _write_header(file, shape, dtype)
        zeros = bytes(min(left, _BLOCK_BYTES))
        while left:
            left -= file.write(zeros[: min(left, _BLOCK_BYTES)])
