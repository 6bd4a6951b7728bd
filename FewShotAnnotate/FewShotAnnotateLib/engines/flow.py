"""Dense optical flow between two slices: iterative Lucas-Kanade, coarse to fine.

Lucas & Kanade, "An iterative image registration technique" (IJCAI 1981); coarse-to-fine as in Bouguet (2001).
All fields are displacements in pixels, float32 `[2, h, w]` (rows, columns): the pixel x of the reference slice
shows what lies at x + field(x) in the moving slice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

# Standard deviation in pixels of the window that shares one displacement, and of the smoothing of each update.
WINDOW = 2.0
SMOOTHING = 1.0
# More iterations follow noise and end in worse labels.
ITERATIONS = 2
LEVELS = 3
# Longest step in pixels of one iteration: Lucas-Kanade is a linearisation.
LONGEST_STEP = 1.0
# A slice is not halved below this many pixels.
SMALLEST_SIDE = 16


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing of a float32 `[h, w]`, `sigma` in pixels."""
    return ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=2.5)


@lru_cache(maxsize=8)
def _grid(shape: tuple[int, int]) -> np.ndarray:
    grid = np.indices(shape, dtype=np.float32)
    grid.flags.writeable = False
    return grid


WHOLE = (slice(None), slice(None))


def warp(image: np.ndarray, field: np.ndarray, window: tuple[slice, slice] = WHOLE) -> np.ndarray:
    """`image` seen through a field, linearly interpolated; its border goes on outwards.

    Parameters
    ----------
    image : float32 ndarray, shape [h, w]
    field : float32 ndarray, shape [2, h, w], pixels
    window : two slices
        The part of the result that is wanted.
    """
    part = (slice(None), *window)
    where = _grid(field.shape[1:])[part] + field[part]
    return ndimage.map_coordinates(image, where, order=1, mode="nearest", output=np.float32, prefilter=False)


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Field that goes along `first` and from there along `then`."""
    return first + np.stack([warp(then[0], first), warp(then[1], first)])


def pyramid(image: np.ndarray) -> list[np.ndarray]:
    """`image` and its halved versions, finest first.

    Parameters
    ----------
    image : float32 ndarray, shape [channels, h, w], intensities about 0 to 1
    """
    levels = [image]
    while len(levels) < LEVELS and min(levels[-1].shape[1:]) >= SMALLEST_SIDE:
        halved = [
            ndimage.zoom(smooth(channel, 0.8), 0.5, order=1, mode="nearest", grid_mode=True) for channel in levels[-1]
        ]
        levels.append(np.stack(halved))
    return levels


def flow(reference: list[np.ndarray], moving: list[np.ndarray], inertia: float) -> np.ndarray:
    """Field from a reference slice to a moving slice of the same shape; all channels move together.

    Parameters
    ----------
    reference, moving : list of float32 ndarray
        From `pyramid`.
    inertia : float
        Squared gradient (intensities run from 0 to 1) below which pixels rather stand still than move.

    Returns
    -------
    float32 ndarray, shape [2, h, w], pixels
    """
    field = np.zeros((2, *reference[-1].shape[1:]), dtype=np.float32)
    for level in range(len(reference) - 1, -1, -1):
        field = _refine(reference[level], moving[level], enlarge(field, reference[level].shape[1:]), inertia)
    return field


def enlarge(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A field found on smaller slices, for slices `[h, w]` of `shape`."""
    if field.shape[1:] == shape:
        return field
    factors = [new / old for new, old in zip(shape, field.shape[1:], strict=True)]
    parts = [
        ndimage.zoom(part, factors, order=1, mode="nearest", grid_mode=True) * np.float32(factor)
        for part, factor in zip(field, factors, strict=True)
    ]
    return np.stack(parts)


def _gradient(image: np.ndarray) -> list[np.ndarray]:
    return [np.gradient(image, axis=axis) if image.shape[axis] > 1 else np.zeros_like(image) for axis in (0, 1)]


def _refine(reference: np.ndarray, moving: np.ndarray, field: np.ndarray, inertia: float) -> np.ndarray:
    """A few Lucas-Kanade iterations at one resolution, with the mean of both slices' gradients.

    Slices are `[channels, h, w]`.
    """
    gradients = [_gradient(channel) for channel in reference]
    for _ in range(ITERATIONS):
        products = np.zeros((5, *field.shape[1:]), dtype=np.float32)
        for still, moved, (still_rows, still_columns) in zip(reference, moving, gradients, strict=True):
            warped = warp(moved, field)
            error = still - warped
            warped_rows, warped_columns = _gradient(warped)
            rows = 0.5 * (still_rows + warped_rows)
            columns = 0.5 * (still_columns + warped_columns)
            for product, one, other in zip(
                products, (rows, rows, columns, rows, columns), (rows, columns, columns, error, error), strict=True
            ):
                product += one * other
        a, b, c, p, q = (smooth(product, WINDOW) for product in products)
        a += inertia
        c += inertia
        determinant = a * c - b * b
        step = np.stack([(c * p - b * q) / determinant, (a * q - b * p) / determinant])
        step /= np.maximum(1, np.hypot(step[0], step[1]) / LONGEST_STEP)
        step += field
        field = np.stack([smooth(step[0], SMOOTHING), smooth(step[1], SMOOTHING)])
    return field
