"""Note for users on images with sheared axes, which ITK and Slicer do not support in NIfTI."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..core.errors import Message
from ..core.volume import LPS_TO_RAS, SAME_VOXEL_TOLERANCE, Geometry, nearest_orthogonal_matrix
from .nifti_header import NiftiHeader


def shear_note(geometry: Geometry, path: object) -> Message | None:
    """Message on the sheared axes of the image `path`; None if they are orthogonal up to rounding."""
    header = geometry.header
    matrix = geometry.index_to_world
    if isinstance(header, NiftiHeader):
        if header.sform_code <= 0:
            return None
        rows = np.reshape(header.srow, (3, 4))
        sform, origin = LPS_TO_RAS @ rows[:, :3], LPS_TO_RAS @ rows[:, 3]
        if _max_distance(geometry, sform - _orthogonalised(sform)) <= SAME_VOXEL_TOLERANCE:
            return None
        off = _max_distance(geometry, sform - matrix, origin - geometry.origin)
        return Message("sform_sheared", path=path, voxels=f"{off:.2g}")
    off = _max_distance(geometry, matrix - _orthogonalised(matrix))
    return None if off <= SAME_VOXEL_TOLERANCE else Message("axes_sheared", path=path, voxels=f"{off:.2g}")


def _orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """Matrix with the nearest orthogonal columns of the same lengths."""
    lengths = np.linalg.norm(matrix, axis=0)
    lengths = np.where(lengths > 0, lengths, 1)
    return np.asarray(nearest_orthogonal_matrix(matrix / lengths) * lengths)


def _max_distance(geometry: Geometry, matrix: np.ndarray, offset: np.ndarray | float = 0.0) -> float:
    """Largest length, in voxels, of `matrix @ index + offset` in mm over the corners of the grid."""
    ends = [(0, size - 1) for size in reversed(geometry.shape)]
    corners = np.array(list(product(*ends)), dtype=float)
    return float(np.linalg.norm(corners @ matrix.T + offset, axis=1).max()) / min(geometry.spacing)
