"""Pool: what three simple ways to fill say about the same slices, and about labelled slices hidden from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np

from ..core.support import Support
from ..core.volume import Volume
from .base import label_slice
from .contrast import Contrast
from .grow import grow, soften
from .keep import Gap
from .propagate import Propagate

CANDIDATES = ("propagation", "region growing", "shape interpolation")
# Least probability of a label by each candidate: how far it can rule one out.
FLOORS = np.array([1e-3, 1e-2, 1e-3], dtype=np.float32)
# A side of a slice longer than this many pixels is thinned out for region growing.
LONGEST_SIDE = 256


class Pool:
    """The candidates on one volume.

    Parameters
    ----------
    volume : Volume
    support : Support
        Complete: every labelled slice knows every label, see `completed`.
    window : (slice, slice), optional
        Part of the slices to look at; default: the labels and a margin.
    carried : mapping of int to float16 ndarray, shape [len(labels) + 1, h, w], optional
        What propagation says of some slices in the window, where it is known already.
    context : int, optional
        As in `Propagate`; default: what is best there.
    contrast : Contrast, optional
        Default: of the labelled slices. One curve serves all, also while some of them are hidden.
    """

    def __init__(
        self,
        volume: Volume,
        support: Support,
        window: tuple[slice, slice] | None = None,
        carried: Mapping[int, np.ndarray] | None = None,
        context: int | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        self._volume = volume
        self.support = support
        self._carried = carried or {}
        self._propagate = Propagate()
        self._propagate.prepare(volume, support, window, context)
        self.window = self._propagate.window
        self.shape = self._propagate.image(0).shape
        self._contrast = contrast or Contrast(
            (self.image(index), self.mask(row)) for row, index in enumerate(support.indices)
        )
        self._gaps: dict[tuple[int, int], Gap] = {}
        self._grown: dict[tuple[int, int], np.ndarray] = {}

    def image(self, index: int) -> np.ndarray:
        """One slice in the window, float32 `[h, w]`, intensities from 0 to 1."""
        return self._propagate.image(index)

    def contrasted(self, index: int) -> np.ndarray:
        """The same slice with its contrast stretched over the intensities in and around the labels."""
        return self._contrast(self.image(index))

    def mask(self, row: int) -> np.ndarray:
        """Labels `[h, w]` of labelled slice number `row` in the window."""
        window: np.ndarray = self.support.masks[(row, *self.window)]
        return window

    def one_hot(self, row: int) -> np.ndarray:
        """Probabilities 0 and 1 of labelled slice number `row`, float32 `[len(labels) + 1, h, w]`, in the window."""
        values = np.array([0, *self.support.labels])[:, None, None]
        return (self.mask(row) == values).astype(np.float32)

    def rows(self, index: int) -> np.ndarray:
        """Row of each pixel's label, 0 for background, on labelled slice `index` in the window."""
        mask = self.mask(self.support.indices.index(index))
        return np.searchsorted(np.array([0, *self.support.labels]), mask)

    @cached_property
    def areas(self) -> np.ndarray:
        """Pixels of each label on each labelled slice, int `[n, labels]`."""
        masks = (self.mask(row) for row in range(len(self.support.indices)))
        return np.array([[np.count_nonzero(mask == label) for label in self.support.labels] for mask in masks])

    def candidates(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """What the candidates say of unlabelled slices, gap by gap.

        Yields
        ------
        index : int
        float32 ndarray, shape [len(CANDIDATES), len(labels) + 1, h, w]
            Logarithms of probabilities, in the window.
        """
        labels = self.support.labels
        bounds: list[int | None] = [None, *range(len(self.support.indices)), None]
        for before, after in pairwise(bounds):
            first = -1 if before is None else self.support.indices[before]
            last = self._volume.array.size if after is None else self.support.indices[after]
            inner = sorted(index for index in wanted if first < index < last)
            if not inner:
                continue
            grown = self._grow(before, after, inner)
            for index, carried in self._propagated(inner):
                result = np.empty((len(CANDIDATES), len(labels) + 1, *self.shape), dtype=np.float32)
                result[0] = carried
                result[1] = soften(grown[index], labels)
                sides = [row for row in (before, after) if row is not None]
                result[2] = self._gap(sides[0], sides[-1]).interpolated(index, len(labels) + 1)
                result += FLOORS[:, None, None, None]
                yield index, np.log(result, out=result)

    def keep(self, index: int, probabilities: np.ndarray) -> None:
        """Keep what both labelled slices around a slice show, as in `Gap.keep`; outside of them nothing is done."""
        after = int(np.searchsorted(self.support.indices, index))
        if 0 < after < len(self.support.indices):
            self._gap(after - 1, after).keep(index, probabilities)

    def fresh(self) -> Pool:
        """The same pool, for another thread; what one of them grew the others need not."""
        same = Pool(self._volume, self.support, self.window, self._carried, self._propagate.context, self._contrast)
        same._grown = self._grown
        return same

    def part(self, row: int) -> Pool:
        """The labelled slices next to number `row` alone: all that is needed to fill it when it is hidden."""
        rows = [other for other in (row - 1, row + 1) if 0 <= other < len(self.support.indices)]
        context, contrast = self._propagate.context, self._contrast
        return Pool(self._volume, self.support.only(rows), self.window, context=context, contrast=contrast)

    def _propagated(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """What propagation says in the window; always float16, whether it was known or not."""
        if all(index in self._carried for index in wanted):
            yield from ((index, self._carried[index]) for index in wanted)
            return
        for index, carried in self._propagate.predict(wanted):
            yield index, carried[(slice(None), *self.window)].astype(np.float16)

    def _grow(self, before: int | None, after: int | None, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """Labels of wanted slices grown from the labelled slices, by number, around them."""
        ends = {self.support.indices[row]: row for row in (before, after) if row is not None}
        start, stop = min([*ends, *wanted]), max([*ends, *wanted]) + 1
        stride = tuple(slice(None, None, -(-size // LONGEST_SIDE)) for size in self.shape)
        if (start, stop) not in self._grown:
            images = np.stack([self._contrast(self.image(index)[stride]) for index in range(start, stop)])
            seeds = np.zeros(images.shape, dtype=self.support.masks.dtype)
            for index, row in ends.items():
                seeds[index - start] = self.mask(row)[stride]
            self._grown[start, stop] = grow(images, seeds, [index - start for index in ends])
        grown = self._grown[start, stop]
        return {index: _enlarge(grown[index - start], stride, self.shape) for index in wanted}

    def _gap(self, before: int, after: int) -> Gap:
        """The structures on two labelled slices, by number; twice the same copies that slice."""
        if (before, after) not in self._gaps:
            support = self.support
            self._gaps[before, after] = Gap(
                (support.indices[before], support.indices[after]),
                (self.mask(before), self.mask(after)),
                {label: row for row, label in enumerate(support.labels, start=1)},
                support.axis,
                self._volume.geometry,
            )
        return self._gaps[before, after]


def completed(volume: Volume, support: Support, context: int) -> Support:
    """The support with labels a slice does not speak about carried there from slices that do.

    Painted pixels stay as they are; `context` as in `Propagate`.
    """
    if support.known.all():
        return support
    masks = support.masks.copy()
    for row, index in enumerate(support.indices):
        unknown = [place for place in range(len(support.labels)) if not support.known[row, place]]
        if unknown:
            others = support.only([other for other in range(len(support.indices)) if other != row])
            engine = Propagate()
            engine.prepare(volume, others, context=context)
            ((_, probabilities),) = engine.predict([index])
            carried, _ = label_slice(probabilities, support.labels)
            told = np.isin(carried, [support.labels[place] for place in unknown]) & (masks[row] == 0)
            masks[row][told] = carried[told]
    return Support(support.axis, support.indices, masks, support.labels, np.ones_like(support.known))


def _enlarge(mask: np.ndarray, stride: tuple[slice, ...], shape: tuple[int, int]) -> np.ndarray:
    """A thinned-out mask on all pixels again."""
    for axis, part in enumerate(stride):
        if part.step > 1:
            mask = np.repeat(mask, part.step, axis=axis)
    return mask[: shape[0], : shape[1]]
