"""An ultrasound-like phantom, on which copies of labelled slices are better than methods that follow the image."""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume

SIDE, SLICES = 48, 21


@cache
def walls_in_speckle() -> tuple[Volume, LabelMap]:
    """A wall of three pixels around a cavity, painted outside of the faint edge that the speckle shows."""
    random = np.random.default_rng(0)
    image = np.empty((SLICES, SIDE, SIDE), dtype=np.float32)
    labels = np.zeros(image.shape, dtype=np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for index in range(SLICES):
        radius = np.hypot(rows - SIDE / 2 - np.sin(index / 9), 1.15 * (columns - SIDE / 2 - 0.06 * index))
        edge = 11 + np.sin(index / 12)
        brightness = np.where(radius < edge, 0.35, 0.44)
        image[index] = scipy.ndimage.gaussian_filter(brightness * random.rayleigh(1, image.shape[1:]), 0.7)
        labels[index][radius < edge + 3.5] = 1
        labels[index][radius < edge + 0.5] = 2
    geometry = Geometry(image.shape)
    return Volume(image, geometry), LabelMap(labels, geometry)
