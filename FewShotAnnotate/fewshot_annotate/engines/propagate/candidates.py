"""Candidates that need no fit: optical flow, copy of the nearest labelled slice, shape interpolation, region growing.

They are the candidates of `propagate`, and some of those of `adapt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ...core.support import Support
from ...core.volume import Volume
from .contrast import Contrast
from .expected_time import PropagationTime
from .flow_propagation import FlowPropagation
from .region_growing import grow
from .structure_keeping import Gap

# Share of the equalised curve in the contrast of region growing; `ablation.py --parts candidates.equalised_share`
# compares it with 0, 0.5 and 0.9.
EQUALISED_SHARE = 0.75
# Slices with a longer side, in pixels, are subsampled for region growing. A limit of time, not of accuracy.
MAX_GROWING_SIDE_PIXELS = 256


class SimpleCandidates:
    """Candidates for the slices of a volume, in a window, from its labelled slices.

    Parameters
    ----------
    volume : Volume
    flow : FlowPropagation
        On the volume. Every label must be annotated on every labelled slice of its support.
    equalised_share : float
        As in `Contrast`.
    max_growing_side : int
        Slices with a longer side, in pixels, are subsampled for region growing.
    contrasts : sequence of Contrast, optional
        One for each of `channels`. Default: fitted to the labelled slices.

    Attributes
    ----------
    support : Support
    window : (slice, slice)
        The window of `flow`.
    shape : (int, int)
        Shape of the window.
    channels : list of int
        Channels of the volume that are used, by number: the volume itself and those that propagation compares.
    """

    def __init__(
        self,
        volume: Volume,
        flow: FlowPropagation,
        equalised_share: float = EQUALISED_SHARE,
        max_growing_side: int = MAX_GROWING_SIDE_PIXELS,
        contrasts: Sequence[Contrast] | None = None,
    ) -> None:
        self._volume = volume
        self._flow = flow
        self._equalised_share = equalised_share
        self._max_growing_side = max_growing_side
        self.support: Support = flow.support
        self.window = flow.window
        self.channels = sorted({0, *flow.compared.channels})
        self.shape: tuple[int, int] = self.images(0).shape[1:]
        self._contrasts = contrasts or [self._fitted_contrast(channel) for channel in self.channels]
        self._gaps: dict[tuple[int, int], Gap] = {}
        self._grown: dict[tuple[int, int], np.ndarray] = {}

    def images(self, index: int) -> np.ndarray:
        """One slice in the window, float32 `[channels, h, w]`, intensities from 0 to 1."""
        return self._flow.images(index, self.channels)

    def weighted(self, index: int) -> np.ndarray:
        """The channels that propagation compares, each multiplied by its weight, float32 `[channels, h, w]`."""
        compared = self._flow.compared
        images = self._flow.images(index)
        images *= np.array([weight for weight in compared.weights if weight], dtype=np.float32)[:, None, None]
        return images

    def contrasted(self, index: int) -> np.ndarray:
        """The slice after contrast equalisation for the intensities at the labels, float32 `[channels, h, w]`."""
        images = self.images(index)
        return np.stack([contrast(image) for contrast, image in zip(self._contrasts, images, strict=True)])

    def _fitted_contrast(self, channel: int) -> Contrast:
        labelled = (
            (self._flow.images(index, [channel])[0], self.mask(support_index))
            for support_index, index in enumerate(self.support.indices)
        )
        return Contrast(labelled, self._equalised_share)

    def mask(self, support_index: int) -> np.ndarray:
        """Label values `[h, w]`, in the window, of the labelled slice with this support index."""
        window: np.ndarray = self.support.masks[(support_index, *self.window)]
        return window

    def one_hot(self, support_index: int) -> np.ndarray:
        """One-hot labels of a labelled slice by support index, float32 `[len(labels) + 1, h, w]`, in the window."""
        return self.support.one_hot(support_index, self.window)

    def label_indices(self, index: int) -> np.ndarray:
        """Label index of each pixel of the labelled slice at `index`, int `[h, w]`, in the window."""
        mask = self.mask(self.support.indices.index(index))
        return np.searchsorted(np.array([0, *self.support.labels]), mask)

    @cached_property
    def areas(self) -> np.ndarray:
        """Pixels of each label on each labelled slice, int `[n, labels]`."""
        masks = (self.mask(support_index) for support_index in range(len(self.support.indices)))
        return np.array([[np.count_nonzero(mask == label) for label in self.support.labels] for mask in masks])

    def subset(self, support_indices: Sequence[int]) -> SimpleCandidates:
        """Candidates from some of the labelled slices only, with the same contrast."""
        flow = self._flow.subset(support_indices)
        return SimpleCandidates(self._volume, flow, self._equalised_share, self._max_growing_side, self._contrasts)

    @property
    def expected_propagation(self) -> PropagationTime:
        """Expected time of the propagation that the candidates are based on."""
        return self._flow.expected_time

    def release(self) -> None:
        """Free the cached results of gaps between labelled slices."""
        self._gaps.clear()
        self._grown.clear()

    def nearest_copy(self, index: int) -> np.ndarray:
        """One-hot labels of the nearest labelled slice, the lower one of two, float32 `[len(labels) + 1, h, w]`."""
        distances = [abs(index - labelled) for labelled in self.support.indices]
        return self.one_hot(distances.index(min(distances)))

    def interpolated(self, sides: Sequence[int], index: int) -> np.ndarray:
        """Probabilities `[labels + 1, h, w]` by shape interpolation; `sides` are support indices around the slice."""
        return self.gap(sides[0], sides[-1]).interpolated(index, len(self.support.labels) + 1)

    def grown_slice(self, index: int) -> np.ndarray:
        """Labels of a slice between two labelled ones, `[h, w]`, by region growing in the whole gap."""
        around = self.support.around(index)
        first, last = (self.support.indices[side] for side in (around[0], around[-1]))
        return self.grown(around, range(first + 1, last))[index]

    def grown(self, sides: Sequence[int], query: Sequence[int]) -> dict[int, np.ndarray]:
        """Labels `[h, w]` of query slices by region growing from labelled slices, given by support index."""
        support_indices_by_slice = {self.support.indices[support_index]: support_index for support_index in sides}
        start, stop = min([*support_indices_by_slice, *query]), max([*support_indices_by_slice, *query]) + 1
        stride = tuple(slice(None, None, -(-size // self._max_growing_side)) for size in self.shape)
        if (start, stop) not in self._grown:
            images = np.stack([self._growing_images(index, stride) for index in range(start, stop)])
            seed_masks = np.zeros((len(images), *images.shape[2:]), dtype=self.support.masks.dtype)
            for index, support_index in support_indices_by_slice.items():
                seed_masks[index - start] = self.mask(support_index)[stride]
            self._grown[start, stop] = grow(images, seed_masks, [index - start for index in support_indices_by_slice])
        grown = self._grown[start, stop]
        return {index: _enlarge(grown[index - start], stride, self.shape) for index in query}

    def _growing_images(self, index: int, stride: tuple[slice, ...]) -> np.ndarray:
        """Images of a slice for region growing: the channels that propagation compares, times their weights."""
        weights = self._flow.compared.weights
        return np.stack(
            [
                contrast(image[stride]) * np.float32(weights[channel])
                for channel, contrast, image in zip(self.channels, self._contrasts, self.images(index), strict=True)
                if weights[channel]
            ]
        )

    def gap(self, before: int, after: int) -> Gap:
        """Structures of two labelled slices, by support index; the same index twice repeats that slice."""
        if (before, after) not in self._gaps:
            self._gaps[before, after] = self._flow.gap((before, after), range(len(self.support.labels)))
        return self._gaps[before, after]


def _enlarge(mask: np.ndarray, stride: tuple[slice, ...], shape: tuple[int, int]) -> np.ndarray:
    """Repeat the pixels of a subsampled mask to a given shape."""
    for axis, axis_range in enumerate(stride):
        if axis_range.step > 1:
            mask = np.repeat(mask, axis_range.step, axis=axis)
    return mask[: shape[0], : shape[1]]
