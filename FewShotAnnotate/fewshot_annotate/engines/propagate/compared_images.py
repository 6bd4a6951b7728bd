"""ComparedImages: the images of two slices that optical flow compares, some channels and adjacent slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..channels import ChannelSlices

# Weights of a slice and of each adjacent slice where three slices are compared; the flow uses their squares.
# `ablation.py --parts propagate.compared_images` compares each with a smaller and a larger one.
CENTRE_WEIGHT, ADJACENT_WEIGHT = 0.5**0.5, 0.5


@dataclass(frozen=True)
class ComparedImages:
    """The images that are compared of two slices.

    Attributes
    ----------
    weights : tuple of float
        Weight of each channel of the volume; the sum of the squares is 1. Channels of weight 0 are not compared.
    adjacent : int
        Number of adjacent slices on each side that are compared too, 0 or 1.
    gains : tuple of tuple of float
        For each channel, the factor of the intensities of each slice that makes slices equally bright; empty: 1.
    """

    weights: tuple[float, ...] = (1.0,)
    adjacent: int = 0
    gains: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def equally(cls, channels: Sequence[int], count: int) -> ComparedImages:
        """Some of the `count` channels of a volume, with equal weights."""
        weight = float(len(channels) ** -0.5)
        return cls(tuple(weight if channel in channels else 0.0 for channel in range(count)))

    @property
    def channels(self) -> list[int]:
        """The channels that are compared, by number; 0 is the volume itself."""
        return [channel for channel, weight in enumerate(self.weights) if weight]

    def image(self, slices: ChannelSlices, channel: int, index: int, window: tuple[slice, slice]) -> np.ndarray:
        """One slice of a channel of the volume, float32 `[h, w]`; intensities from 0 to 1, times its gain."""
        image = slices.image(channel, index, window)
        if self.gains:
            image *= np.float32(self.gains[channel][index])
        return image

    def of_slice(self, slices: ChannelSlices, index: int, window: tuple[slice, slice]) -> np.ndarray:
        """Images of a slice, each multiplied by its weight, float32 `[images, h, w]`.

        Parameters
        ----------
        slices : ChannelSlices
        index : int
            Slice index; beyond the first and last slice, these are repeated.
        window : (slice, slice)
        """
        offsets = [(0, CENTRE_WEIGHT), (-1, ADJACENT_WEIGHT), (1, ADJACENT_WEIGHT)] if self.adjacent else [(0, 1)]
        images = []
        for channel in self.channels:
            for offset, weight in offsets:
                image = self.image(slices, channel, int(np.clip(index + offset, 0, len(slices) - 1)), window)
                image *= np.float32(weight * self.weights[channel])
                images.append(image)
        return np.stack(images)
