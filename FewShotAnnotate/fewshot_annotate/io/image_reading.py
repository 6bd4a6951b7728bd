"""Reading of image files; the format is detected from the content, not from the file name."""

from __future__ import annotations

from pathlib import Path

from ..core import paths
from ..core.errors import InputError
from .image_file import ImageFile, UnsupportedFeatureError
from .itk_reading import read_with_itk
from .metaimage import is_metaimage, read_metaimage
from .mgh import is_mgh, read_mgh
from .nifti import read_nifti
from .nifti_header import HEADER_BYTES, is_nifti
from .nrrd import MAGIC, read_nrrd
from .voxel_stream import file_errors_as_input_errors, open_decompressed, read_head


def read_image_file(path: Path) -> ImageFile:
    """Read voxels, geometry and text fields of an image file.

    NIfTI, NRRD and MetaImage are read by this package, because ITK aborts the process on some damaged files, reads
    missing voxels as 0 and does not keep the geometry fields of the header. The geometry is still computed by ITK.

    Raises
    ------
    InputError
        The file is missing, empty, truncated, damaged, of an unknown format, or not a single 3D image.
    """
    path = _header_of_pair(path)
    size = paths.require_file(path).st_size
    if size == 0:
        raise InputError("file_empty", path=path)
    with file_errors_as_input_errors(path), open_decompressed(path) as stream:
        head = stream.read(HEADER_BYTES)
    if is_nifti(head):
        return read_nifti(path, size)
    if is_mgh(head):
        return read_mgh(path, size)
    try:
        if read_head(path, len(MAGIC), unpacked=False) == MAGIC:
            return read_nrrd(path, size)
        if is_metaimage(head):
            return read_metaimage(path, size)
    except UnsupportedFeatureError:
        pass
    return read_with_itk(path)


def _header_of_pair(path: Path) -> Path:
    """The .hdr file if `path` is the .img file of a pair, else `path`."""
    name = path.name.lower()
    for suffix in (".img", ".img.gz"):
        if name.endswith(suffix):
            stem = path.name[: -len(suffix)]
            for header in (".hdr", ".hdr.gz", ".HDR"):
                if paths.is_file(path.with_name(stem + header)):
                    return path.with_name(stem + header)
    return path
