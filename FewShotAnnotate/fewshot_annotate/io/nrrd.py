"""Reading and writing of NRRD files, with data attached or, for reading, detached."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..core.errors import InputError, Message
from ..core.numbers import int_or_none
from ..core.volume import Geometry
from .data_files import data_file, listed_names, require_data_files
from .image_file import ImageFile, UnsupportedFeatureError
from .itk_geometry import geometry_of_stub
from .nrrd_header import MAX_HEADER_BYTES, TYPE_NAMES, NrrdHeader, geometry_fields, layout, parse_header, stub_file
from .voxel_stream import (
    Writable,
    byte_count,
    file_errors_as_input_errors,
    gzip_writer,
    header_errors_as_input_errors,
    read_layers,
    read_voxels,
    require_plausible_size,
    skip_to,
    slice_buffers,
)

MAGIC = b"NRRD00"
# Maximum length of a line that is skipped before the voxels.
_MAX_LINE_BYTES = 1 << 20
# Text and hex encoding are read in blocks of this size; a voxel has at most as many characters as a token.
_TEXT_BLOCK_BYTES = 1 << 16
_MAX_TOKEN_BYTES = 64
_ENCODINGS = {
    **dict.fromkeys(("raw",), "raw"),
    **dict.fromkeys(("gzip", "gz"), "gzip"),
    **dict.fromkeys(("bzip2", "bz2"), "bzip2"),
    **dict.fromkeys(("text", "txt", "ascii"), "text"),
    "hex": "hex",
}


def read_nrrd(path: Path, size: int) -> ImageFile:
    """Read voxels, geometry and key/value pairs of an NRRD file of `size` bytes, with attached or detached data.

    Raises
    ------
    InputError
        It is not a single 3D volume, is truncated or damaged, or the header defines no geometry.
    UnsupportedFeatureError
        The data are in several files, or the geometry is defined by axis mins and axis maxs.
    """
    with file_errors_as_input_errors(path), path.open("rb") as stream:
        fields, metadata = parse_header(stream, path)
        start = stream.tell()
    with header_errors_as_input_errors(path):
        dtype, sizes, axis = layout(fields, path)
        header = NrrdHeader(geometry_fields(fields, axis))
        stub = stub_file(header)
    shape = tuple(reversed(sizes))
    spatial = tuple(size for number, size in enumerate(sizes) if number != axis)[::-1]
    geometry = geometry_of_stub(stub, ".nrrd", spatial, path, header)
    array = _voxels(path, size, start, fields, dtype, shape)
    if axis is not None:
        array = np.moveaxis(array, len(sizes) - 1 - axis, -1)
        array = array[..., 0] if array.shape[-1] == 1 else array
    return ImageFile(array, geometry, metadata)


def write_nrrd(stream: Writable, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` [k, j, i] compressed, with the header of `geometry` if it came from an NRRD file."""
    header = geometry.header if isinstance(geometry.header, NrrdHeader) else NrrdHeader.of_geometry(geometry)
    lines = [
        "NRRD0005",
        f"type: {TYPE_NAMES[array.dtype]}",
        "dimension: 3",
        *(f"{name}: {text}" for name, text in header.fields if name in ("space", "space dimension")),
        "sizes: " + " ".join(str(size) for size in reversed(array.shape)),
        *(f"{name}: {text}" for name, text in header.fields if name not in ("space", "space dimension")),
        "endian: little",
        "encoding: gzip",
    ]
    stream.write("\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
    with gzip_writer(stream) as packed:
        for slice_bytes in slice_buffers(array):
            packed.write(slice_bytes)


def _voxels(
    path: Path,
    size: int,
    start: int,
    fields: dict[str, str],
    dtype: np.dtype,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Voxels of a file of `size` bytes whose header ends at `start`, or of the data file that it names."""
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise InputError("file_unreadable", path=path, detail=Message("encoding_unknown"))
    byte_skip, line_skip = _skips(fields, path)
    expected = byte_count(dtype, shape)
    if name := fields.get("data file"):
        if _is_several(name):
            least = expected if encoding == "raw" else 1
            require_data_files(path, name, listed_names(path, start, MAX_HEADER_BYTES), shape[::-1], least)
            raise UnsupportedFeatureError
        (path, size), start = data_file(path, name), 0
    with file_errors_as_input_errors(path), path.open("rb") as raw:
        raw.seek(start)
        _skip_lines(raw, line_skip, path)
        available = size - raw.tell()
        if encoding in ("text", "hex"):
            require_plausible_size(path, expected, available * 8, packed=False)
            return _read_text_encoding(raw, encoding, dtype, shape, path)
        if encoding == "raw":
            require_plausible_size(path, expected, available, packed=False)
            skip_to(raw, size - expected if byte_skip < 0 else raw.tell() + byte_skip, path)
            return _read(raw, dtype, shape, path)
        # bzip2 has no maximum compression ratio; images are never compressed more than this.
        require_plausible_size(path, expected, available * (64 if encoding == "bzip2" else 1), packed=True)
        with _unpacked(raw, encoding) as stream:
            skip_to(stream, max(0, byte_skip), path)
            return _read(stream, dtype, shape, path)


def _skips(fields: dict[str, str], path: Path) -> tuple[int, int]:
    """How many bytes and lines precede the voxels; -1 bytes: they are at the end of the file."""
    byte_skip, line_skip = (int_or_none(fields.get(name, "0")) for name in ("byte skip", "line skip"))
    if byte_skip is None or line_skip is None or line_skip < 0:
        raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))
    return byte_skip, line_skip


def _skip_lines(raw: BinaryIO, count: int, path: Path) -> None:
    """Skip lines, as far as there are any."""
    for _ in range(count):
        line = raw.readline(_MAX_LINE_BYTES)
        if not line:
            return
        if not line.endswith(b"\n"):
            raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))


def _read(stream: io.BufferedIOBase, dtype: np.dtype, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """Read voxels; layers, which are the last axis here, take memory only where they are not 0."""
    if len(shape) == 4 and dtype.kind in "iu" and 1 < shape[3] <= shape[2]:
        return np.moveaxis(read_layers(stream, dtype, shape, path), 0, -1)
    return read_voxels(stream, dtype, shape, path)


@contextlib.contextmanager
def _unpacked(raw: BinaryIO, encoding: str) -> Iterator[io.BufferedIOBase]:
    with gzip.GzipFile(fileobj=raw) if encoding == "gzip" else bz2.BZ2File(raw) as stream:
        yield stream


def _read_text_encoding(
    raw: BinaryIO, encoding: str, dtype: np.dtype, shape: tuple[int, ...], path: Path
) -> np.ndarray:
    """Read voxels in text or hex encoding, block by block, because Python's numbers take much memory."""
    count = math.prod(shape)
    array = np.empty(count, dtype.newbyteorder("="))
    count_read = 0
    try:
        for values in _hex_values(raw, dtype) if encoding == "hex" else _text_values(raw, array.dtype):
            block = values[: count - count_read]
            array[count_read : count_read + len(block)] = block
            count_read += len(block)
            if count_read == count:
                return array.reshape(shape)
    except (ValueError, OverflowError):
        raise InputError("file_unreadable", path=path, detail=Message("voxels_no_numbers")) from None
    raise InputError("file_truncated", path=path, detail=Message("voxels_of", found=count_read, count=count))


def _text_values(raw: BinaryIO, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield numbers that are separated by white space or commas."""
    partial_token = b""
    while block := raw.read(_TEXT_BLOCK_BYTES).replace(b",", b" "):
        tokens = (partial_token + block).split()
        partial_token = tokens.pop() if tokens and not block[-1:].isspace() else b""
        if len(partial_token) > _MAX_TOKEN_BYTES:
            raise ValueError("longer than any number")
        yield _numbers(tokens, dtype)
    yield _numbers([partial_token] if partial_token else [], dtype)


def _numbers(tokens: Sequence[bytes], dtype: np.dtype) -> np.ndarray:
    """Parse numbers and check the range of integers, as NumPy before version 2 wraps around."""
    if dtype.kind == "f":
        return np.array([float(token) for token in tokens], dtype)
    numbers = [int(token) for token in tokens]
    limits = np.iinfo(dtype)
    if numbers and not (limits.min <= min(numbers) and max(numbers) <= limits.max):
        raise OverflowError
    return np.array(numbers, dtype)


def _hex_values(raw: BinaryIO, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield voxels of which each byte is written as two digits; there may be white space between digits."""
    digits = b""
    while block := raw.read(_TEXT_BLOCK_BYTES):
        digits += b"".join(block.split())
        complete_length = len(digits) // (2 * dtype.itemsize) * 2 * dtype.itemsize
        yield np.frombuffer(bytes.fromhex(digits[:complete_length].decode("ascii")), dtype)
        digits = digits[complete_length:]


def _is_several(name: str) -> bool:
    """Whether the voxels are in several files."""
    return name.upper().startswith("LIST") or "%" in name or len(name.split()) > 3
