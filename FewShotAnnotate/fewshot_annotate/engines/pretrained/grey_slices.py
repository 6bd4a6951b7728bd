"""Engines whose model sees slices as grey pictures."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.support import Support
from ...core.volume import Volume
from ..base import RunContext
from .base import PretrainedEngine
from .intensity import Greys, Scale
from .prompts import Box, Extents


class GreyEngine(PretrainedEngine):
    """Base of engines that make grey values of intensities. Add `"intensities": INTENSITIES` to `options`."""

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Keep views and find how intensities become grey values."""
        super().prepare(volume, support, context)
        self._support = support
        self._shape = support.masks.shape[1], support.masks.shape[2]
        self._greys = Greys(support.axis.slices(volume.array), Scale(self.settings["intensities"]))
        self._extents = Extents(support)

    def limits(self, slice_indices: Sequence[int]) -> dict[int, dict[int, Box]]:
        """Where labels, by their place, can be on each slice; those that the slices around deny are not there."""
        places = range(len(self._support.labels))
        return {
            index: {place: limit for place in places if (limit := self._extents.limit(index, place)) is not None}
            for index in slice_indices
        }
