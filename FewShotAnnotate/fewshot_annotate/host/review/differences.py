"""Differences: what the last run changed, shown over the user's segmentation. Not saved with the scene."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ...core.slice_axis import SliceAxis
from ..fill.changes import Changes
from ..i18n import tr as _
from .label_overlay import OverlayStyle

DIFFERENCES_ATTRIBUTE = "FewShotAnnotate.Differences"
_Voxel = tuple[int, int, int]
_ADDED, _REMOVED = 1, 2


@dataclass(frozen=True)
class Differences:
    """Voxels that a run added and removed, compressed because they are rarely shown.

    Attributes
    ----------
    first : (int, int, int)
        First voxel (k, j, i) of the part of the grid that holds them.
    shape : (int, int, int)
    packed : bytes
    """

    first: _Voxel
    shape: _Voxel
    packed: bytes

    @classmethod
    def of(cls, changes: Changes) -> Differences:
        """Differences of the changes made by a run. For a background thread."""
        boxes = [*changes.add.values(), *changes.remove.values()]
        if not boxes:
            return cls((0, 0, 0), (0, 0, 0), zlib.compress(b""))
        first = np.min([box.first for box in boxes], axis=0)
        stop = np.max([np.add(box.first, box.mask.shape) for box in boxes], axis=0)
        values = np.zeros(stop - first, dtype=np.uint8)
        # Additions last: a voxel may move from one segment to another.
        for target, value in ((changes.remove, _REMOVED), (changes.add, _ADDED)):
            for box in target.values():
                box_slices = tuple(slice(a, a + n) for a, n in zip(box.first - first, box.mask.shape, strict=True))
                values[box_slices][box.mask] = value
        k, j, i = (int(number) for number in first)
        return cls((k, j, i), values.shape, zlib.compress(values, 1))

    def values(self) -> np.ndarray:
        """1 where added, 2 where only removed, uint8 [k, j, i]. For a background thread."""
        return np.frombuffer(bytearray(zlib.decompress(self.packed)), dtype=np.uint8).reshape(self.shape)

    def counts(self, axis: SliceAxis) -> dict[int, int]:
        """Number of changed voxels by slice, for slices with any. For a background thread."""
        start = self.first[axis.index]
        numbers = [int(np.count_nonzero(slice_index)) for slice_index in axis.slices(self.values())]
        return {start + number: count for number, count in enumerate(numbers) if count}


def differences_style() -> OverlayStyle:
    """How `Differences.values` are shown."""
    return OverlayStyle(
        title=_("{name}: changed by the last run"),
        attribute=DIFFERENCES_ATTRIBUTE,
        segments={_ADDED: (_("Added"), (0.0, 0.75, 0.95)), _REMOVED: (_("Removed"), (0.95, 0.3, 0.1))},
        opacity=0.7,
    )
