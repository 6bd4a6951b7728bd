"""Slices of a volume and its further channels, scaled for engines."""

from __future__ import annotations

import numpy as np

from ..core.intensity import IntensityRange
from ..core.slice_axis import SliceAxis
from ..core.volume import Volume


class ChannelSlices:
    """Slices of all channels of a volume along one axis, each channel scaled to its own range of intensities.

    Parameters
    ----------
    volume : Volume
        Its further volumes must be on its grid.
    axis : SliceAxis
    """

    def __init__(self, volume: Volume, axis: SliceAxis) -> None:
        self._slices = [axis.slices(channel.array) for channel in (volume, *volume.further)]
        self._ranges = [IntensityRange.of_volume(slices) for slices in self._slices]

    def __len__(self) -> int:
        """Number of slices."""
        return len(self._slices[0])

    @property
    def channels(self) -> int:
        """Number of channels, of which the first is the volume itself."""
        return len(self._slices)

    def image(self, channel: int, index: int, crop: tuple[slice, slice]) -> np.ndarray:
        """A crop of one slice of one channel, float32 `[h, w]`, intensities from 0 to 1."""
        return self._ranges[channel].normalise(self._slices[channel][index][crop])
