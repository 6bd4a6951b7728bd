"""Headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files.

NIfTI can define the geometry in several ways (qform, sform or neither), and readers choose differently: nibabel
prefers the sform, ITK compares both, and if neither is set, nibabel centres the volume whereas ITK starts at 0. A
label map is aligned with its image in every reader only if both headers define the geometry identically, so these
fields are copied unchanged. Standard: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, Message
from ..core.volume import Geometry, ImageHeader, nearest_orthogonal_matrix
from .voxel_stream import ByteOrder

HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 and Analyze have 348
_FIELDS_1 = {
    "sizeof_hdr": ("i4", 0),
    "regular": ("S1", 38),
    "dim": ("8i2", 40),
    "intent_code": ("i2", 68),
    "datatype": ("i2", 70),
    "bitpix": ("i2", 72),
    "pixdim": ("8f4", 76),
    "vox_offset": ("f4", 108),
    "scl_slope": ("f4", 112),
    "scl_inter": ("f4", 116),
    "xyzt_units": ("u1", 123),
    "qform_code": ("i2", 252),
    "sform_code": ("i2", 254),
    "quatern": ("6f4", 256),  # b, c, d and the offset
    "srow": ("12f4", 280),
    "magic": ("S4", 344),
}
_FIELDS_2 = {
    "sizeof_hdr": ("i4", 0),
    "magic": ("S4", 4),
    "datatype": ("i2", 12),
    "bitpix": ("i2", 14),
    "dim": ("8i8", 16),
    "pixdim": ("8f8", 104),
    "vox_offset": ("i8", 168),
    "scl_slope": ("f8", 176),
    "scl_inter": ("f8", 184),
    "qform_code": ("i4", 344),
    "sform_code": ("i4", 348),
    "quatern": ("6f8", 352),
    "srow": ("12f8", 400),
    "xyzt_units": ("i4", 500),
    "intent_code": ("i4", 504),
}
_SINGLE_FILE = b"n+1"
_PAIR = b"ni1"
MAX_SIZE = 32767
_MAX_OFFSET_BYTES = 1 << 48
_KINDS = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    32: "c8",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    1792: "c16",
}
_CODES = {np.dtype(kind): code for code, kind in _KINDS.items()}
_COLOURS = {128: 3, 2304: 4}  # RGB and RGBA, a byte each
_VECTORS = {1005, 1006, 1007, 1009, 1010, 1011}  # intents whose fifth dimension holds components


@dataclass(frozen=True, kw_only=True)
class NiftiHeader(ImageHeader):
    """Geometry fields of a NIfTI header, named as in the standard.

    Attributes
    ----------
    qform_code, sform_code : int
    pixdim : tuple of 4 floats
        qfac and the spacing, in the units of `xyzt_units`.
    quatern : tuple of 6 floats
        Quaternion b, c, d and offset x, y, z.
    srow : tuple of 12 floats
        The rows x, y, z of the sform.
    xyzt_units : int
    """

    qform_code: int
    sform_code: int
    pixdim: tuple[float, ...]
    quatern: tuple[float, ...]
    srow: tuple[float, ...]
    xyzt_units: int

    @classmethod
    def of_geometry(cls, geometry: Geometry) -> NiftiHeader:
        """Header for a grid not read from a NIfTI file: equal qform and sform, code 1 (scanner), in mm."""
        lps_to_ras = np.array([-1.0, -1.0, 1.0])
        direction = lps_to_ras[:, None] * geometry.direction_matrix
        origin = lps_to_ras * geometry.origin
        qfac = 1.0 if np.linalg.det(direction) > 0 else -1.0
        _, b, c, d = _quaternion(nearest_orthogonal_matrix(direction * [1, 1, qfac]))
        srow = np.column_stack([direction * geometry.spacing, origin])
        return cls(
            qform_code=1,
            sform_code=1,
            pixdim=(qfac, *geometry.spacing),
            quatern=(b, c, d, *origin),
            srow=tuple(srow.ravel().tolist()),
            xyzt_units=2,
        )


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion a, b, c, d with a >= 0 of a rotation matrix, float64 `[3, 3]`.

    The eigenvector of Bar-Itzhack (2000), accurate near half turns too. scipy's `Rotation` takes long to import.
    """
    trace = np.trace(rotation)
    antisymmetric = rotation - rotation.T
    axis = np.array([antisymmetric[2, 1], antisymmetric[0, 2], antisymmetric[1, 0]])
    symmetric = np.empty((4, 4))
    symmetric[0, 0] = trace
    symmetric[0, 1:] = symmetric[1:, 0] = axis
    symmetric[1:, 1:] = rotation + rotation.T - trace * np.eye(3)
    quaternion: np.ndarray = np.linalg.eigh(symmetric)[1][:, -1]
    return quaternion if quaternion[0] >= 0 else -quaternion


def is_nifti(head: bytes) -> bool:
    """Whether the first bytes of a file are a NIfTI or Analyze header."""
    fields = header_fields(head)
    if fields is None:
        return False
    return bytes(fields["magic"])[:2] == b"n+" or _is_pair(fields) or fields["regular"] == b"r"


def header_fields(head: bytes) -> np.void | None:
    """Fields of a header; None if it is not one. Codes that Analyze does not have are 0."""
    orders: tuple[ByteOrder, ...] = ("<", ">")
    for length, table in ((348, _FIELDS_1), (540, _FIELDS_2)):
        for order in orders:
            if len(head) >= length and int(np.frombuffer(head, f"{order}i4", 1)[0]) == length:
                fields: np.void = np.frombuffer(head, _record(table, order, length), 1)[0]
                return fields
    return None


def _record(table: dict[str, tuple[str, int]], order: ByteOrder, length: int) -> np.dtype:
    # NIfTI-2 has no field "regular".
    table = {"regular": ("S1", 0), **table}
    kinds = [np.dtype(kind).newbyteorder(order) for kind, _ in table.values()]
    offsets = [offset for _, offset in table.values()]
    return np.dtype({"names": list(table), "formats": kinds, "offsets": offsets, "itemsize": length})


def is_single_file(fields: Any) -> bool:
    """Whether the voxels are in the same file as the header."""
    return bytes(fields["magic"]).startswith(_SINGLE_FILE[:2])


def _is_pair(fields: Any) -> bool:
    return bytes(fields["magic"]).startswith(_PAIR[:2])


def is_analyze(fields: Any) -> bool:
    """Whether a header is Analyze, which has no units, qform, sform or intensity scaling."""
    return not bytes(fields["magic"]).startswith((_SINGLE_FILE[:2], _PAIR[:2]))


def layout(fields: Any, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Data type in the file's byte order, and shape [k, j, i]."""
    sizes = [int(size) for size in fields["dim"]]
    count = sizes[0]
    if not 1 <= count <= 7 or min(sizes[1 : count + 1]) < 1:
        raise InputError("file_unreadable", path=path, detail=Message("header_without_size"))
    i, j, k, *more = sizes[1 : count + 1] + [1] * (3 - count)
    if len(more) > 1 and more[1] > 1 and more[0] == 1 and int(fields["intent_code"]) in _VECTORS:
        raise InputError("not_scalar", path=path, components=more[1])
    if count < 3 or any(size > 1 for size in more):
        dimension = max(number for number, size in enumerate(sizes[1 : count + 1], 1) if size > 1 or number < 3)
        raise InputError("not_3d", path=path, dimension=min(count, dimension))
    code = int(fields["datatype"])
    if code in _COLOURS:
        raise InputError("not_scalar", path=path, components=_COLOURS[code])
    if code not in _KINDS:
        raise InputError("file_unreadable", path=path, detail=Message("header_unknown_type"))
    order: ByteOrder = ">" if fields.dtype["sizeof_hdr"].byteorder == ">" else "<"
    return np.dtype(_KINDS[code]).newbyteorder(order), (k, j, i)


def first_voxel(fields: Any, path: Path) -> int:
    """Offset of the voxels in bytes; in a single file 0 is refused, as readers interpret it differently."""
    offset = float(fields["vox_offset"])
    least = int(fields["sizeof_hdr"]) if is_single_file(fields) else 0
    if not least <= offset < _MAX_OFFSET_BYTES:
        raise InputError("file_unreadable", path=path, detail=Message("header_without_offset"))
    return int(offset)


def geometry_fields(fields: Any) -> NiftiHeader:
    """The geometry fields of a header."""
    if is_analyze(fields):
        return NiftiHeader(
            qform_code=0,
            sform_code=0,
            pixdim=tuple(fields["pixdim"][:4].tolist()),
            quatern=(0.0,) * 6,
            srow=(0.0,) * 12,
            xyzt_units=0,
        )
    return NiftiHeader(
        qform_code=int(fields["qform_code"]),
        sform_code=int(fields["sform_code"]),
        pixdim=tuple(fields["pixdim"][:4].tolist()),
        quatern=tuple(fields["quatern"].tolist()),
        srow=tuple(fields["srow"].tolist()),
        xyzt_units=int(fields["xyzt_units"]) & 0xFF,
    )


def header_bytes(header: NiftiHeader, sizes: tuple[int, ...], kind: np.dtype) -> bytes:
    """A NIfTI-1 header, followed by the four zero bytes that indicate no extension."""
    record = np.zeros((), _record(_FIELDS_1, "<", 348))
    record["regular"] = b"r"
    record["sizeof_hdr"] = 348
    record["dim"] = (3, *sizes, 1, 1, 1, 1)
    record["datatype"], record["bitpix"] = _CODES[kind], kind.itemsize * 8
    record["vox_offset"], record["scl_slope"] = 352, 1
    with np.errstate(over="ignore"):  # NIfTI-2 numbers beyond single precision define no valid geometry
        record["pixdim"] = (*header.pixdim, 0, 0, 0, 0)
        for name in ("qform_code", "sform_code", "quatern", "srow", "xyzt_units"):
            record[name] = getattr(header, name)
    record["magic"] = _SINGLE_FILE
    return record.tobytes() + bytes(4)


def stub_file(header: NiftiHeader) -> bytes:
    """Content of a file of one voxel with these geometry fields, for ITK to interpret."""
    quatern = header.quatern if header.qform_code > 0 else (0.0,) * 6
    srow = header.srow if header.sform_code > 0 else (0.0,) * 12
    return header_bytes(replace(header, quatern=quatern, srow=srow), (1, 1, 1), np.dtype("u1")) + bytes(1)
