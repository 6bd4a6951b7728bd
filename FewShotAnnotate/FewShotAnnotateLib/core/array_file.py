"""Arrays in .npy files that may be damaged: header, type and length are checked before anything is read.

Files are read and written by plain input and output, so they can be deleted at any time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .reading import open_file

_BLOCK_BYTES = 1 << 24
# The header of NEP 1 in version 1.0 as numpy writes it for real numbers in C order, and nothing else.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|][iufb][1248])', 'fortran_order': False, 'shape': \(((?:\d{1,9},? ?)+)\), \}\s*"
)


@dataclass(frozen=True)
class Layout:
    """What the header of an .npy file says.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        Of real numbers or booleans.
    start : int
        First byte of the data.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

    @property
    def part_bytes(self) -> int:
        """Bytes of one entry along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """Bytes that the whole file must have at least."""
        return self.start + self.shape[0] * self.part_bytes


def layout_of(path: Path) -> Layout:
    """Layout of an .npy file.

    numpy's own reader lets all kinds of exceptions and warnings through for a damaged header.

    Raises
    ------
    ValueError
        It is no .npy file of real numbers in C order, or is cut short.
    OSError
        It cannot be read.
    """
    with open_file(path) as file:
        start = file.read(10)
        header = file.read(int.from_bytes(start[8:], "little"))
        end = file.seek(0, 2)
    found = _HEADER.fullmatch(header)
    if start[:8] != _MAGIC or found is None:
        raise ValueError(f"{path.name} is damaged")
    shape = tuple(int(size) for size in found[2].decode().split(",") if size.strip())
    layout = Layout(shape, np.dtype(found[1].decode()), len(start) + len(header))
    if end < layout.file_bytes:
        raise ValueError(f"{path.name} is cut short")
    return layout


def read_parts(path: Path, first: int = 0, count: int | None = None) -> np.ndarray:
    """Entries of an .npy file along its first axis, all of them by default.

    Raises
    ------
    ValueError, OSError
        As `layout_of`.
    IndexError
        There are no such entries.
    """
    layout = layout_of(path)
    count = layout.shape[0] if count is None else count
    if not 0 <= first <= first + count <= layout.shape[0]:
        raise IndexError(first)
    shape = (count, *layout.shape[1:])
    start = layout.start + first * layout.part_bytes
    return np.fromfile(path, layout.dtype, math.prod(shape), offset=start).reshape(shape)


def allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Write an .npy file of zeros that really occupies its room.

    Raises
    ------
    OSError
        There is no room.
    """
    left = math.prod(shape) * dtype.itemsize
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        zeros = bytes(min(left, _BLOCK_BYTES))
        while left:
            left -= file.write(zeros[: min(left, _BLOCK_BYTES)])
