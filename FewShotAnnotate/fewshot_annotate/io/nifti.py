"""Reading of NIfTI-1, NIfTI-2 and Analyze 7.5 files, single or as a pair of files, and writing of NIfTI-1."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import paths
from ..core.errors import InputError, Message
from ..core.volume import Geometry, nearest_orthogonal_matrix
from .image_file import ImageFile
from .itk_geometry import geometry_of_stub
from .nifti_header import (
    HEADER_BYTES,
    MAX_SIZE,
    NiftiHeader,
    first_voxel,
    geometry_fields,
    header_bytes,
    header_fields,
    is_analyze,
    is_single_file,
    layout,
    stub_file,
)
from .voxel_stream import (
    Writable,
    byte_count,
    file_errors_as_input_errors,
    is_compressed,
    open_decompressed,
    read_voxels,
    require_plausible_size,
    skip_to,
    slice_buffers,
)

_MAX_NUMBER = 1e9
_MAX_QUATERNION = 1.01


def read_nifti(path: Path, size: int) -> ImageFile:
    """Read voxels and geometry of a NIfTI or Analyze file of `size` bytes, compressed or not, single or a pair.

    Raises
    ------
    InputError
        It is not a single 3D volume, is truncated or damaged, or the header defines no geometry.
    """
    with file_errors_as_input_errors(path), open_decompressed(path) as stream:
        fields = header_fields(stream.read(HEADER_BYTES))
        if fields is None:
            raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))
        dtype, shape = layout(fields, path)
        header = geometry_fields(fields)
        geometry = _geometry(header, shape, path)
        start = first_voxel(fields, path)
        if is_single_file(fields):
            return ImageFile(_scaled(_voxels(stream, path, size, start, dtype, shape), fields), geometry)
    voxels = _partner(path)
    with file_errors_as_input_errors(voxels), open_decompressed(voxels) as stream:
        array = _voxels(stream, voxels, paths.size(voxels), start, dtype, shape)
    return ImageFile(_scaled(array, fields), geometry)


def nifti_layout(path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Data type and shape [k, j, i] that the header of a single NIfTI file states, without reading voxels.

    Raises
    ------
    InputError
        It is no such file, or not a single 3D volume.
    """
    with file_errors_as_input_errors(path), open_decompressed(path) as stream:
        fields = header_fields(stream.read(HEADER_BYTES))
    if fields is None or not is_single_file(fields):
        raise InputError("file_unreadable", path=path, detail=Message("header_damaged"))
    return layout(fields, path)


def write_nifti(stream: Writable, array: np.ndarray, geometry: Geometry) -> None:
    """Write `array` [k, j, i] as NIfTI-1, with the header of `geometry` if it came from a NIfTI file.

    Raises
    ------
    InputError
        An axis is longer than NIfTI-1 allows.
    """
    header = geometry.header if isinstance(geometry.header, NiftiHeader) else NiftiHeader.of_geometry(geometry)
    if max(array.shape) > MAX_SIZE:
        raise InputError("axis_too_long", most=MAX_SIZE)
    stream.write(header_bytes(header, array.shape[::-1], array.dtype))
    for slice_bytes in slice_buffers(array):
        stream.write(slice_bytes)


def _geometry(header: NiftiHeader, shape: tuple[int, ...], path: Path) -> Geometry:
    """Geometry as ITK interprets it; an sform that ITK refuses as not orthogonal is orthogonalised."""
    used = [*header.pixdim[1:], *(header.quatern if header.qform_code > 0 else ())]
    used += header.srow if header.sform_code > 0 else ()
    quaternion = header.quatern[:3] if header.qform_code > 0 else (0.0,)
    codes = header.qform_code, header.sform_code
    # ITK hangs on some of these values.
    valid = np.isfinite(used).all() and np.abs(used).max() < _MAX_NUMBER
    valid = valid and np.abs(quaternion).max() <= _MAX_QUATERNION
    if not valid or np.abs(codes).max() > MAX_SIZE:
        raise InputError("geometry_impossible", path=path)
    try:
        return geometry_of_stub(stub_file(header), ".nii", shape, path, header)
    except InputError:
        if header.sform_code <= 0:
            raise
        return geometry_of_stub(stub_file(_with_orthogonal_sform(header)), ".nii", shape, path, header)


def _with_orthogonal_sform(header: NiftiHeader) -> NiftiHeader:
    """The header with the axes of its sform replaced by the nearest orthogonal ones, spacing unchanged."""
    rows = np.reshape(header.srow, (3, 4))
    lengths = np.linalg.norm(rows[:, :3], axis=0)
    axes = nearest_orthogonal_matrix(rows[:, :3] / np.where(lengths > 0, lengths, 1))
    orthogonal = np.column_stack([axes * lengths, rows[:, 3]])
    return replace(header, srow=tuple(orthogonal.ravel().tolist()))


def _voxels(
    stream: io.BufferedIOBase, path: Path, size: int, start: int, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    packed = is_compressed(stream)
    require_plausible_size(path, byte_count(dtype, shape), size if packed else size - start, packed)
    skip_to(stream, max(0, start), path)
    return read_voxels(stream, dtype, shape, path)


def _scaled(array: np.ndarray, fields: Any) -> np.ndarray:
    """Apply the header's slope and intercept, if any, in floating point."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if is_analyze(fields) or array.dtype.kind == "c" or slope == 0 or not np.isfinite([slope, intercept]).all():
        return array
    if slope == 1 and intercept == 0:
        return array
    dtype = array.dtype if array.dtype.kind == "f" else np.float32 if array.dtype.itemsize < 4 else np.float64
    scaled = array.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite are refused later
        scaled *= slope
        scaled += intercept
    return scaled


def _partner(path: Path) -> Path:
    """The .img file that belongs to a .hdr file."""
    name = path.name.lower()
    stem = path.name[: name.rindex(".hdr")] if ".hdr" in name else path.stem
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.GZ"):
        partner = path.with_name(stem + suffix)
        if paths.is_file(partner) and partner != path:
            return partner
    raise InputError("partner_missing", path=path, partner=stem + ".img")
