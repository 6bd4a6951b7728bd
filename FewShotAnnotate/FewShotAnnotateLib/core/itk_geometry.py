"""Where ITK puts the voxels of a file: a header can be understood in several ways, and ITK's is ours."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .itk_file import silent_stderr
from .volume import Geometry, ImageHeader


def geometry_of_stub(
    stub: bytes, suffix: str, shape: tuple[int, ...], path: Path, header: ImageHeader | None = None
) -> Geometry:
    """Geometry that ITK reads from a file of one voxel, which says where it lies as the image at `path` does.

    Parameters
    ----------
    stub : bytes
        The whole file.
    suffix : str
        Its format.
    shape : (int, int, int)
        Of the image, [k, j, i].

    Raises
    ------
    InputError
        No grid of voxels lies so.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"stub{suffix}")
        file.write_bytes(stub)
        try:
            with silent_stderr():
                image = sitk.ReadImage(os.fsencode(file).decode())
        except RuntimeError:
            raise InputError("geometry_impossible", path=path) from None
    k, j, i = shape
    geometry = Geometry((k, j, i), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), header)
    require_grid(geometry, path)
    return geometry


def require_grid(geometry: Geometry, path: Path) -> None:
    """Raise `InputError` unless spacing, origin and direction are numbers that place voxels."""
    numbers = np.array([*geometry.spacing, *geometry.origin, *geometry.direction])
    direction = np.reshape(geometry.direction, (3, 3))
    finite = np.isfinite(numbers).all() and np.abs(numbers).max() < 1e9
    if not finite or min(geometry.spacing) <= 0 or abs(np.linalg.det(direction)) < 1e-3:
        raise InputError("geometry_impossible", path=path)
