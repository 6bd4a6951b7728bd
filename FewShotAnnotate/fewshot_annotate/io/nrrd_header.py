"""Headers of NRRD files.

Space (LPS, RAS, ...), space units, kinds and measurement frame of an image are copied unchanged to label maps on its
grid. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import InputError, Message
from ..core.volume import Geometry, ImageHeader
from .image_file import UnsupportedFeatureError
from .voxel_stream import ByteOrder

MAX_HEADER_BYTES = 1 << 24
_MAX_DIMENSION = 16
_MAX_NUMBER = 1e9
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
TYPE_NAMES = {np.dtype(kind): names[-1] for kind, names in _KINDS.items()}
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
# Fields that define the geometry, in the order in which readers need them. Those in _PER_AXIS have one word per axis.
_GEOMETRY_FIELDS = (
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
_TOKEN = re.compile(r'\([^()]*\)|"(?:[^"\\]|\\.)*"|\S+')
_DOMAIN_KINDS = {"domain", "space", "time", "???", "unknown"}


@dataclass(frozen=True)
class NrrdHeader(ImageHeader):
    """Geometry fields of an NRRD header.

    Attributes
    ----------
    fields : tuple of (str, str)
        Name and text of each field, for the three axes of the volume.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of_geometry(cls, geometry: Geometry) -> NrrdHeader:
        """Header for a grid that was not read from an NRRD file, in LPS."""
        columns = geometry.index_to_world.T
        return cls(
            (
                ("space", "left-posterior-superior"),
                ("space directions", " ".join(_vector(column) for column in columns)),
                ("space origin", _vector(geometry.origin)),
                ("kinds", "domain domain domain"),
            )
        )


def parse_header(stream: io.BufferedIOBase, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Fields by canonical name, and key/value pairs; the stream is then at the first byte after the header."""
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    stream.readline(16)
    while line := stream.readline(MAX_HEADER_BYTES):
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if not text or stream.tell() > MAX_HEADER_BYTES:
            break
        if text.startswith("#"):
            continue
        name, separator, content = text.partition(":=")
        if separator and ": " not in name:
            metadata[name] = re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), content)
            continue
        name, separator, content = text.partition(":")
        if not separator:
            raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))
        name = _ALIASES.get(name.strip().lower(), name.strip().lower())
        if name in fields:
            raise InputError("file_unreadable", path=path, detail=Message("header_field_twice"))
        fields[name] = content.strip()
        if fields.get("data file", "").upper().startswith("LIST"):  # the names follow
            break
    return fields, metadata


def layout(fields: dict[str, str], path: Path) -> tuple[np.dtype, list[int], int | None]:
    """Data type in the file's byte order, sizes of all axes, and the non-spatial axis or None."""
    if fields["type"].lower() == "block":
        raise InputError("not_scalar", path=path, components=int(fields.get("block size", "0")))
    kind = np.dtype(_KIND_OF[fields["type"].lower()])
    sizes = [int(size) for size in fields["sizes"].split()]
    if len(sizes) != int(fields["dimension"]) or not 0 < len(sizes) <= _MAX_DIMENSION or min(sizes) < 1:
        raise ValueError
    if kind.itemsize > 1:
        orders: dict[str, ByteOrder] = {"little": "<", "big": ">"}
        kind = kind.newbyteorder(orders[fields.get("endian", "little").lower()])
    kinds = [token.lower() for token in _TOKEN.findall(fields.get("kinds", ""))]
    directions = _TOKEN.findall(fields.get("space directions", ""))
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


def geometry_fields(fields: dict[str, str], axis: int | None) -> tuple[tuple[str, str], ...]:
    """The geometry fields, without the non-spatial axis."""
    dimension = int(fields["dimension"])
    geometry_fields = {name: fields[name] for name in _GEOMETRY_FIELDS if fields.get(name)}
    space = (
        _SPACES[geometry_fields["space"].lower()]
        if "space" in geometry_fields
        else int(geometry_fields.get("space dimension", "3"))
    )
    if not 3 <= space <= 4:
        raise ValueError
    for name in _PER_AXIS:
        tokens = _TOKEN.findall(geometry_fields.get(name, ""))
        if tokens and len(tokens) != dimension:
            raise ValueError
        if tokens and axis is not None:
            geometry_fields[name] = " ".join(tokens[:axis] + tokens[axis + 1 :])
    if space == 4:  # time is the fourth coordinate
        geometry_fields["space"] = re.sub("-time$|(?<=^[A-Za-z]{3})[Tt]$", "", geometry_fields.get("space", ""))
        geometry_fields["space dimension"] = "3"
        for name in ("space directions", "space origin"):
            if name in geometry_fields:
                geometry_fields[name] = " ".join(_vector(vector[:3]) for vector in _vectors(geometry_fields[name], 4))
        geometry_fields.pop("measurement frame", None)
        geometry_fields.pop("space units", None)
    if geometry_fields.get("space"):
        geometry_fields.pop("space dimension", None)
    return tuple((name, text) for name, text in geometry_fields.items() if text)


def stub_file(header: NrrdHeader) -> bytes:
    """Content of a file of one voxel with these geometry fields, their numbers reformatted, for ITK to interpret."""
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
        raise UnsupportedFeatureError
    elif "spacings" in fields:
        spacings = [float(token) for token in fields["spacings"].split()]
        if len(spacings) != 3 or not (np.isnan(spacings) | np.less(np.abs(spacings), _MAX_NUMBER)).all():
            raise ValueError
        lines.append("spacings: " + " ".join(map(repr, spacings)))
    if fields.get("space origin", "none") != "none":
        (origin,) = _vectors(fields["space origin"], 3)
        lines.append(f"space origin: {_vector(origin)}")
    return "\n".join([*lines, "encoding: raw", "", ""]).encode() + bytes(1)


def _vectors(text: str, length: int) -> list[list[float]]:
    tokens = _TOKEN.findall(text)
    if "none" in tokens:
        raise UnsupportedFeatureError
    vectors = [[float(component) for component in token.strip("()").split(",")] for token in tokens]
    if any(len(vector) != length for vector in vectors) or not np.less(np.abs(vectors), _MAX_NUMBER).all():
        raise ValueError
    return vectors


def _vector(numbers: Sequence[float]) -> str:
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"
