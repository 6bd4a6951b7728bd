"""What ITK's NIfTI reader hides: it fills up a truncated file and turns NaN into 0. Found here before it reads."""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np

from .errors import InputError

_BLOCK = 1 << 24


def require_sound_nifti(path: Path, size: int) -> None:
    """Look at a NIfTI-1 file of `size` bytes before ITK reads it; other files are left to the reader.

    Raises
    ------
    InputError
        The file ends too early, its compression is damaged, or a voxel is not finite.
    """
    zipped = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            layout = _nifti_layout(stream.read(348))
            if layout is None:
                return
            kind, start, length = layout
            expected = start + length
            if kind is not None:
                stream.seek(start)
                found = start + _require_finite(stream, kind, length, path)
            elif not zipped:
                found = size
            elif _length_in_trailer(path) == expected % 2**32:
                found = expected
            else:  # the trailer counts the last of several gzip members only, so go there
                found = stream.seek(expected)
    except gzip.BadGzipFile:
        return  # not compressed, or a damaged checksum: left to the reader
    except zlib.error:
        raise InputError("file_unreadable", path=path, detail="its compression is damaged") from None
    except (OSError, EOFError) as error:
        raise InputError("file_truncated", path=path, detail=_first_sentence(error)) from None
    if found < expected:
        raise InputError("file_truncated", path=path, detail=f"{found} of {expected} bytes")


def _nifti_layout(header: bytes) -> tuple[np.dtype | None, int, int] | None:
    """Type of the voxels if it is floating point, first byte and number of bytes; None if it is no NIfTI-1."""
    order = {348: "<"}.get(int.from_bytes(header[:4], "little"), ">")
    if len(header) < 348 or int.from_bytes(header[:4], "little" if order == "<" else "big") != 348:
        return None
    dimensions = [int(size) for size in np.frombuffer(header, f"{order}i2", 8, 40)]
    code, bits = (int(part) for part in np.frombuffer(header, f"{order}i2", 2, 70))
    start = float(np.frombuffer(header, f"{order}f4", 1, 108)[0])
    if not (0 < dimensions[0] <= 7 and 0 <= start < 2**31 and bits > 0):
        return None
    kind = {16: "f4", 64: "f8"}.get(code)
    length = math.prod(dimensions[1 : 1 + dimensions[0]]) * bits // 8
    return np.dtype(order + kind) if kind else None, int(start), length


def _require_finite(stream: io.BufferedIOBase, kind: np.dtype, length: int, path: Path) -> int:
    """Number of bytes read of `length`; raises if a voxel among them is not finite."""
    found = bad = 0
    while block := stream.read(min(_BLOCK, length - found)):
        found += len(block)
        values = np.frombuffer(block, kind, len(block) // kind.itemsize)
        bad += values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError("volume_nan", path=path, count=bad)
    return found


def _length_in_trailer(path: Path) -> int:
    with path.open("rb") as raw:
        raw.seek(-4, os.SEEK_END)
        return int.from_bytes(raw.read(4), "little")


def _first_sentence(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".") or type(error).__name__
