"""Writing of image files, with the geometry fields of the file that their grid was read from."""

from __future__ import annotations

import numpy as np

from ..core.volume import Geometry
from .metaimage import write_metaimage
from .nifti import write_nifti
from .nrrd import write_nrrd
from .voxel_stream import Writable, gzip_writer


def write_image(stream: Writable, suffix: str, array: np.ndarray, geometry: Geometry) -> None:
    """Write a scalar array to a stream sequentially.

    Parameters
    ----------
    stream : Writable
        Binary stream.
    suffix : str
        '.nii.gz', '.nii', '.nrrd', '.seg.nrrd' or '.mha'.
    array : ndarray, shape [k, j, i]
    geometry : Geometry
        Its `header` is reproduced if it came from the same format; otherwise the header is derived from the grid.

    Raises
    ------
    InputError
        The format cannot hold the array.
    OSError
    """
    if suffix == ".nii.gz":
        with gzip_writer(stream) as packed:
            write_nifti(packed, array, geometry)
        return
    writers = {".nii": write_nifti, ".nrrd": write_nrrd, ".seg.nrrd": write_nrrd, ".mha": write_metaimage}
    writers[suffix](stream, array, geometry)
