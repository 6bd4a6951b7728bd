"""Canonical array order: every volume with its axes along the same patient directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.volume import Geometry


@dataclass(frozen=True)
class CanonicalOrder:
    """Permutation and flips after which the axes of an array `[k, j, i]` run to superior, posterior and left.

    Attributes
    ----------
    axes : (int, int, int)
        Array axis that is closest to each of these directions.
    flipped : (bool, bool, bool)
        Whether that axis runs in the opposite direction.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> CanonicalOrder:
        """Canonical order for a grid, which may be oblique."""
        # Column c of the direction matrix is the direction of array axis 2 - c.
        cosines = geometry.direction_matrix[::-1, ::-1]
        axes: list[int] = [0, 0, 0]
        unassigned = np.abs(cosines).copy()
        for _ in range(3):
            patient, axis = np.unravel_index(unassigned.argmax(), unassigned.shape)
            axes[int(patient)] = int(axis)
            unassigned[patient, :], unassigned[:, axis] = -1, -1
        flipped = [bool(cosines[patient, axes[patient]] < 0) for patient in range(3)]
        return cls((axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2]))

    def apply(self, array: np.ndarray) -> np.ndarray:
        """View of `[k, j, i]` in canonical order."""
        moved = array.transpose(self.axes)
        return moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def restore(self, array: np.ndarray) -> np.ndarray:
        """View of the last three axes of `[..., a, b, c]` in array order `[..., k, j, i]`."""
        leading = list(range(array.ndim - 3))
        flips = [slice(None, None, -1 if flip else 1) for flip in self.flipped]
        flipped = array[tuple([slice(None)] * len(leading) + flips)]
        return flipped.transpose(*leading, *(len(leading) + int(axis) for axis in np.argsort(self.axes)))

    def spacing(self, geometry: Geometry) -> tuple[float, float, float]:
        """Spacing in mm of each canonical axis."""
        array_spacing = geometry.spacing[::-1]
        return array_spacing[self.axes[0]], array_spacing[self.axes[1]], array_spacing[self.axes[2]]

    def axis(self, array_axis: int) -> int:
        """Canonical axis of an array axis."""
        return self.axes.index(array_axis)
