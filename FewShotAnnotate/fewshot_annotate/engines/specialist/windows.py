"""Sliding windows in which large volumes are predicted, or large slices in 2D."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from .plan import SpecialistPlan

# A volume (in 2D, a slice) of up to this many times the size of a patch is predicted as a whole.
MAX_WHOLE_RATIO = 2.2
# Overlap of windows, as a fraction of their size.
OVERLAP_FRACTION = 0.3


def window_size(size: Sequence[int], plan: SpecialistPlan) -> list[int]:
    """Size of the windows of an input `[(d,) h, w]`; a single window may be larger than the input."""
    axes = plan.dimensions
    multiple, patch = plan.multiple[3 - axes :], plan.patch[3 - axes :]
    is_whole = math.prod(size) <= MAX_WHOLE_RATIO * math.prod(patch)
    return [
        factor * math.ceil(length / factor) if is_whole else min(side, factor * math.ceil(length / factor))
        for factor, length, side in zip(multiple, size, patch, strict=True)
    ]


def window_boxes(size: Sequence[int], window: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Boxes of evenly spaced windows that cover an array and overlap by `OVERLAP_FRACTION` at least."""
    starts = []
    for length, side in zip(size, window, strict=True):
        free = length - side
        count = 1 + math.ceil(free / max(1, side * (1 - OVERLAP_FRACTION)))
        starts.append(sorted({round(start) for start in np.linspace(0, free, count)}))
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + side) for start, side in zip(corner, window, strict=True))


def predicted_voxels(size: Sequence[int], plan: SpecialistPlan) -> int:
    """Number of voxels in all windows of a volume `[d, h, w]` on the working grid."""
    of_input = size[3 - plan.dimensions :]
    window = window_size(of_input, plan)
    padded = [max(length, side) for length, side in zip(of_input, window, strict=True)]
    inputs = size[0] if plan.dimensions == 2 else 1
    return inputs * math.prod(window) * len(list(window_boxes(padded, window)))
