"""Structures that both labelled slices around a gap show are kept on the slices between them.

Images carry what they show. Where they show nothing of a structure, or where it is as thin as a pixel, candidates
that go by the images spread it until it is nowhere the most probable label. There its interpolated shape takes its
place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from ..core.axis import SliceAxis
from ..core.volume import Geometry
from .shape import MAX_DISTANCE, Structure, interpolate, structures

# A structure is lost on a slice if less than this part of its interpolated area is filled with its label: nearly
# nothing is left of a large one, less than half of a small one. Above that, what the images say is more accurate.
# Tried by `accuracy.py --engines propagate` on the aorta, the abdomen, the CT series, the cells, the hippocampus and
# the brain: 0.1, 0.2, 0.3 and 0.5 for both; 0.5 for large ones loses 0.02 of Dice on the aorta.
MIN_AREA_KEPT, MIN_SMALL_AREA_KEPT = 0.1, 0.5
# A structure is small if it has no more pixels than this on either slice, or if it is nowhere wider than two pixels.
# Tried: 9 and 30 pixels, alike; widths of two and four, of which four loses Dice on the aorta's dissection flap.
SMALL_AREA, SMALL_DEPTH = 30, 1.0
# Components that do not overlap are matched up to this many times the distance of their slices apart: a slope of 63
# degrees.
MAX_SLOPE = 2.0
# Probability of a structure well inside of its interpolated shape: no image confirms it. Its log-odds per pixel of
# signed distance; with 2 instead of 4 the pixels around a column of one pixel are filled too.
INTERPOLATED_PROBABILITY = 0.75
LOG_ODDS_PER_PIXEL = 4.0


class Gap:
    """The structures on the labelled slices around a gap.

    Parameters
    ----------
    slices : (int, int)
        The labelled slices before and after.
    masks : (integer ndarray, integer ndarray), shape [h, w]
        Their labels.
    rows : mapping of int to int
        Row in arrays of probabilities of each label that is looked for.
    axis : SliceAxis
    geometry : Geometry
        Of the volume.
    """

    def __init__(
        self,
        slices: tuple[int, int],
        masks: tuple[np.ndarray, np.ndarray],
        rows: Mapping[int, int],
        axis: SliceAxis,
        geometry: Geometry,
    ) -> None:
        self._slices = slices
        self._shape: tuple[int, int] = masks[0].shape
        self._rows = rows
        apart, *pixel = axis.spacing(geometry)
        reach = MAX_SLOPE * (slices[1] - slices[0]) * apart / min(pixel)
        self._structures = structures(*masks, tuple(rows), reach)
        self._owners: dict[int, np.ndarray] = {}

    def interpolated(self, index: int, count: int) -> np.ndarray:
        """Probabilities by shape interpolation alone of a slice in the gap, float32 `[count, h, w]`, summing to 1."""
        result = np.full((count, *self._shape), -MAX_DISTANCE, dtype=np.float32)
        for structure in self._structures:
            found = interpolate(structure, self._share(index), self._shape)
            if found is not None:
                part = result[(self._rows[structure.label], *found[0])]
                np.maximum(part, found[1], out=part)
        # Background is as far outside as the nearest label is; a sigmoid of the distance.
        result[0] = -result[1:].max(axis=0, initial=-MAX_DISTANCE)
        np.negative(result, out=result)
        np.exp(result, out=result)
        result += 1
        np.reciprocal(result, out=result)
        absent = set(range(1, count)) - {self._rows[structure.label] for structure in self._structures}
        result[sorted(absent)] = 0
        result /= result.sum(axis=0)
        return result

    def keep(self, index: int, probabilities: np.ndarray) -> None:
        """Put the interpolated shape of every structure that is lost on a slice into its probabilities, in place.

        Parameters
        ----------
        index : int
            A slice in the gap.
        probabilities : float32 ndarray, shape [labels + 1, h, w]
            They sum to 1, also afterwards.
        """
        filled = probabilities.argmax(axis=0)
        share = self._share(index)
        for number, structure in enumerate(self._structures):
            if not structure.matched:
                continue
            row = self._rows[structure.label]
            own = filled == row
            if self._shared(structure.label):
                own &= self._owner(structure.label) == number
            least = MIN_SMALL_AREA_KEPT if _small(structure) else MIN_AREA_KEPT
            if np.count_nonzero(own) >= least * structure.area(share):
                continue
            found = interpolate(structure, share, self._shape)
            if found is not None:
                box, distance = found
                weight = INTERPOLATED_PROBABILITY / (1 + np.exp(-LOG_ODDS_PER_PIXEL * distance))
                part = probabilities[(slice(None), *box)]
                part *= 1 - weight
                part[row] += weight

    def _share(self, index: int) -> float:
        before, after = self._slices
        return (index - before) / max(1, after - before)

    def _shared(self, label: int) -> bool:
        """Whether a label has several structures."""
        return sum(structure.label == label for structure in self._structures) > 1

    def _owner(self, label: int) -> np.ndarray:
        """Number of the structure of a label that is nearest to each pixel on either labelled slice."""
        if label not in self._owners:
            numbers = np.full(self._shape, -1, dtype=np.int32)
            for number, structure in enumerate(self._structures):
                if structure.label == label:
                    for box, mask in structure.drawn(self._shape):
                        numbers[box][mask] = number
            nearest = ndimage.distance_transform_edt(numbers < 0, return_distances=False, return_indices=True)
            self._owners[label] = numbers[tuple(nearest)]
        return self._owners[label]


def _small(structure: Structure) -> bool:
    most = max(np.count_nonzero(mask) for mask in (structure.before, structure.after))
    depth = max(float(distance.max()) for distance in structure.distances)
    return bool(most <= SMALL_AREA or depth < SMALL_DEPTH)
