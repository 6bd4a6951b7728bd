"""Prompts of nnInteractive: regions and lines on the labelled slices, inside a label and outside of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from ...core.bounding_box import bounding_box
from ...core.support import Support

# The line around a label on a labelled slice: its distance from the label and its thickness.
LINE_DISTANCE_PIXELS = 3
LINE_THICKNESS_PIXELS = 2
# Other labels are prompts up to this distance from the bounding box of the label.
NEAR_PIXELS = 32


@dataclass(frozen=True)
class LabelPrompts:
    """Prompts for one label, in the slices from the first to the last labelled slice.

    Attributes
    ----------
    first : int
        Slice index of the first slice of the arrays.
    inside : uint8 ndarray, shape [n, h, w]
        Positive lasso: the label.
    others : uint8 ndarray, shape [n, h, w]
        Negative lasso: other labels nearby.
    background : uint8 ndarray, shape [n, h, w]
        Negative scribble: lines in the background around the label, and the outline of the label from the nearest
        slice that shows it on labelled slices beyond its end.
    """

    first: int
    inside: np.ndarray
    others: np.ndarray
    background: np.ndarray


def label_prompts(support: Support, label_index: int) -> LabelPrompts | None:
    """The prompts for a label, by its position in `support.labels`; None if no labelled slice shows it."""
    label = support.labels[label_index]
    annotated = np.flatnonzero(support.annotated[:, label_index])
    showing = [int(support_index) for support_index in annotated if (support.masks[support_index] == label).any()]
    if not showing:
        return None
    first = support.indices[0]
    shape = (support.indices[-1] - first + 1, *support.masks.shape[1:])
    inside, others, background = (np.zeros(shape, dtype=np.uint8) for _ in range(3))
    for support_index in annotated:
        mask, position = support.masks[support_index], support.indices[support_index] - first
        nearest = min(showing, key=lambda other: abs(support.indices[other] - support.indices[support_index]))
        nearest_mask = support.masks[nearest] == label
        if support_index in showing:
            inside[position] = nearest_mask
            line = _line_around(nearest_mask)
        else:
            line = _outline(nearest_mask)
        other_labels = (mask != 0) & (mask != label)
        others[position] = other_labels & _near(nearest_mask)
        background[position] = line & (mask == 0)
    return LabelPrompts(first, inside, others, background)


def _line_around(mask: np.ndarray) -> np.ndarray:
    distance = scipy.ndimage.distance_transform_edt(~mask)
    line: np.ndarray = (distance > LINE_DISTANCE_PIXELS) & (distance <= LINE_DISTANCE_PIXELS + LINE_THICKNESS_PIXELS)
    return line


def _outline(mask: np.ndarray) -> np.ndarray:
    eroded = scipy.ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=LINE_THICKNESS_PIXELS)
    outline: np.ndarray = mask & ~eroded
    return outline


def _near(mask: np.ndarray) -> np.ndarray:
    """The bounding box of a mask `[h, w]`, enlarged by `NEAR_PIXELS`."""
    near = np.zeros_like(mask)
    box = bounding_box(mask, NEAR_PIXELS)
    assert box is not None
    near[box] = True
    return near
