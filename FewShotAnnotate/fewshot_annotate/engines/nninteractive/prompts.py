"""Prompts of nnInteractive: regions and lines on the labelled slices that are or are not a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from ...core.support import Support

# The line around a label on a labelled slice: its distance from the label and its thickness.
LINE_DISTANCE_PIXELS = 3
LINE_THICKNESS_PIXELS = 2
# Other labels are prompts up to this distance from the bounding box of the label.
NEAR_PIXELS = 32


@dataclass(frozen=True)
class LabelPrompts:
    """Prompts for one label on all labelled slices, on the part of the volume from the first to the last of them.

    Attributes
    ----------
    first : int
        Slice index of the first slice of the arrays.
    inside : uint8 ndarray, shape [n, h, w]
        The label: filled regions, nnInteractive's positive lasso.
    others : uint8 ndarray, shape [n, h, w]
        Other labels nearby: negative lasso.
    background : uint8 ndarray, shape [n, h, w]
        Lines through the background around the label, and where the label has ended: negative scribble.
    """

    first: int
    inside: np.ndarray
    others: np.ndarray
    background: np.ndarray


def label_prompts(support: Support, label_index: int) -> LabelPrompts | None:
    """The prompts for a label, by its position in `support.labels`; None if no labelled slice shows it."""
    label = support.labels[label_index]
    rows = np.flatnonzero(support.annotated[:, label_index])
    showing = [int(row) for row in rows if (support.masks[row] == label).any()]
    if not showing:
        return None
    first = support.indices[0]
    shape = (support.indices[-1] - first + 1, *support.masks.shape[1:])
    inside, others, background = (np.zeros(shape, dtype=np.uint8) for _ in range(3))
    for row in rows:
        mask, position = support.masks[row], support.indices[row] - first
        nearest = min(showing, key=lambda other: abs(support.indices[other] - support.indices[row]))
        shown = support.masks[nearest] == label
        if row in showing:
            inside[position] = shown
            line = _line_around(shown)
        else:
            line = _outline(shown)
        other_labels = (mask != 0) & (mask != label)
        others[position] = other_labels & _near(shown)
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
    """The bounding box of a mask `[h, w]`, enlarged."""
    near = np.zeros_like(mask)
    sides = []
    for axis in (0, 1):
        shown = np.flatnonzero(mask.any(axis=1 - axis))
        sides.append(slice(max(0, int(shown[0]) - NEAR_PIXELS), int(shown[-1]) + NEAR_PIXELS + 1))
    near[tuple(sides)] = True
    return near
