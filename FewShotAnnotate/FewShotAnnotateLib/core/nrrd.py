"""NRRD: voxels, and the header's own way of saying where they lie.

Space (LPS, RAS, ...), its units, kinds and measurement frame are kept as they are, so that a label map says the same
as its image. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError
from .image_file import BeyondReader, ImageFile
from .itk_geometry import geometry_of_stub
from .volume import Geometry, ImageHeader
from .voxel_stream import (
    ByteOrder,
    Writable,
    byte_count,
    damage_named,
    gzip_writer,
    planes,
    read_voxels,
    require_plausible,
    skip_to,
)

MAGIC = b"NRRD00"
_MAX_HEADER_BYTES = 1 << 24
_MAX_DIMENSION = 16
_KINDS = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_TYPE_NAMES = {np.dtype(kind): names[-1] for kind, names in _KINDS.items()}
_SPACES = {
    name: size
    for size, names in {
        3: (
            "right-anterior-superior ras left-anterior-superior las left-posterior-superior lps scanner-xyz "
            "3d-right-handed 3d-left-handed"
        ),
        4: (
            "right-anterior-superior-time rast left-anterior-superior-time last left-posterior-superior-time lpst "
            "scanner-xyz-time 3d-right-handed-time 3d-left-handed-time"
        ),
    }.items()
    for name in names.split()
}
_ALIASES = {"centerings": "centers", "datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"} | {
    name.replace(" ", ""): name
    for name in ("space directions", "space origin", "space units", "measurement frame", "axis mins", "axis maxs")
}
_ENCODINGS = {
    **dict.fromkeys(("raw",), "raw"),
    **dict.fromkeys(("gzip", "gz"), "gzip"),
    **dict.fromkeys(("bzip2", "bz2"), "bzip2"),
    **dict.fromkeys(("text", "txt", "ascii"), "text"),
    "hex": "hex",
}
# Fields that say where voxels lie, in the order in which a reader wants them; of those in _PER_AXIS one word an axis.
_PLACING = (
    "space",
    "space dimension",
    "space units",
    "space directions",
    "space origin",
    "measurement frame",
    "spacings",
    "axis mins",
    "axis maxs",
    "centers",
    "kinds",
    "units",
)
_PER_AXIS = ("space directions", "spacings", "axis mins", "axis maxs", "centers", "kinds", "units")
_WORD = re.compile(r'\([^()]*\)|"(?:[^"\\]|\\.)*"|\S+')
_DOMAIN_KINDS = {"domain", "space", "time", "???", "unknown"}


@dataclass(frozen=True)
class NrrdHeader(ImageHeader):
    """How a NRRD file says where its voxels lie.

    Attributes
    ----------
    fields : tuple of (str, str)
        Name and text of each field that does, for the three axes of the volume.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of_geometry(cls, geometry: Geometry) -> NrrdHeader:
        """The usual form for a grid that came from elsewhere: in LPS."""
        columns = np.reshape(geometry.direction, (3, 3)).T * np.reshape(geometry.spacing, (3, 1))
        return cls(
            (
                ("space", "left-posterior-superior"),
                ("space directions", " ".join(_vector(column) for column in columns)),
                ("space origin", _vector(geometry.origin)),
                ("kinds", "domain domain domain"),
            )
        )


def read_nrrd(path: Path, size: int) -> ImageFile:
    """Voxels, geometry and key/value pairs of a NRRD file of `size` bytes, its data attached or beside it.

    Raises
    ------
    InputError
        Not one 3D volume; cut off or damaged; the header states no geometry.
    BeyondReader
        Data in several files, or placed by the ends of its axes.
    """
    with damage_named(path), path.open("rb") as stream:
        fields, metadata = _parsed(stream, path)
        start = stream.tell()
    try:
        kind, sizes, axis = _layout(fields, path)
        header = NrrdHeader(_placing(fields, axis))
        stub = _stub(header)
    except InputError:
        raise
    except (ValueError, KeyError):
        raise InputError("file_unreadable", path=path, detail="its header is damaged") from None
    shape = tuple(reversed(sizes))
    spatial = tuple(size for number, size in enumerate(sizes) if number != axis)[::-1]
    geometry = geometry_of_stub(stub, ".nrrd", spatial, path, header)
    array = _voxels(path, size, start, fields, kind, shape)
    if axis is not None:
        array = np.moveaxis(array, len(sizes) - 1 - axis, -1)
        array = array[..., 0] if array.shape[-1] == 1 else array
    return ImageFile(array, geometry, metadata)


def write_nrrd(stream: Writable, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` [k, j, i] compressed, placed as the image was that the grid came from."""
    header = geometry.header if isinstance(geometry.header, NrrdHeader) else NrrdHeader.of_geometry(geometry)
    lines = [
        "NRRD0005",
        f"type: {_TYPE_NAMES[array.dtype]}",
        "dimension: 3",
        *(f"{name}: {text}" for name, text in header.fields if name in ("space", "space dimension")),
        "sizes: " + " ".join(str(size) for size in reversed(array.shape)),
        *(f"{name}: {text}" for name, text in header.fields if name not in ("space", "space dimension")),
        "endian: little",
        "encoding: gzip",
    ]
    stream.write("\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
    with gzip_writer(stream) as packed:
        for plane in planes(array):
            packed.write(plane)


def _parsed(stream: io.BufferedIOBase, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Fields by their usual name, and key/value pairs; the stream stands at the first byte behind the header."""
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    stream.readline(16)
    while line := stream.readline(_MAX_HEADER_BYTES):
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if not text or stream.tell() > _MAX_HEADER_BYTES:
            break
        if text.startswith("#"):
            continue
        name, separator, content = text.partition(":=")
        if separator and ": " not in name:
            metadata[name] = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), content)
            continue
        name, separator, content = text.partition(":")
        if not separator:
            raise InputError("file_unreadable", path=path, detail="its header is damaged")
        name = name.strip().lower()
        fields[_ALIASES.get(name, name)] = content.strip()
    return fields, metadata


def _layout(fields: dict[str, str], path: Path) -> tuple[np.dtype, list[int], int | None]:
    """Type of a voxel in the file's byte order, sizes of the axes, and the axis that is none of the volume's."""
    if fields["type"].lower() == "block":
        raise InputError("not_scalar", path=path, components=int(fields.get("block size", "0")))
    kind = np.dtype(_KIND_OF[fields["type"].lower()])
    sizes = [int(size) for size in fields["sizes"].split()]
    if len(sizes) != int(fields["dimension"]) or not 0 < len(sizes) <= _MAX_DIMENSION or min(sizes) < 1:
        raise ValueError
    if kind.itemsize > 1:
        orders: dict[str, ByteOrder] = {"little": "<", "big": ">"}
        kind = kind.newbyteorder(orders[fields.get("endian", "little").lower()])
    kinds = [word.lower() for word in _WORD.findall(fields.get("kinds", ""))]
    directions = _WORD.findall(fields.get("space directions", ""))
    others = [
        number
        for number in range(len(sizes))
        if (kinds[number : number + 1] or ["domain"])[0] not in _DOMAIN_KINDS
        or (len(sizes) > 3 and directions[number : number + 1] == ["none"])
    ]
    if not others and len(sizes) == 4 and sizes[3] == 1:
        others = [3]
    if len(sizes) - len(others) != 3 or len(others) > 1:
        raise InputError("not_3d", path=path, dimension=len(sizes) - (len(others) == 1))
    return kind, sizes, others[0] if others else None


def _placing(fields: dict[str, str], axis: int | None) -> tuple[tuple[str, str], ...]:
    """The fields that place the volume, without the axis that is none of its own."""
    dimension = int(fields["dimension"])
    found = {name: fields[name] for name in _PLACING if fields.get(name)}
    space = _SPACES[found["space"].lower()] if "space" in found else int(found.get("space dimension", "3"))
    if not 3 <= space <= 4:
        raise ValueError
    for name in _PER_AXIS:
        words = _WORD.findall(found.get(name, ""))
        if words and len(words) != dimension:
            raise ValueError
        if words and axis is not None:
            found[name] = " ".join(words[:axis] + words[axis + 1 :])
    if space == 4:  # time is the fourth coordinate
        found["space"] = re.sub("-time$|(?<=^[A-Za-z]{3})[Tt]$", "", found.get("space", ""))
        found["space dimension"] = "3"
        for name in ("space directions", "space origin"):
            if name in found:
                found[name] = " ".join(_vector(vector[:3]) for vector in _vectors(found[name], 4))
        found.pop("measurement frame", None)
        found.pop("space units", None)
    if found.get("space"):
        found.pop("space dimension", None)
    return tuple((name, text) for name, text in found.items() if text)


def _stub(header: NrrdHeader) -> bytes:
    """A file of one voxel that is placed as the header says, its numbers written anew, for ITK to tell where."""
    fields = dict(header.fields)
    lines = ["NRRD0005", "type: uint8", "dimension: 3"]
    if "space" in fields:
        lines.append(f"space: {fields['space']}")
    elif "space directions" in fields or "space origin" in fields:
        lines.append("space dimension: 3")
    lines.append("sizes: 1 1 1")
    if "space directions" in fields:
        lines.append("space directions: " + " ".join(_vector(v) for v in _vectors(fields["space directions"], 3)))
    elif "axis mins" in fields or "axis maxs" in fields:
        raise BeyondReader
    elif "spacings" in fields:
        spacings = [float(word) for word in fields["spacings"].split()]
        if len(spacings) != 3 or not (np.isnan(spacings) | np.isfinite(spacings)).all():
            raise ValueError
        lines.append("spacings: " + " ".join(map(repr, spacings)))
    if fields.get("space origin", "none") != "none":
        (origin,) = _vectors(fields["space origin"], 3)
        lines.append(f"space origin: {_vector(origin)}")
    return "\n".join([*lines, "encoding: raw", "", ""]).encode() + bytes(1)


def _voxels(
    path: Path, size: int, start: int, fields: dict[str, str], kind: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise InputError("file_unreadable", path=path, detail="its encoding is unknown")
    if name := fields.get("data file"):
        path, size, start = _partner(path, name)
    byte_skip, line_skip = int(fields.get("byte skip", "0")), int(fields.get("line skip", "0"))
    expected = byte_count(kind, shape)
    with damage_named(path), path.open("rb") as raw:
        raw.seek(start)
        for _ in range(line_skip):
            if not raw.readline():
                break
        available = size - raw.tell()
        if encoding in ("text", "hex"):
            require_plausible(path, expected, available * 8, packed=False)
            return _written_out(raw, encoding, kind, shape, path)
        if encoding == "raw":
            require_plausible(path, expected, available, packed=False)
            skip_to(raw, size - expected if byte_skip < 0 else raw.tell() + byte_skip, path)
            return read_voxels(raw, kind, shape, path)
        # bzip2 has no limit of its own; nothing that holds an image is packed more than this.
        require_plausible(path, expected, available * (64 if encoding == "bzip2" else 1), packed=True)
        with _unpacked(raw, encoding) as stream:
            skip_to(stream, max(0, byte_skip), path)
            return read_voxels(stream, kind, shape, path)


@contextlib.contextmanager
def _unpacked(raw: BinaryIO, encoding: str) -> Iterator[io.BufferedIOBase]:
    with gzip.GzipFile(fileobj=raw) if encoding == "gzip" else bz2.BZ2File(raw) as stream:
        yield stream


def _whole(words: Sequence[bytes], kind: np.dtype) -> list[int]:
    """Whole numbers within the range of a type: before version 2 numpy wraps those beyond it."""
    numbers = [int(word) for word in words]
    limits = np.iinfo(kind)
    if numbers and not (limits.min <= min(numbers) and max(numbers) <= limits.max):
        raise OverflowError
    return numbers


def _written_out(raw: BinaryIO, encoding: str, kind: np.dtype, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """Voxels that are written as decimal or hexadecimal digits."""
    text = raw.read()
    native = kind.newbyteorder("=")
    try:
        if encoding == "hex":
            array = np.frombuffer(bytes.fromhex(text.decode("ascii")), kind).astype(native)
        else:
            words = text.replace(b",", b" ").split()
            array = np.array([float(word) for word in words] if native.kind == "f" else _whole(words, native), native)
    except (ValueError, OverflowError):
        raise InputError("file_unreadable", path=path, detail="its voxels are no numbers of its type") from None
    count = int(np.prod(shape, dtype=object))
    if array.size < count:
        raise InputError("file_truncated", path=path, detail=f"{array.size} of {count} voxels")
    return array[:count].reshape(shape)


def _partner(path: Path, name: str) -> tuple[Path, int, int]:
    """The file beside a header that holds its voxels, its size, and where they begin."""
    if name.upper().startswith("LIST") or "%" in name or len(name.split()) > 3:
        raise BeyondReader
    found = path.parent / name
    if not found.is_file():
        raise InputError("partner_missing", path=path, partner=name)
    return found, found.stat().st_size, 0


def _vectors(text: str, length: int) -> list[list[float]]:
    words = _WORD.findall(text)
    if "none" in words:
        raise BeyondReader
    vectors = [[float(part) for part in word.strip("()").split(",")] for word in words]
    if any(len(vector) != length for vector in vectors) or not np.isfinite(vectors).all():
        raise ValueError
    return vectors


def _vector(numbers: Sequence[float]) -> str:
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"
