"""Reading and writing of MetaImage files (.mha, .mhd), with the geometry fields of their header.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..core.errors import InputError, Message
from ..core.volume import Geometry, ImageHeader
from .data_files import data_file, listed_names, require_data_files
from .image_file import ImageFile, UnsupportedFeatureError
from .itk_geometry import geometry_of_stub
from .voxel_stream import (
    Readable,
    Writable,
    byte_count,
    file_errors_as_input_errors,
    header_errors_as_input_errors,
    read_voxels,
    require_plausible_size,
    skip_to,
    slice_buffers,
)

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_TYPE_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_VECTORS = ("Offset", "Position", "Origin", "CenterOfRotation", "ElementSpacing", "ElementSize")
# Fields that define the geometry.
_GEOMETRY_FIELDS = (*_MATRICES, *_VECTORS, "AnatomicalOrientation", "DistanceUnits")
_MAX_HEADER_BYTES = 1 << 20
_MAX_DIMENSION = 10
_MAX_NUMBER = 1e9
_COMPRESSION_LEVEL = 6


@dataclass(frozen=True)
class MetaHeader(ImageHeader):
    """Geometry fields of a MetaImage header.

    Attributes
    ----------
    fields : tuple of (str, str)
        Name and text of each field, in the order of the file.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of_geometry(cls, geometry: Geometry) -> MetaHeader:
        """Header for a grid that was not read from a MetaImage file."""
        columns = geometry.direction_matrix.T
        main = np.abs(columns).argmax(axis=1)
        letters = (
            "RAI"[axis] if column[axis] > 0 else "LPS"[axis] for axis, column in zip(main, columns, strict=True)
        )
        return cls(
            (
                ("TransformMatrix", _numbers(columns.ravel())),
                ("Offset", _numbers(geometry.origin)),
                ("CenterOfRotation", "0 0 0"),
                ("AnatomicalOrientation", "".join(letters)),
                ("ElementSpacing", _numbers(geometry.spacing)),
            )
        )


def is_metaimage(head: bytes) -> bool:
    """Whether the first bytes of a file are a MetaImage header."""
    first = head.split(b"=", 1)[0].strip()
    return b"=" in head and first in (b"ObjectType", b"NDims", b"Comment", b"ObjectSubType", b"Name", b"ID")


def read_metaimage(path: Path, size: int) -> ImageFile:
    """Read voxels and geometry of a MetaImage file of `size` bytes, with its data attached or in another file.

    Raises
    ------
    InputError
        It is not a single 3D volume, is truncated or damaged, or the header defines no geometry.
    UnsupportedFeatureError
        The data are in several files, or stored as text.
    """
    with file_errors_as_input_errors(path), path.open("rb") as stream:
        fields = _parsed(stream, path)
        start = stream.tell()
    with header_errors_as_input_errors(path):
        dtype, sizes, components = _layout(fields, path)
        header = MetaHeader(_geometry_fields(fields))
        stub = _one_voxel_file(header)
    geometry = geometry_of_stub(stub, ".mha", sizes[::-1], path, header)
    shape = (*sizes[::-1], components) if components > 1 else sizes[::-1]
    return ImageFile(_voxels(path, size, start, fields, dtype, shape), geometry)


def write_metaimage(stream: Writable, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` [k, j, i] compressed, with the header of `geometry` if it came from a MetaImage file."""
    header = geometry.header if isinstance(geometry.header, MetaHeader) else MetaHeader.of_geometry(geometry)
    packer = zlib.compressobj(_COMPRESSION_LEVEL)
    packed = [packer.compress(slice_bytes) for slice_bytes in slice_buffers(array)]
    packed.append(packer.flush())  # their length comes first in the file
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {sum(map(len, packed))}",
        *(f"{name} = {text}" for name, text in header.fields),
        "DimSize = " + " ".join(str(size) for size in reversed(array.shape)),
        f"ElementType = {_TYPE_NAMES[array.dtype]}",
        "ElementDataFile = LOCAL",
        "",
    ]
    stream.write("\n".join(lines).encode("utf-8", "surrogateescape"))
    for chunk in packed:
        stream.write(chunk)


def _parsed(stream: io.BufferedIOBase, path: Path) -> dict[str, str]:
    """Header fields by name; the stream is then at the first byte after the header."""
    fields: dict[str, str] = {}
    while (line := stream.readline(_MAX_HEADER_BYTES)) and stream.tell() < _MAX_HEADER_BYTES:
        name, separator, text = line.decode("utf-8", "surrogateescape").partition("=")
        if separator:
            fields[name.strip()] = text.strip()
            if name.strip() == "ElementDataFile":
                return fields
    raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))


def _layout(fields: dict[str, str], path: Path) -> tuple[np.dtype, tuple[int, int, int], int]:
    """Type of a voxel in the file's byte order, the size (i, j, k), and values per voxel."""
    dimension = int(fields["NDims"])
    if not 0 < dimension <= _MAX_DIMENSION or fields.get("ObjectType", "Image") != "Image":
        raise ValueError
    sizes = [int(size) for size in fields["DimSize"].split()]
    if len(sizes) != dimension or min(sizes) < 1:
        raise ValueError
    if dimension < 3 or any(size > 1 for size in sizes[3:]):
        raise InputError("not_3d", path=path, dimension=dimension)
    components = int(fields.get("ElementNumberOfChannels", "1"))
    if not 0 < components <= 1 << 16:
        raise ValueError
    dtype = np.dtype(_DTYPES[fields["ElementType"]])
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    i, j, k = sizes[:3]
    return dtype.newbyteorder(">" if _is_true(msb) else "<"), (i, j, k), components


def _geometry_fields(fields: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The geometry fields, reduced to the first three dimensions."""
    dimension = int(fields["NDims"])
    present = []
    for name, text in fields.items():
        if name not in _GEOMETRY_FIELDS:
            continue
        if dimension > 3 and name in (*_MATRICES, *_VECTORS):
            width = dimension if name in _MATRICES else 1
            rows = np.array(_floats(text, dimension * width)).reshape(dimension, width)
            text = _numbers(rows[:3, :3].ravel())
        if dimension > 3 and name == "AnatomicalOrientation":
            continue
        present.append((name, text))
    return tuple(present)


def _one_voxel_file(header: MetaHeader) -> bytes:
    """Content of a file of one voxel with these geometry fields, their numbers reformatted, for ITK to interpret."""
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True"]
    for name, text in header.fields:
        if name in _MATRICES or name in _VECTORS:
            lines.append(f"{name} = {_numbers(_floats(text, 9 if name in _MATRICES else 3))}")
    lines += ["DimSize = 1 1 1", "ElementType = MET_UCHAR", "ElementDataFile = LOCAL", ""]
    return "\n".join(lines).encode() + bytes(1)


def _voxels(
    path: Path, size: int, start: int, fields: dict[str, str], dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST") or "%" in name:
        _require_data_files(path, start, fields, byte_count(dtype, shape))
        raise UnsupportedFeatureError
    if not _is_true(fields.get("BinaryData", "True")):
        raise UnsupportedFeatureError
    if name.upper() != "LOCAL":
        (path, size), start = data_file(path, name), 0
    packed = _is_true(fields.get("CompressedData", "False"))
    expected = byte_count(dtype, shape)
    try:
        skip = int(fields.get("HeaderSize", "0"))
    except ValueError:
        raise InputError("file_unreadable", path=path, detail=Message("header_damaged")) from None
    require_plausible_size(path, expected, size - start, packed)
    with file_errors_as_input_errors(path), path.open("rb") as raw:
        if skip:
            start = size - expected if skip < 0 else start + skip
        skip_to(raw, max(0, start), path)
        stream: Readable = _Inflated(raw) if packed else raw
        return read_voxels(stream, dtype, shape, path)


def _require_data_files(path: Path, start: int, fields: dict[str, str], expected: int) -> None:
    """Check the data files that a header lists; their minimum size is unknown if compressed or text."""
    listed = listed_names(path, start, _MAX_HEADER_BYTES)
    plain = _is_true(fields.get("BinaryData", "True")) and not _is_true(fields.get("CompressedData", "False"))
    sizes = [int(size) for size in fields["DimSize"].split()]
    require_data_files(path, fields["ElementDataFile"], listed, sizes, expected if plain else 1)


class _Inflated(io.RawIOBase):
    """Decompressed content of a zlib or gzip stream."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._rest = b""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._unpacker.eof:
            source = self._rest or self._raw.read(1 << 20)
            unpacked = self._unpacker.decompress(source, len(buffer))
            self._rest = self._unpacker.unconsumed_tail
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
            if not source:
                break
        return 0


def _is_true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _floats(text: str, count: int) -> list[float]:
    numbers = [float(entry) for entry in text.split()]
    if len(numbers) != count or not np.less(np.abs(numbers), _MAX_NUMBER).all():
        raise ValueError
    return numbers


def _numbers(values: object) -> str:
    return " ".join(repr(float(value)) for value in values)  # type: ignore[attr-defined]
