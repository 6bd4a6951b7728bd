"""Keeps structures shown by both neighbouring labelled slices on the slices between them.

Where a structure has no contrast, or is only one pixel wide, image-based candidates blur it until it is nowhere the
most probable label. There it is replaced by its shape from shape-based interpolation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import scipy

from ...core.slice_axis import SliceAxis
from ...core.volume import Geometry
from .shape_interpolation import MAX_DISTANCE_PIXELS, Shape, Structure, interpolate, structures
from .structure_contrast import has_contrast

# `ablation.py --parts propagate.structure_keeping` compares each of these with smaller and larger values.

# A structure is lost on a slice if less than this fraction of its interpolated area is filled with its label: nearly
# nothing is left of a large one, less than half of a small one. Above that, the image-based result is more accurate.
# Tried by `accuracy.py --engines propagate` on the aorta, the abdomen, the CT series, the cells, the hippocampus and
# the brain: 0.1, 0.2, 0.3 and 0.5 for both; 0.5 for large ones loses 0.02 of Dice on the aorta.
MIN_KEPT_SHARE, MIN_SMALL_KEPT_SHARE = 0.1, 0.5
# A structure is small if it has no more pixels than this on either slice, or if it is nowhere wider than two pixels.
# Tried: 9 and 30 pixels, without a difference; widths of two and four, of which four loses Dice on the aorta's
# dissection flap.
SMALL_AREA_PIXELS, SMALL_DEPTH_PIXELS = 30, 1.0
# A small structure is overfilled if more than this many times the larger of its two areas is filled with its label.
# The border of slices is extended outwards, so the flow may carry labels from there into the slice.
MAX_SMALL_AREA_RATIO = 2.5
# Smaller probabilities are due to rounding.
MIN_PROBABILITY = 1e-6
# Components that do not overlap are matched up to this many times the distance between their slices: a slope of 63
# degrees.
MAX_SLOPE = 2.0
# Probability well inside the interpolated shape of a structure, which no image confirms. Its log-odds per pixel of
# signed distance; with 2 instead of 4, the pixels around a structure one pixel wide are filled too.
INTERPOLATED_PROBABILITY = 0.75
LOG_ODDS_PER_PIXEL = 4.0
# Where the images do not show a small structure, it may deviate midway from its interpolated course by this many
# pixels per slice of the gap. There its probability is at least the second number, so that the background is not
# certain. For comparison: a quarter of a circle deviates from its chord by a fifth of the chord's length.
CURVATURE_PIXELS_PER_SLICE, CURVED_PROBABILITY = 0.35, 0.15
# Maximum weight where a structure must not replace another label, relative to the weight at which it would become the
# most probable one.
MAX_WEIGHT_SHARE = 0.8

# Number of slices whose shapes are cached, because each is used several times before its slice is final.
CACHED_SLICES = 4


class Gap:
    """Structures on the two labelled slices of a gap.

    Parameters
    ----------
    slices : (int, int)
        The labelled slices before and after.
    masks : (integer ndarray, integer ndarray), shape [h, w]
        Their label values.
    label_indices : mapping of int to int
        Label index, in arrays of probabilities, of each label value.
    axis : SliceAxis
    geometry : Geometry
        Of the volume.
    images : (float32 ndarray, float32 ndarray), shape [channels, h, w]
        Intensities of the labelled slices.
    """

    def __init__(
        self,
        slices: tuple[int, int],
        masks: tuple[np.ndarray, np.ndarray],
        label_indices: Mapping[int, int],
        axis: SliceAxis,
        geometry: Geometry,
        images: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self._slices = slices
        self._masks = masks
        self._shape: tuple[int, int] = masks[0].shape
        self._label_indices = label_indices
        apart, *pixel = axis.spacing(geometry)
        reach = MAX_SLOPE * (slices[1] - slices[0]) * apart / min(pixel)
        self._structures = structures(*masks, tuple(label_indices), reach)
        self._areas = [structure.areas(self._shape) for structure in self._structures]
        self._is_small = [
            max(areas) <= SMALL_AREA_PIXELS
            or max(float(distance.max()) for distance in structure.distances) < SMALL_DEPTH_PIXELS
            for structure, areas in zip(self._structures, self._areas, strict=True)
        ]
        self._counts = Counter(structure.label for structure in self._structures)
        self._owners: dict[int, np.ndarray] = {}
        interpolated = partial(_interpolated, self._structures, slices, self._shape)
        self._interpolate = lru_cache(maxsize=CACHED_SLICES * max(1, len(self._structures)))(interpolated)
        self._without_contrast = frozenset(
            number
            for number, structure in enumerate(self._structures)
            if structure.matched and self._is_small[number] and not has_contrast(structure.drawn(self._shape), images)
        )

    def interpolated(self, index: int, count: int) -> np.ndarray:
        """Probabilities by shape interpolation alone of a slice in the gap, float32 `[count, h, w]`, summing to 1."""
        result = np.full((count, *self._shape), -MAX_DISTANCE_PIXELS, dtype=np.float32)
        for number, structure in enumerate(self._structures):
            shape = self._interpolate(number, index)
            if shape is not None:
                distance = result[self._label_indices[structure.label]]
                raised = np.maximum(distance[shape.box], shape.distance)
                np.maximum(distance, shape.outside, out=distance)
                distance[shape.box] = raised
        # The distance of background is minus that of the nearest label; probabilities are a sigmoid of the distance.
        result[0] = -result[1:].max(axis=0, initial=-MAX_DISTANCE_PIXELS)
        scipy.special.expit(result, out=result)
        absent = set(range(1, count)) - {self._label_indices[structure.label] for structure in self._structures}
        result[sorted(absent)] = 0
        result /= result.sum(axis=0)
        return result

    def keep(self, index: int, probabilities: np.ndarray) -> None:
        """Blend the interpolated shape of every lost structure into the probabilities of a slice, in place.

        Only structures shown by both labelled slices are kept. Where another label is more probable, only their
        probability rises. A small structure replaces the other label if that label surrounds it on both slices, or if
        shape interpolation gives the pixel to the structure.

        Parameters
        ----------
        index : int
            A slice in the gap.
        probabilities : float32 ndarray, shape [labels + 1, h, w]
            They sum to 1 before and after.
        """
        filled = probabilities.argmax(axis=0)
        shapes: np.ndarray | None = None
        for number, structure in enumerate(self._structures):
            if not structure.matched:
                continue
            filled_pixels, label_index = self._filled_pixels(number, filled), self._label_indices[structure.label]
            unconfirmed = number in self._without_contrast
            lowered = unconfirmed or (self._is_small[number] and self._overfilled(number, filled_pixels))
            if not lowered and not self._is_lost(number, filled_pixels, index):
                continue
            shape = self._interpolate(number, index)  # it takes most of the time
            if shape is None:
                continue
            if lowered:
                most = INTERPOLATED_PROBABILITY if unconfirmed else 1.0
                _lower(probabilities, label_index, filled_pixels, shape, most)
            box = shape.box
            inside = probabilities[(slice(None), *box)]
            spared = (filled[box] != 0) & (filled[box] != label_index)
            if spared.any() and self._is_small[number]:
                if shapes is None:
                    shapes = self.interpolated(index, len(probabilities)).argmax(axis=0)
                spared &= (shapes[box] != label_index) & (filled[box] != self._surrounding(structure))
            weight = INTERPOLATED_PROBABILITY * _inside(shape)
            if unconfirmed:
                weight = _weight_to_reach(weight, inside[label_index])
            weight = np.where(spared, np.minimum(weight, _max_weight_below_argmax(inside, label_index)), weight)
            _raise(inside, label_index, weight)
            if self._is_small[number]:
                least = _weight_to_reach(self._least_around(shape, index), inside[label_index])
                _raise(inside, label_index, np.minimum(least, _max_weight_below_argmax(inside, label_index)))

    def _least_around(self, shape: Shape, index: int) -> np.ndarray:
        """Least probability of the pixels around a shape: between the labelled slices its course may be curved."""
        share = self._share(index)
        reach = CURVATURE_PIXELS_PER_SLICE * (self._slices[1] - self._slices[0]) * 4 * share * (1 - share)
        near = (shape.distance < 0) & (shape.distance >= -reach)
        return np.where(near, CURVED_PROBABILITY, 0).astype(np.float32)

    def strengthen_unmatched(self, index: int, probabilities: np.ndarray) -> None:
        """Raise the probability, in place, of lost small structures that only one labelled slice shows.

        Such a structure may end anywhere in the gap, so its probability falls linearly with distance from that slice.
        The most probable label of each pixel does not change.

        Parameters
        ----------
        index : int
            A slice in the gap.
        probabilities : float32 ndarray, shape [labels + 1, h, w]
            They sum to 1 before and after.
        """
        filled = probabilities.argmax(axis=0)
        for number, structure in enumerate(self._structures):
            if structure.matched or not self._is_small[number]:
                continue
            if not self._is_lost(number, self._filled_pixels(number, filled), index):
                continue
            side = int(structure.after.any())
            shape = interpolate(structure, side, self._shape)
            if shape is None:
                continue
            label_index, share = self._label_indices[structure.label], self._share(index)
            inside = probabilities[(slice(None), *shape.box)]
            least = _inside(shape) * (share if side else 1 - share)
            weight = np.minimum(
                _weight_to_reach(least, inside[label_index]), _max_weight_below_argmax(inside, label_index)
            )
            weight[filled[shape.box] != 0] = 0
            _raise(inside, label_index, weight)

    def _surrounding(self, structure: Structure) -> int:
        """Index of the label that surrounds a structure on both labelled slices; 0 for background or two labels."""
        around = []
        for (box, mask), labels in zip(structure.drawn(self._shape), self._masks, strict=True):
            pixels = np.zeros(self._shape, dtype=bool)
            pixels[box] = mask
            ring = scipy.ndimage.binary_dilation(pixels) & ~pixels
            values, counts = np.unique(labels[ring], return_counts=True)
            around += values[2 * counts > counts.sum()].tolist()
        return self._label_indices.get(around[0], 0) if len(around) == 2 and around[0] == around[1] else 0

    def _filled_pixels(self, number: int, filled: np.ndarray) -> np.ndarray:
        """Pixels filled with a structure, by number, on a slice; `filled` holds the label index of each pixel."""
        structure = self._structures[number]
        filled_pixels: np.ndarray = filled == self._label_indices[structure.label]
        if self._counts[structure.label] > 1:
            filled_pixels &= self._owner(structure.label) == number
        return filled_pixels

    def _is_lost(self, number: int, filled_pixels: np.ndarray, index: int) -> bool:
        """Whether too few pixels of a structure, by number, are filled on a slice."""
        share, (before, after) = self._share(index), self._areas[number]
        least = MIN_SMALL_KEPT_SHARE if self._is_small[number] else MIN_KEPT_SHARE
        return bool(np.count_nonzero(filled_pixels) < least * ((1 - share) * before + share * after))

    def _overfilled(self, number: int, filled_pixels: np.ndarray) -> bool:
        return bool(np.count_nonzero(filled_pixels) > MAX_SMALL_AREA_RATIO * max(self._areas[number]))

    def _share(self, index: int) -> float:
        return _share(self._slices, index)

    def _owner(self, label: int) -> np.ndarray:
        """Number of the structure of a label that is nearest to each pixel on either labelled slice."""
        if label not in self._owners:
            numbers = np.full(self._shape, -1, dtype=np.int32)
            for number, structure in enumerate(self._structures):
                if structure.label == label:
                    for box, mask in structure.drawn(self._shape):
                        numbers[box][mask] = number
            nearest = scipy.ndimage.distance_transform_edt(numbers < 0, return_distances=False, return_indices=True)
            self._owners[label] = numbers[tuple(nearest)]
        return self._owners[label]


def _share(slices: tuple[int, int], index: int) -> float:
    """Position of a slice between the labelled slices before (0) and after (1)."""
    return (index - slices[0]) / max(1, slices[1] - slices[0])


def _interpolated(
    structures: Sequence[Structure], slices: tuple[int, int], shape: tuple[int, int], number: int, index: int
) -> Shape | None:
    """Interpolated shape of a structure, by number, on a slice; not to be modified."""
    return interpolate(structures[number], _share(slices, index), shape)


def _inside(shape: Shape) -> np.ndarray:
    """Probability, 0..1, that each pixel in the box of a shape is inside it."""
    inside: np.ndarray = scipy.special.expit(LOG_ODDS_PER_PIXEL * shape.distance)
    return inside


def _weight_to_reach(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Weight with which `_raise` raises a probability to a target; 0 where it is not smaller."""
    weight: np.ndarray = np.maximum(0, target - probability) / np.maximum(1 - probability, MIN_PROBABILITY)
    return weight


def _lower(probabilities: np.ndarray, label_index: int, filled_pixels: np.ndarray, shape: Shape, most: float) -> None:
    """Lower the probability of a label, in place, to that inside a shape, times `most`.

    Parameters
    ----------
    probabilities : float32 ndarray, shape [labels + 1, h, w]
    label_index : int
    filled_pixels : bool ndarray, shape [h, w]
        Pixels to change.
    shape : Shape
    most : float
        Maximum probability.
    """
    inside = np.full(filled_pixels.shape, scipy.special.expit(LOG_ODDS_PER_PIXEL * shape.outside), dtype=np.float32)
    inside[shape.box] = _inside(shape)
    inside *= most
    others = probabilities[:, filled_pixels]
    after = np.minimum(others[label_index], inside[filled_pixels])
    # The other labels rise in proportion; without any, the background does. Their sum is not calculated as 1 minus
    # the probability of the label: near 1, the rounding error would be as large as the sum.
    others[label_index] = 0
    total = others.sum(axis=0)
    others[0] += total < MIN_PROBABILITY
    others *= (1 - after) / np.where(total < MIN_PROBABILITY, 1 + total, total)
    others[label_index] = after
    probabilities[:, filled_pixels] = others


def _raise(probabilities: np.ndarray, label_index: int, weight: np.ndarray) -> None:
    """Blend a label, by label index, into probabilities in place; `weight`, 0..1 for each pixel, is its share."""
    probabilities *= 1 - weight
    probabilities[label_index] += weight


def _max_weight_below_argmax(probabilities: np.ndarray, label_index: int) -> np.ndarray:
    """Largest weight of a label, by label index, at which it is not yet the most probable one."""
    lead = probabilities.max(axis=0) - probabilities[label_index]
    # At lead / (1 + lead) it is as probable as the most probable one.
    most: np.ndarray = MAX_WEIGHT_SHARE * lead / (1 + lead)
    return most
