"""Contrast equalisation for the intensities in and around the labels.

Intensities run from air to bone, or from background to the brightest tissue; the labels of a case often differ within
a small part of that range. This is histogram equalisation (Pizer et al., CVGIP 1987) of the pixels in and around the
labels, with equal weight for each label, averaged with the identity so that contrast does not vanish elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy

from .label_vote import label_boxes

# Bins of the histogram of intensities. `ablation.py --parts propagate.contrast` compares these three with smaller and
# larger values.
BINS = 256
# Width in pixels of the surroundings of a label.
SURROUNDINGS_PIXELS = 4
# Standard deviation of the smoothing of the histogram, in bins.
SMOOTHING_SIGMA_BINS = 2.0


class Contrast:
    """A monotone intensity transform from 0..1 to 0..1.

    Parameters
    ----------
    labelled : iterable of (ndarray, ndarray)
        Labelled slices: the image, float `[h, w]`, 0..1, and its integer mask `[h, w]`. Without any label the
        transform is the identity.
    equalised_share : float
        Weight, 0..1, of the equalised curve in the average with the identity.
    """

    def __init__(self, labelled: Iterable[tuple[np.ndarray, np.ndarray]], equalised_share: float) -> None:
        histograms: dict[int, np.ndarray] = {}
        for image, mask in labelled:
            bins = np.minimum((image * BINS).astype(np.intp), BINS - 1)
            for label, box in label_boxes(mask).items():
                dilated_box = tuple(
                    slice(max(0, side.start - SURROUNDINGS_PIXELS), side.stop + SURROUNDINGS_PIXELS) for side in box
                )
                is_near = scipy.ndimage.binary_dilation(mask[dilated_box] == label, iterations=SURROUNDINGS_PIXELS)
                histograms[label] = histograms.get(label, 0) + np.bincount(bins[dilated_box][is_near], minlength=BINS)
        share = np.full(BINS, 1 / BINS)
        if histograms:
            mean = np.mean([histogram / histogram.sum() for histogram in histograms.values()], axis=0)
            share = (1 - equalised_share) * share + equalised_share * scipy.ndimage.gaussian_filter1d(
                mean, SMOOTHING_SIGMA_BINS
            )
        self._levels = np.append(0, np.cumsum(share))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Transform an image; float32 of the same shape."""
        equalised: np.ndarray = np.interp(image, np.linspace(0, 1, BINS + 1), self._levels).astype(np.float32)
        return equalised
