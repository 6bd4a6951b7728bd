"""One image file of any known format, told by its content and not by its name."""

from __future__ import annotations

from pathlib import Path

from . import paths
from .errors import InputError
from .image_file import BeyondReader, ImageFile
from .itk_reading import read_with_itk
from .metaimage import is_metaimage, read_metaimage
from .mgh import is_mgh, read_mgh
from .nifti import HEADER_BYTES, is_nifti, read_nifti
from .nrrd import MAGIC, read_nrrd
from .voxel_stream import damage_named, head_of, open_unpacked


def read_image_file(path: Path) -> ImageFile:
    """Voxels, geometry and text fields of an image file.

    NIfTI, NRRD and MetaImage have readers of our own, since ITK ends the process at some damaged ones, takes missing
    voxels for 0 and loses how the header places the voxels. Where they lie is asked of ITK.

    Raises
    ------
    InputError
        Missing, empty, cut off, damaged, of an unknown format, or not one 3D image.
    """
    path = _header_of_pair(path)
    size = paths.require_file(path).st_size
    if size == 0:
        raise InputError("file_empty", path=path)
    with damage_named(path), open_unpacked(path) as stream:
        head = stream.read(HEADER_BYTES)
    if is_nifti(head):
        return read_nifti(path, size)
    if is_mgh(head):
        return read_mgh(path, size)
    try:
        if head_of(path, len(MAGIC), unpacked=False) == MAGIC:
            return read_nrrd(path, size)
        if is_metaimage(head):
            return read_metaimage(path, size)
    except BeyondReader:
        pass
    return read_with_itk(path)


def _header_of_pair(path: Path) -> Path:
    """The .hdr of a pair of which the .img is given."""
    name = path.name.lower()
    for suffix in (".img", ".img.gz"):
        if name.endswith(suffix):
            stem = path.name[: -len(suffix)]
            for header in (".hdr", ".hdr.gz", ".HDR"):
                if path.with_name(stem + header).is_file():
                    return path.with_name(stem + header)
    return path
