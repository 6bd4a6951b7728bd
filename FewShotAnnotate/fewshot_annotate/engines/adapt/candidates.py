"""Candidate predictions of query slices and of held-out slices: optical flow, region growing, shape interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from ...core.support import Support
from ...core.volume import Volume
from ..base import label_slice
from ..propagate.engine import ComparedImages, Propagate
from ..propagate.region_growing import grow, soften
from ..propagate.structure_keeping import Gap
from .config import CandidateConfig
from .contrast import Contrast

CANDIDATES = ("propagation", "region growing", "shape interpolation")


class CandidatePool:
    """Candidate predictions on one volume.

    Parameters
    ----------
    volume : Volume
    support : Support
        Every label must be annotated on every labelled slice, see `complete_support`.
    config : CandidateConfig
    window : (slice, slice), optional
        Crop of the slices to work on; default: the bounding box of the labels and a margin.
    carried : mapping of int to float16 ndarray, shape [len(labels) + 1, h, w], optional
        Results of propagation in the window that are known already, by slice index.
    compared : ComparedImages, optional
        As in `Propagate`, which chooses the default.
    contrasts : sequence of Contrast, optional
        Of each of `channels`. Default: fitted to the labelled slices. They are shared with pools in which some of
        them are held out.

    Attributes
    ----------
    channels : list of int
        Channels of the volume that are worked with, by number: the volume itself and those that propagation compares.
    """

    def __init__(
        self,
        volume: Volume,
        support: Support,
        config: CandidateConfig,
        window: tuple[slice, slice] | None = None,
        carried: Mapping[int, np.ndarray] | None = None,
        compared: ComparedImages | None = None,
        contrasts: Sequence[Contrast] | None = None,
    ) -> None:
        self._volume = volume
        self.support = support
        self.config = config
        self._carried = carried or {}
        self._propagate = Propagate()
        self._propagate.prepare(volume, support, window=window, compared=compared)
        self.window = self._propagate.window
        self.channels = sorted({0, *self._propagate.compared.channels})
        self.shape = self.images(0).shape[1:]
        self._contrasts = contrasts or [self._fitted_contrast(channel) for channel in self.channels]
        self._gaps: dict[tuple[int, int], Gap] = {}
        self._grown: dict[tuple[int, int], np.ndarray] = {}

    def images(self, index: int) -> np.ndarray:
        """One slice in the window, float32 `[channels, h, w]`, intensities from 0 to 1."""
        return self._propagate.images(index, self.channels)

    def weighted(self, index: int) -> np.ndarray:
        """The channels that propagation compares, each multiplied by its weight, float32 `[channels, h, w]`."""
        compared = self._propagate.compared
        images = self._propagate.images(index)
        images *= np.array([weight for weight in compared.weights if weight], dtype=np.float32)[:, None, None]
        return images

    def contrasted(self, index: int) -> np.ndarray:
        """The slice after contrast equalisation for the intensities in and around the labels."""
        images = self.images(index)
        return np.stack([contrast(image) for contrast, image in zip(self._contrasts, images, strict=True)])

    def _fitted_contrast(self, channel: int) -> Contrast:
        labelled = (
            (self._propagate.images(index, [channel])[0], self.mask(row))
            for row, index in enumerate(self.support.indices)
        )
        return Contrast(labelled, self.config.equalised_share)

    def mask(self, row: int) -> np.ndarray:
        """Label values `[h, w]`, in the window, of the labelled slice with this support index."""
        window: np.ndarray = self.support.masks[(row, *self.window)]
        return window

    def one_hot(self, row: int) -> np.ndarray:
        """One-hot labels of a labelled slice by support index, float32 `[len(labels) + 1, h, w]`, in the window."""
        values = np.array([0, *self.support.labels])[:, None, None]
        one_hot: np.ndarray = (self.mask(row) == values).astype(np.float32)
        return one_hot

    def rows(self, index: int) -> np.ndarray:
        """Label index of each pixel, 0 for background, of the labelled slice at `index`, in the window."""
        mask = self.mask(self.support.indices.index(index))
        return np.searchsorted(np.array([0, *self.support.labels]), mask)

    @cached_property
    def areas(self) -> np.ndarray:
        """Pixels of each label on each labelled slice, int `[n, labels]`."""
        masks = (self.mask(row) for row in range(len(self.support.indices)))
        return np.array([[np.count_nonzero(mask == label) for label in self.support.labels] for mask in masks])

    def candidates(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Predict query slices with every candidate, gap by gap.

        Yields
        ------
        index : int
        float32 ndarray, shape [len(CANDIDATES), len(labels) + 1, h, w]
            Log-probabilities in the window.
        """
        labels = self.support.labels
        for gap in self.support.gaps(query):
            grown = self._grow(gap.sides, gap.slices) if self.config.region_growing else {}
            for index, propagated in self._propagated(gap.slices):
                found: list[np.ndarray | None] = [
                    propagated,
                    soften(grown[index], labels) if grown else None,
                    self._interpolated(gap.sides, index) if self.config.shape_interpolation else None,
                ]
                yield index, self._log_probs(found)

    def _log_probs(self, found: Sequence[np.ndarray | None]) -> np.ndarray:
        """Log-probabilities of all candidates; the first that was found takes the places of those that were not."""
        first = next(one for one in found if one is not None)
        result = np.empty((len(found), *first.shape), dtype=np.float32)
        for place, one in zip(result, found, strict=True):
            place[...] = first if one is None else one
        result += np.array(self.config.min_probabilities, dtype=np.float32)[:, None, None, None]
        return np.log(result, out=result)

    def keep(self, index: int, probabilities: np.ndarray) -> None:
        """Apply `Gap.keep` of the gap that a slice lies in; does nothing outside of the labelled slices."""
        if self.config.structure_keeping and (gap := self._around(index)) is not None:
            gap.keep(index, probabilities)

    def raise_unmatched(self, index: int, probabilities: np.ndarray) -> None:
        """Apply `Gap.raise_unmatched` of the gap that a slice lies in; nothing outside of the labelled slices."""
        if self.config.structure_keeping and (gap := self._around(index)) is not None:
            gap.raise_unmatched(index, probabilities)

    def _around(self, index: int) -> Gap | None:
        around = self.support.around(index)
        return self._gap(*around) if len(around) == 2 else None

    def fresh(self) -> CandidatePool:
        """A copy for another thread, which shares the cached results of region growing."""
        compared = self._propagate.compared
        same = CandidatePool(
            self._volume, self.support, self.config, self.window, self._carried, compared, self._contrasts
        )
        same._grown = self._grown
        return same

    def neighbours_of(self, row: int) -> CandidatePool:
        """Pool of only the neighbours of a labelled slice, given by support index, to predict it when held out."""
        rows = [other for other in (row - 1, row + 1) if 0 <= other < len(self.support.indices)]
        return CandidatePool(
            self._volume,
            self.support.subset(rows),
            self.config,
            self.window,
            compared=self._propagate.compared,
            contrasts=self._contrasts,
        )

    def _propagated(self, query: Sequence[int]) -> Iterator[tuple[int, np.ndarray | None]]:
        """Results of propagation in the window, always rounded to float16, as the precomputed ones are.

        None for each slice if propagation is switched off.
        """
        if not self.config.propagation:
            yield from ((index, None) for index in query)
            return
        if all(index in self._carried for index in query):
            yield from ((index, self._carried[index]) for index in query)
            return
        for index, carried in self._propagate.predict(query):
            yield index, carried[(slice(None), *self.window)].astype(np.float16)

    def _interpolated(self, sides: Sequence[int], index: int) -> np.ndarray:
        """Shape interpolation between the labelled slices around a slice, given by support index."""
        return self._gap(sides[0], sides[-1]).interpolated(index, len(self.support.labels) + 1)

    def _grow(self, sides: Sequence[int], query: Sequence[int]) -> dict[int, np.ndarray]:
        """Labels of query slices by region growing from the labelled slices around them, given by support index."""
        seeds = {self.support.indices[row]: row for row in sides}
        start, stop = min([*seeds, *query]), max([*seeds, *query]) + 1
        stride = tuple(slice(None, None, -(-size // self.config.max_growing_side)) for size in self.shape)
        if (start, stop) not in self._grown:
            images = np.stack([self._growing_images(index, stride) for index in range(start, stop)])
            seed_masks = np.zeros((len(images), *images.shape[2:]), dtype=self.support.masks.dtype)
            for index, row in seeds.items():
                seed_masks[index - start] = self.mask(row)[stride]
            self._grown[start, stop] = grow(images, seed_masks, [index - start for index in seeds])
        grown = self._grown[start, stop]
        return {index: _enlarge(grown[index - start], stride, self.shape) for index in query}

    def _growing_images(self, index: int, stride: tuple[slice, ...]) -> np.ndarray:
        """What region growing compares of a slice: the channels that propagation compares, with their weights."""
        weights = self._propagate.compared.weights
        return np.stack(
            [
                contrast(image[stride]) * np.float32(weights[channel])
                for channel, contrast, image in zip(self.channels, self._contrasts, self.images(index), strict=True)
                if weights[channel]
            ]
        )

    def _gap(self, before: int, after: int) -> Gap:
        """Structures of two labelled slices, by support index; the same index twice repeats that slice."""
        if (before, after) not in self._gaps:
            support = self.support
            self._gaps[before, after] = Gap(
                (support.indices[before], support.indices[after]),
                (self.mask(before), self.mask(after)),
                {label: row for row, label in enumerate(support.labels, start=1)},
                support.axis,
                self._volume.geometry,
                (self._propagate.images(support.indices[before]), self._propagate.images(support.indices[after])),
            )
        return self._gaps[before, after]


def complete_support(volume: Volume, support: Support, compared: ComparedImages) -> Support:
    """Propagate labels to the labelled slices on which they were not annotated.

    Painted pixels do not change. `compared` is that of `Propagate`.
    """
    if support.annotated.all():
        return support
    masks = support.masks.copy()
    for row, index in enumerate(support.indices):
        missing = [place for place in range(len(support.labels)) if not support.annotated[row, place]]
        if missing:
            others = support.subset([other for other in range(len(support.indices)) if other != row])
            engine = Propagate()
            engine.prepare(volume, others, compared=compared)
            ((_, probabilities),) = engine.predict([index])
            carried, _ = label_slice(probabilities, support.labels)
            filled = np.isin(carried, [support.labels[place] for place in missing]) & (masks[row] == 0)
            masks[row][filled] = carried[filled]
    return Support(support.axis, support.indices, masks, support.labels, np.ones_like(support.annotated))


def _enlarge(mask: np.ndarray, stride: tuple[slice, ...], shape: tuple[int, int]) -> np.ndarray:
    """Repeat the pixels of a subsampled mask to a given shape."""
    for axis, part in enumerate(stride):
        if part.step > 1:
            mask = np.repeat(mask, part.step, axis=axis)
    return mask[: shape[0], : shape[1]]
