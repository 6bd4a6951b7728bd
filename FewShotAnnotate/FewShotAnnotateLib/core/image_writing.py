"""One image file in a format of ours, placed by its header as the image was that its grid came from."""

from __future__ import annotations

import numpy as np

from .metaimage import write_metaimage
from .nifti import write_nifti
from .nrrd import write_nrrd
from .volume import Geometry
from .voxel_stream import Writable, gzip_writer


def write_image(stream: Writable, suffix: str, array: np.ndarray, geometry: Geometry) -> None:
    """Write a scalar array to a stream, from its beginning to its end.

    Parameters
    ----------
    stream : anything to write bytes to
    suffix : str
        '.nii.gz', '.nii', '.nrrd', '.seg.nrrd' or '.mha'.
    array : ndarray, shape [k, j, i]
    geometry : Geometry
        Its `header` is followed in the format that it came from; in others the grid is stated in the usual way.

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
