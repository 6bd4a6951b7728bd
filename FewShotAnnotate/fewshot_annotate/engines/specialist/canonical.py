"""Canonical array order: every volume with its axes along the same patient directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core.volume import Geometry


@dataclass(frozen=True)
class CanonicalOrder:
    """Permutation and flips that bring an array `[k, j, i]` to axes along superior, posterior and left.

    Attributes
    ----------
    axes : (int, int, int)
        Array axis nearest to each of these directions.
    flipped : (bool, bool, bool)
        Whether it runs the other way.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> CanonicalOrder:
        """Order of an array on a grid, which may be oblique."""
        # Column c of the direction matrix is the direction of array axis 2 - c.
        towards = geometry.direction_matrix[::-1, ::-1]
        axes: list[int] = [0, 0, 0]
        left = np.abs(towards).copy()
        for _ in range(3):
            patient, axis = np.unravel_index(left.argmax(), left.shape)
            axes[int(patient)] = int(axis)
            left[patient, :], left[:, axis] = -1, -1
        flipped = [bool(towards[patient, axes[patient]] < 0) for patient in range(3)]
        return cls((axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2]))

    def apply(self, array: np.ndarray) -> np.ndarray:
        """View of `[k, j, i]` in canonical order."""
        moved = array.transpose(self.axes)
        return moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def restore(self, array: np.ndarray) -> np.ndarray:
        """View of the last three axes of `[..., a, b, c]` in array order `[..., k, j, i]`."""
        lead = list(range(array.ndim - 3))
        flips = [slice(None, None, -1 if flip else 1) for flip in self.flipped]
        back = array[tuple([slice(None)] * len(lead) + flips)]
        return back.transpose(*lead, *(len(lead) + int(axis) for axis in np.argsort(self.axes)))

    def spacing(self, geometry: Geometry) -> tuple[float, float, float]:
        """Spacing in mm of each canonical axis."""
        of_array = geometry.spacing[::-1]
        return of_array[self.axes[0]], of_array[self.axes[1]], of_array[self.axes[2]]

    def axis(self, array_axis: int) -> int:
        """Canonical axis of an array axis."""
        return self.axes.index(array_axis)
