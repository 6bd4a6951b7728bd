"""Pictures of held-out slices: the truth, and the labels of each engine with the outline of the truth."""

from __future__ import annotations

import numpy as np

from ...core.bounding_box import bounding_box
from ...core.intensity import IntensityRange
from ...io.slice_picture import Region, draw_slice, png_bytes, radiological_flips
from ..case import ComparisonCase

PICTURE_HEIGHT_PIXELS = 260
OUTLINE_COLOUR = (1.0, 0.92, 0.24)
# Margin on each side of the box around all labels, as a fraction of its size.
CROP_MARGIN_FRACTION = 0.35
_MIN_CROP_PIXELS = 24


class SliceRenderer:
    """Draws slices of one case, cropped to the labels.

    Parameters
    ----------
    case : ComparisonCase
    """

    def __init__(self, case: ComparisonCase) -> None:
        self._case = case
        self._crop = _crop(case)
        self._flips = radiological_flips(case.axis, case.volume.geometry)
        self._intensities = IntensityRange.of_volume(case.volume.array)
        _, row_mm, column_mm = case.axis.spacing(case.volume.geometry)
        rows, columns = (axis_range.stop - axis_range.start for axis_range in self._crop)
        self._size = (
            max(1, round(PICTURE_HEIGHT_PIXELS * columns * column_mm / (rows * row_mm))),
            PICTURE_HEIGHT_PIXELS,
        )

    def png(self, support_index: int, masks: np.ndarray | None) -> bytes:
        """PNG of a labelled slice.

        Parameters
        ----------
        support_index : int
            Position within the labelled slices.
        masks : integer ndarray, shape [layers, h, w], or None
            Drawn as areas under the outline of the truth; None: the truth is drawn as areas.
        """
        case = self._case
        image = self._cut(case.axis.slices(case.volume.array)[case.indices[support_index]])
        truth = np.stack([support.masks[support_index] for support in case.supports])
        structures = [(structure.layer, structure.segment) for structure in case.structures]
        areas = [
            Region(self._cut((truth if masks is None else masks)[layer] == segment.value), segment.colour)
            for layer, segment in structures
        ]
        outlines = [
            Region(self._cut(truth[layer] == segment.value), OUTLINE_COLOUR)
            for layer, segment in structures
            if masks is not None
        ]
        return png_bytes(draw_slice(image, self._intensities, self._size, areas, outlines))

    def _cut(self, image: np.ndarray) -> np.ndarray:
        return image[self._crop][self._flips]


def _crop(case: ComparisonCase) -> tuple[slice, slice]:
    """Rows and columns around all labels of all slices, with a margin."""
    anything = np.any([support.masks.any(axis=0) for support in case.supports], axis=0)
    box = bounding_box(anything)
    assert box is not None
    ranges = []
    for held, size in zip(box, anything.shape, strict=True):
        crop_size = max(_MIN_CROP_PIXELS, round((held.stop - held.start) * (1 + 2 * CROP_MARGIN_FRACTION)))
        start = max(0, min((held.start + held.stop - crop_size) // 2, size - crop_size))
        ranges.append(slice(start, min(size, start + crop_size)))
    return ranges[0], ranges[1]
