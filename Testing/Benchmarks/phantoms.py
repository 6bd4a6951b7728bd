"""Synthetic volumes that show one difficulty each, for benchmarks."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from scipy.ndimage import gaussian_filter


def two_tubes() -> tuple[tuple[Volume, np.ndarray], Volume]:
    """A volume with two tubes, of which it shows the first, their labels, and a volume that shows the second."""
    rng = np.random.default_rng(0)
    geometry = Geometry((49, 96, 96))
    k, j, i = np.indices(geometry.shape)
    bend = 12 * np.sin(np.pi * k / 24)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    for value, (row, column, sign) in enumerate(((32, 40, 1), (64, 56, -1)), start=1):
        labels[(j - row) ** 2 + (i - column - sign * bend) ** 2 <= 10**2] = value
    images = [np.where(labels == value, 200.0, 80.0) + rng.normal(0, 10, geometry.shape) for value in (1, 2)]
    first, second = (Volume(image.astype(np.float32), geometry) for image in images)
    return (first, labels), second


def thin_wall(inside: float) -> tuple[Volume, LabelMap]:
    """A wall about one and a half pixels wide in speckle, and its label 1.

    The wall itself is not brighter or darker than its surroundings; `inside` is added to the intensities it encloses.
    """
    rng = np.random.default_rng(0)
    geometry = Geometry((41, 96, 96))
    k, j, i = np.indices(geometry.shape).astype(float)
    y, x = j - 48 - 4 * np.sin(k / 9), i - 48 - 4 * np.cos(k / 11)
    radius = 22 + 5 * np.sin(k / 13) + 2 * np.sin(3 * np.arctan2(y, x) + k / 8)
    distance = np.hypot(y, x) - radius
    speckle = 50 * gaussian_filter(rng.rayleigh(1, geometry.shape), (0, 0.7, 0.7))
    image = speckle + np.where(distance < 0, inside, 0)
    labels = (np.abs(distance) < 0.8).astype(np.uint8)
    return Volume(image.astype(np.float32), geometry), LabelMap(labels, geometry)


# By name, for programs that take names of cases.
PHANTOMS = {"wall_in_speckle": lambda: thin_wall(0.0), "wall_between_regions": lambda: thin_wall(40.0)}
