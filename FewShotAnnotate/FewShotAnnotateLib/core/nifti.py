"""NIfTI-1, NIfTI-2 and Analyze 7.5: voxels, and the header's own way of saying where they lie.

NIfTI has several ways to place voxels (qform, sform, neither), and readers choose differently among them: nibabel
takes the sform first, ITK compares both, and where neither is set nibabel centres the volume and ITK starts at 0. A
label map covers its image in every reader only if its header says the same in the same way, so that part of it is
kept as it is. Standard: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .image_file import ImageFile
from .itk_geometry import geometry_of_stub
from .volume import Geometry, ImageHeader
from .voxel_stream import (
    ByteOrder,
    Writable,
    byte_count,
    damage_named,
    is_packed,
    open_unpacked,
    planes,
    read_voxels,
    require_plausible,
    skip_to,
)

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
_MAX_SIZE = 32767
_MAX_NUMBER = 1e9
_MAX_QUATERNION = 1.01
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


@dataclass(frozen=True)
class NiftiHeader(ImageHeader):
    """How a NIfTI file says where its voxels lie; the names are the standard's.

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
        """The usual form for a grid that came from elsewhere: qform and sform alike, code 1 (scanner), in mm."""
        from scipy.spatial.transform import Rotation

        lps_to_ras = np.array([-1.0, -1.0, 1.0])
        direction = lps_to_ras[:, None] * np.reshape(geometry.direction, (3, 3))
        origin = lps_to_ras * geometry.origin
        qfac = 1.0 if np.linalg.det(direction) > 0 else -1.0
        left, _, right = np.linalg.svd(direction * [1, 1, qfac])  # nearest rotation
        x, y, z, w = Rotation.from_matrix(left @ right).as_quat()
        b, c, d = np.array([x, y, z]) * (1 if w >= 0 else -1)
        srow = np.column_stack([direction * geometry.spacing, origin])
        return cls(1, 1, (qfac, *geometry.spacing), (b, c, d, *origin), tuple(srow.ravel().tolist()), 2)


def is_nifti(head: bytes) -> bool:
    """Whether the first bytes of a file are a NIfTI or Analyze header."""
    fields = _fields(head)
    if fields is None:
        return False
    return bytes(fields["magic"])[:2] == b"n+" or _is_pair(fields) or fields["regular"] == b"r"


def read_nifti(path: Path, size: int) -> ImageFile:
    """Voxels and geometry of a NIfTI or Analyze file of `size` bytes, compressed or not, alone or a pair.

    Raises
    ------
    InputError
        Not one 3D volume; cut off or damaged; the header states no geometry.
    """
    with damage_named(path), open_unpacked(path) as stream:
        fields = _fields(stream.read(HEADER_BYTES))
        if fields is None:
            raise InputError("file_unreadable", path=path, detail="its header is damaged")
        kind, shape = _layout(fields, path)
        header = _header(fields)
        geometry = _geometry(header, shape, path)
        start = int(fields["vox_offset"]) if np.isfinite(fields["vox_offset"]) else 0
        if bytes(fields["magic"]).startswith(_SINGLE_FILE[:2]):
            return ImageFile(_scaled(_voxels(stream, path, size, start, kind, shape), fields), geometry)
    voxels = _partner(path)
    with damage_named(voxels), open_unpacked(voxels) as stream:
        array = _voxels(stream, voxels, voxels.stat().st_size, start, kind, shape)
    return ImageFile(_scaled(array, fields), geometry)


def write_nifti(stream: Writable, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` [k, j, i] as NIfTI-1, placed as the image was that the grid came from.

    Raises
    ------
    InputError
        An axis is longer than NIfTI-1 can say.
    """
    header = geometry.header if isinstance(geometry.header, NiftiHeader) else NiftiHeader.of_geometry(geometry)
    if max(array.shape) > _MAX_SIZE:
        raise InputError("axis_too_long", most=_MAX_SIZE)
    stream.write(_bytes(header, array.shape[::-1], array.dtype))
    for plane in planes(array):
        stream.write(plane)


def _fields(head: bytes) -> np.void | None:
    """The fields of a header, or None if it is none. Analyze has no codes: they are 0."""
    orders: tuple[ByteOrder, ...] = ("<", ">")
    for length, table in ((348, _FIELDS_1), (540, _FIELDS_2)):
        for order in orders:
            if len(head) >= length and int(np.frombuffer(head, f"{order}i4", 1)[0]) == length:
                return np.frombuffer(head, _record(table, order, length), 1)[0]
    return None


def _record(table: dict[str, tuple[str, int]], order: ByteOrder, length: int) -> np.dtype:
    # "regular" is said by NIfTI-1 and Analyze only; NIfTI-2 is known by its magic.
    table = {"regular": ("S1", 0), **table}
    kinds = [np.dtype(kind).newbyteorder(order) for kind, _ in table.values()]
    offsets = [offset for _, offset in table.values()]
    return np.dtype({"names": list(table), "formats": kinds, "offsets": offsets, "itemsize": length})


def _is_pair(fields: Any) -> bool:
    return bytes(fields["magic"]).startswith(_PAIR[:2])


def _is_analyze(fields: Any) -> bool:
    return not bytes(fields["magic"]).startswith((_SINGLE_FILE[:2], _PAIR[:2]))


def _layout(fields: Any, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Type of a voxel in the file's byte order, and the shape [k, j, i] or [k, j, i, component]."""
    sizes = [int(size) for size in fields["dim"]]
    count = sizes[0]
    if not 1 <= count <= 7 or min(sizes[1 : count + 1]) < 1:
        raise InputError("file_unreadable", path=path, detail="its header gives no size of the image")
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
        raise InputError("file_unreadable", path=path, detail="its header gives no type of voxel that is known")
    order: ByteOrder = ">" if fields.dtype["sizeof_hdr"].byteorder == ">" else "<"
    return np.dtype(_KINDS[code]).newbyteorder(order), (k, j, i)


def _header(fields: Any) -> NiftiHeader:
    if _is_analyze(fields):
        return NiftiHeader(0, 0, tuple(fields["pixdim"][:4].tolist()), (0.0,) * 6, (0.0,) * 12, 0)
    return NiftiHeader(
        int(fields["qform_code"]),
        int(fields["sform_code"]),
        tuple(fields["pixdim"][:4].tolist()),
        tuple(fields["quatern"].tolist()),
        tuple(fields["srow"].tolist()),
        int(fields["xyzt_units"]) & 0xFF,
    )


def _geometry(header: NiftiHeader, shape: tuple[int, ...], path: Path) -> Geometry:
    """Where ITK puts the voxels; where it refuses a sform, be it for a rounded digit, that with right angles."""
    used = [*header.pixdim[1:], *(header.quatern if header.qform_code > 0 else ())]
    used += header.srow if header.sform_code > 0 else ()
    turn = header.quatern[:3] if header.qform_code > 0 else (0.0,)
    codes = header.qform_code, header.sform_code
    # ITK never ends at some of these.
    sane = np.isfinite(used).all() and np.abs(used).max() < _MAX_NUMBER and np.abs(turn).max() <= _MAX_QUATERNION
    if not sane or np.abs(codes).max() > _MAX_SIZE:
        raise InputError("geometry_impossible", path=path)
    try:
        return geometry_of_stub(_stub(header), ".nii", shape, path, header)
    except InputError:
        if header.sform_code <= 0:
            raise
        return geometry_of_stub(_stub(_with_right_angles(header)), ".nii", shape, path, header)


def _with_right_angles(header: NiftiHeader) -> NiftiHeader:
    """The same header with the axes of its sform turned to the nearest right angles, each as long as before."""
    rows = np.reshape(header.srow, (3, 4))
    lengths = np.linalg.norm(rows[:, :3], axis=0)
    left, _, right = np.linalg.svd(rows[:, :3] / np.where(lengths > 0, lengths, 1))
    turned = np.column_stack([left @ right * lengths, rows[:, 3]])
    return replace(header, srow=tuple(turned.ravel().tolist()))


def _voxels(
    stream: io.BufferedIOBase, path: Path, size: int, start: int, kind: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    packed = is_packed(stream)
    require_plausible(path, byte_count(kind, shape), size if packed else size - start, packed)
    skip_to(stream, max(0, start), path)
    return read_voxels(stream, kind, shape, path)


def _scaled(array: np.ndarray, fields: Any) -> np.ndarray:
    """Voxels with the header's slope and intercept applied, as floats, where it gives any."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if _is_analyze(fields) or array.dtype.kind == "c" or slope == 0 or not np.isfinite([slope, intercept]).all():
        return array
    if slope == 1 and intercept == 0:
        return array
    kind = array.dtype if array.dtype.kind == "f" else np.float32 if array.dtype.itemsize < 4 else np.float64
    scaled = array.astype(kind)
    scaled *= slope
    scaled += intercept
    return scaled


def _partner(path: Path) -> Path:
    """The .img that belongs to a .hdr."""
    name = path.name.lower()
    stem = path.name[: name.rindex(".hdr")] if ".hdr" in name else path.stem
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.GZ"):
        found = path.with_name(stem + suffix)
        if found.is_file() and found != path:
            return found
    raise InputError("partner_missing", path=path, partner=stem + ".img")


def _bytes(header: NiftiHeader, sizes: tuple[int, ...], kind: np.dtype) -> bytes:
    """A NIfTI-1 header and the four bytes that say that no extension follows."""
    record = np.zeros((), _record(_FIELDS_1, "<", 348))
    record["regular"] = b"r"
    record["sizeof_hdr"] = 348
    record["dim"] = (3, *sizes, 1, 1, 1, 1)
    record["datatype"], record["bitpix"] = _CODES[kind], kind.itemsize * 8
    record["pixdim"] = (*header.pixdim, 0, 0, 0, 0)
    record["vox_offset"], record["scl_slope"] = 352, 1
    for name in ("qform_code", "sform_code", "quatern", "srow", "xyzt_units"):
        record[name] = getattr(header, name)
    record["magic"] = _SINGLE_FILE
    return record.tobytes() + bytes(4)


def _stub(header: NiftiHeader) -> bytes:
    """A file of one voxel that is placed as the header says, for ITK to tell where."""
    quatern = header.quatern if header.qform_code > 0 else (0.0,) * 6
    srow = header.srow if header.sform_code > 0 else (0.0,) * 12
    return _bytes(replace(header, quatern=quatern, srow=srow), (1, 1, 1), np.dtype("u1")) + bytes(1)
