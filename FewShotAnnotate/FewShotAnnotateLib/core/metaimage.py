"""MetaImage (.mha, .mhd): voxels, and the header's own way of saying where they lie.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError
from .image_file import BeyondReader, ImageFile
from .itk_geometry import geometry_of_stub
from .volume import Geometry, ImageHeader
from .voxel_stream import (
    Readable,
    Writable,
    byte_count,
    damage_named,
    planes,
    read_voxels,
    require_plausible,
    skip_to,
)

_KINDS = {
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
_TYPE_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_VECTORS = ("Offset", "Position", "Origin", "CenterOfRotation", "ElementSpacing", "ElementSize")
# Fields that say where voxels lie.
_PLACING = (*_MATRICES, *_VECTORS, "AnatomicalOrientation", "DistanceUnits")
_MAX_HEADER_BYTES = 1 << 20
_MAX_DIMENSION = 10
_COMPRESSION_LEVEL = 6


@dataclass(frozen=True)
class MetaHeader(ImageHeader):
    """How a MetaImage file says where its voxels lie.

    Attributes
    ----------
    fields : tuple of (str, str)
        Name and text of each field that does, in the file's order.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of_geometry(cls, geometry: Geometry) -> MetaHeader:
        """The usual form for a grid that came from elsewhere."""
        columns = np.reshape(geometry.direction, (3, 3)).T
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
    """Voxels and geometry of a MetaImage of `size` bytes, its data in it or beside it.

    Raises
    ------
    InputError
        Not one 3D volume; cut off or damaged; the header states no geometry.
    BeyondReader
        Data in several files, or written as text.
    """
    with damage_named(path), path.open("rb") as stream:
        fields = _parsed(stream, path)
        start = stream.tell()
    try:
        kind, sizes, components = _layout(fields, path)
        header = MetaHeader(_placing(fields))
        stub = _stub(header)
    except InputError:
        raise
    except (ValueError, KeyError):
        raise InputError("file_unreadable", path=path, detail="its header is damaged") from None
    geometry = geometry_of_stub(stub, ".mha", sizes[::-1], path, header)
    shape = (*sizes[::-1], components) if components > 1 else sizes[::-1]
    return ImageFile(_voxels(path, size, start, fields, kind, shape), geometry)


def write_metaimage(stream: Writable, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` [k, j, i] compressed, placed as the image was that the grid came from."""
    header = geometry.header if isinstance(geometry.header, MetaHeader) else MetaHeader.of_geometry(geometry)
    packer = zlib.compressobj(_COMPRESSION_LEVEL)
    packed = [packer.compress(plane) for plane in planes(array)]
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
    for part in packed:
        stream.write(part)


def _parsed(stream: io.BufferedIOBase, path: Path) -> dict[str, str]:
    """The fields; the stream stands at the first byte behind the header."""
    fields: dict[str, str] = {}
    while (line := stream.readline(_MAX_HEADER_BYTES)) and stream.tell() < _MAX_HEADER_BYTES:
        name, separator, text = line.decode("utf-8", "surrogateescape").partition("=")
        if separator:
            fields[name.strip()] = text.strip()
            if name.strip() == "ElementDataFile":
                return fields
    raise InputError("file_unreadable", path=path, detail="its header is damaged")


def _layout(fields: dict[str, str], path: Path) -> tuple[np.dtype, tuple[int, int, int], int]:
    """Type of a voxel in the file's byte order, the size (i, j, k), and values per voxel."""
    dimension = int(fields["NDims"])
    if not 0 < dimension <= _MAX_DIMENSION:
        raise ValueError
    sizes = [int(size) for size in fields["DimSize"].split()]
    if len(sizes) != dimension or min(sizes) < 1:
        raise ValueError
    if dimension < 3 or any(size > 1 for size in sizes[3:]):
        raise InputError("not_3d", path=path, dimension=dimension)
    components = int(fields.get("ElementNumberOfChannels", "1"))
    if not 0 < components <= 1 << 16:
        raise ValueError
    kind = np.dtype(_KINDS[fields["ElementType"]])
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    i, j, k = sizes[:3]
    return kind.newbyteorder(">" if _is_true(msb) else "<"), (i, j, k), components


def _placing(fields: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The fields that place the volume; of more than three dimensions, those of the first three."""
    dimension = int(fields["NDims"])
    found = []
    for name, text in fields.items():
        if name not in _PLACING:
            continue
        if dimension > 3 and name in (*_MATRICES, *_VECTORS):
            width = dimension if name in _MATRICES else 1
            rows = np.array(_floats(text, dimension * width)).reshape(dimension, width)
            text = _numbers(rows[:3, :3].ravel())
        if dimension > 3 and name == "AnatomicalOrientation":
            continue
        found.append((name, text))
    return tuple(found)


def _stub(header: MetaHeader) -> bytes:
    """A file of one voxel that is placed as the header says, its numbers written anew, for ITK to tell where."""
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True"]
    for name, text in header.fields:
        if name in _MATRICES or name in _VECTORS:
            lines.append(f"{name} = {_numbers(_floats(text, 9 if name in _MATRICES else 3))}")
    lines += ["DimSize = 1 1 1", "ElementType = MET_UCHAR", "ElementDataFile = LOCAL", ""]
    return "\n".join(lines).encode() + bytes(1)


def _voxels(
    path: Path, size: int, start: int, fields: dict[str, str], kind: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST") or "%" in name or not _is_true(fields.get("BinaryData", "True")):
        raise BeyondReader
    if name.upper() != "LOCAL":
        partner = path.parent / name
        if not partner.is_file():
            raise InputError("partner_missing", path=path, partner=name)
        path, size, start = partner, partner.stat().st_size, 0
    packed = _is_true(fields.get("CompressedData", "False"))
    expected = byte_count(kind, shape)
    try:
        skip = int(fields.get("HeaderSize", "0"))
    except ValueError:
        raise InputError("file_unreadable", path=path, detail="its header is damaged") from None
    require_plausible(path, expected, size - start, packed)
    with damage_named(path), path.open("rb") as raw:
        if skip:
            start = size - expected if skip < 0 else start + skip
        skip_to(raw, max(0, start), path)
        stream: Readable = _Inflated(raw) if packed else raw
        return read_voxels(stream, kind, shape, path)


class _Inflated(io.RawIOBase):
    """What a zlib or gzip stream holds."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self._rest = b""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._unpacker.eof:
            source = self._rest or self._raw.read(1 << 20)
            found = self._unpacker.decompress(source, len(buffer))
            self._rest = self._unpacker.unconsumed_tail
            if found:
                buffer[: len(found)] = found
                return len(found)
            if not source:
                break
        return 0


def _is_true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _floats(text: str, count: int) -> list[float]:
    numbers = [float(word) for word in text.split()]
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError
    return numbers


def _numbers(values: object) -> str:
    return " ".join(repr(float(value)) for value in values)  # type: ignore[attr-defined]
