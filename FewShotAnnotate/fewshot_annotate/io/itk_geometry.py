"""Geometry of image files as ITK interprets their headers, which other readers may interpret differently."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..core.storage import temporary_folder
from ..core.volume import Geometry, ImageHeader
from .itk_file import suppress_stderr


def geometry_of_stub(
    stub: bytes, suffix: str, shape: tuple[int, ...], path: Path, header: ImageHeader | None = None
) -> Geometry:
    """Geometry that ITK computes from the geometry fields of a header, by reading a stub file of one voxel.

    Parameters
    ----------
    stub : bytes
        Content of a file of one voxel with the geometry fields of the image.
    suffix : str
        Its suffix.
    shape : (int, int, int)
        Shape [k, j, i] of the image.
    path : Path
        The image file, for errors.
    header : ImageHeader, optional
        Stored in the geometry.

    Raises
    ------
    InputError
        The geometry is invalid.
    """
    try:
        voxel = _geometry_of_voxel(stub, suffix)
    except RuntimeError:
        raise InputError("geometry_impossible", path=path) from None
    k, j, i = shape
    geometry = replace(voxel, shape=(k, j, i), header=header)
    require_grid(geometry, path)
    return geometry


@lru_cache(maxsize=64)  # image, labels and confidence of a case have the same fields
def _geometry_of_voxel(stub: bytes, suffix: str) -> Geometry:
    with temporary_folder() as folder:
        file = folder / f"stub{suffix}"
        file.write_bytes(stub)
        with suppress_stderr():
            return Geometry.of_image(sitk.ReadImage(os.fsencode(file).decode()))


def require_grid(geometry: Geometry, path: Path) -> None:
    """Raise `InputError` unless spacing, origin and direction are finite, positive and invertible respectively."""
    numbers = np.array([*geometry.spacing, *geometry.origin, *geometry.direction])
    direction = geometry.direction_matrix
    finite = np.isfinite(numbers).all() and np.abs(numbers).max() < 1e9
    if not finite or min(geometry.spacing) <= 0 or abs(np.linalg.det(direction)) < 1e-3:
        raise InputError("geometry_impossible", path=path)
