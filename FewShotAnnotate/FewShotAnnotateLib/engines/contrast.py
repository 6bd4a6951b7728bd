"""Contrast: intensities spread out over those that labels and their surroundings have.

Intensities run from air to bone, or from background to the brightest tissue; the labels of a case often differ within
a small part of that. Histogram equalisation (Pizer et al., CVGIP 1987) of what lies in and around the labels, each
label as much as any other, mixed with the linear scale, so that no intensity loses more than three quarters of its
contrast.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from .vote import label_boxes

BINS = 256
# Part of the equalised scale; the rest is the linear one.
EQUALISED = 0.75
# Pixels around a label that belong to its surroundings.
RING = 4
# Smoothing of each histogram, in bins.
SMOOTHING = 2.0


class Contrast:
    """A monotone curve from intensities 0..1 to 0..1.

    Parameters
    ----------
    labelled : iterable of (ndarray, ndarray)
        Labelled slices: the image, float `[h, w]`, 0..1, and its integer mask `[h, w]`. Without any label the curve
        is a straight line.
    """

    def __init__(self, labelled: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        found: dict[int, np.ndarray] = {}
        for image, mask in labelled:
            bins = np.minimum((image * BINS).astype(np.intp), BINS - 1)
            for label, box in label_boxes(mask).items():
                area = tuple(slice(max(0, part.start - RING), part.stop + RING) for part in box)
                near = ndimage.binary_dilation(mask[area] == label, iterations=RING)
                found[label] = found.get(label, 0) + np.bincount(bins[area][near], minlength=BINS)
        share = np.full(BINS, 1 / BINS)
        if found:
            mean = np.mean([each / each.sum() for each in found.values()], axis=0)
            share = (1 - EQUALISED) * share + EQUALISED * ndimage.gaussian_filter1d(mean, SMOOTHING)
        self._levels = np.append(0, np.cumsum(share))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """An image on the new scale, float32 of the same shape."""
        spread: np.ndarray = np.interp(image, np.linspace(0, 1, BINS + 1), self._levels).astype(np.float32)
        return spread
