"""Base class of engines whose model takes 8-bit greyscale images."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.support import Support
from ...core.volume import Volume
from ..base import RunContext
from .base import PretrainedEngine
from .intensity import GreyscaleSlices, IntensityScale
from .prompts import Box, LabelExtents


class GreyscaleEngine(PretrainedEngine):
    """Base of engines that convert intensities to grey values. Add `"intensities": INTENSITIES` to `options`."""

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input and choose the conversion of intensities to grey values."""
        super().prepare(volume, support, context)
        self._support = support
        self._shape = support.masks.shape[1], support.masks.shape[2]
        self.greyscale = GreyscaleSlices(
            support.axis.slices(volume.array), IntensityScale(self.settings["intensities"])
        )
        self._extents = LabelExtents(support)

    def limits(self, slice_indices: Sequence[int]) -> dict[int, dict[int, Box]]:
        """Box that each label may occupy, by slice index and label index; labels that are absent there have none."""
        label_indices = range(len(self._support.labels))
        return {
            index: {
                label_index: limit
                for label_index in label_indices
                if (limit := self._extents.limit(index, label_index)) is not None
            }
            for index in slice_indices
        }
