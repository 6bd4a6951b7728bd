"""Dense optical flow between two slices: iterative Lucas-Kanade, coarse to fine.

Lucas & Kanade, "An iterative image registration technique" (IJCAI 1981); coarse-to-fine as in Bouguet (2001).
All fields are displacements in pixels, float32 `[2, h, w]` (rows, columns): pixel x of the reference slice
corresponds to x + field(x) in the moving slice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..gaussian import smooth

# Standard deviations in pixels of the Lucas-Kanade window and of the smoothing of each update. `ablation.py --parts
# propagate.optical_flow` compares these and the next four with smaller and larger values.
WINDOW_SIGMA_PIXELS = 2.0
SMOOTHING_SIGMA_PIXELS = 1.0
# More iterations fit noise and give worse labels.
ITERATIONS = 2
# Levels of the image pyramid, each half as large as the one before.
PYRAMID_LEVELS = 3
# Maximum step of one iteration; the linearisation of Lucas-Kanade holds for small displacements only.
MAX_STEP_PIXELS = 1.0
# Slices with a shorter side are not halved again.
MIN_SIDE_PIXELS = 16


@lru_cache(maxsize=8)
def _grid(shape: tuple[int, int]) -> np.ndarray:
    grid = np.indices(shape, dtype=np.float32)
    grid.flags.writeable = False
    return grid


FULL_SLICE = (slice(None), slice(None))


def warp(images: np.ndarray, field: np.ndarray, window: tuple[slice, slice] = FULL_SLICE) -> np.ndarray:
    """Warp images by one field, with linear interpolation; the border is extended outwards.

    `scipy.ndimage.map_coordinates` gives the same, but takes three times as long.

    Parameters
    ----------
    images : float32 ndarray, shape [..., h, w]
    field : float32 ndarray, shape [2, h, w], pixels
    window : two slices
        Crop of the result to compute.
    """
    height, width = images.shape[-2:]
    crop = (slice(None), *window)
    rows, columns = _grid(field.shape[1:])[crop] + field[crop]
    np.clip(rows, 0, height - 1, out=rows)
    np.clip(columns, 0, width - 1, out=columns)
    top, left = np.floor(rows), np.floor(columns)
    np.minimum(top, max(height - 2, 0), out=top)
    np.minimum(left, max(width - 2, 0), out=left)
    rows -= top
    columns -= left
    # Via 32 bits, because a processor has instructions for many of these at a time.
    corners = (top.astype(np.int32) * np.int32(width) + left.astype(np.int32)).astype(np.intp)
    below, right = (width if height > 1 else 0), int(width > 1)
    warped = np.empty((*images.shape[:-2], *rows.shape), dtype=np.float32)
    for image, target in zip(images.reshape(-1, height * width), warped.reshape(-1, *rows.shape), strict=True):
        upper, lower = (
            _between(image[line:].take(corners), image[line + right :].take(corners), columns) for line in (0, below)
        )
        target[...] = _between(upper, lower, rows)
    return warped


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Linear interpolation between two arrays, the second of which is overwritten."""
    second -= first
    second *= share
    second += first
    return second


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Compose two fields `[2, h, w]`: the displacement by `first` followed by that of `then`."""
    composed = warp(then, first)
    composed += first
    return composed


def pyramid(image: np.ndarray) -> list[np.ndarray]:
    """`image` and its halved versions, finest first.

    Parameters
    ----------
    image : float32 ndarray, shape [channels, h, w], intensities about 0 to 1
    """
    levels = [image]
    while len(levels) < PYRAMID_LEVELS and min(levels[-1].shape[1:]) >= MIN_SIDE_PIXELS:
        height, width = levels[-1].shape[1:]
        levels.append(_resampled(smooth(levels[-1], 0.8), (round(height / 2), round(width / 2))))
    return levels


def flow(reference: list[np.ndarray], moving: list[np.ndarray], regularisation: float) -> np.ndarray:
    """Field from a reference slice to a moving slice of the same shape; all channels move together.

    Parameters
    ----------
    reference, moving : list of float32 ndarray
        From `pyramid`.
    regularisation : float
        Added to the squared gradients (intensities from 0 to 1), which draws the flow towards zero.

    Returns
    -------
    float32 ndarray, shape [2, h, w], pixels
    """
    field = np.zeros((2, *reference[-1].shape[1:]), dtype=np.float32)
    for level in range(len(reference) - 1, -1, -1):
        field = _refine(reference[level], moving[level], enlarge(field, reference[level].shape[1:]), regularisation)
    return field


def enlarge(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Upsample a field to a larger shape, scaling its displacements."""
    if field.shape[1:] == shape:
        return field
    enlarged = _resampled(field, shape)
    for component, new, old in zip(enlarged, shape, field.shape[1:], strict=True):
        component *= new / old
    return enlarged


def _resampled(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation of float32 images `[n, h, w]` at another resolution.

    `scipy.ndimage.zoom` with `grid_mode` gives the same, but takes up to seven times as long.
    """
    for axis, size in enumerate(shape, start=1):
        old = images.shape[axis]
        positions = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
        lower = np.minimum(positions.astype(np.intp), max(old - 2, 0))
        upper = np.minimum(lower + 1, old - 1)
        share = (positions - lower).astype(np.float32).reshape(-1, *(1,) * (2 - axis))
        images = _between(images.take(lower, axis), images.take(upper, axis), share)
    return images


def _gradient(image: np.ndarray) -> np.ndarray:
    """Derivatives of an image `[h, w]` along rows and columns, as `numpy.gradient`: `[2, h, w]`."""
    result = np.zeros((2, *image.shape), dtype=np.float32)
    for axis in (0, 1):
        lines, along = result[axis].swapaxes(0, axis), image.swapaxes(0, axis)
        if len(along) > 1:
            np.subtract(along[2:], along[:-2], out=lines[1:-1])
            lines[1:-1] *= 0.5
            np.subtract(along[1], along[0], out=lines[0])
            np.subtract(along[-1], along[-2], out=lines[-1])
    return result


def _refine(reference: np.ndarray, moving: np.ndarray, field: np.ndarray, regularisation: float) -> np.ndarray:
    """A few Lucas-Kanade iterations at one resolution, with the mean of both slices' gradients.

    Both slices have shape `[channels, h, w]`.
    """
    gradients = [_gradient(channel) for channel in reference]
    for _ in range(ITERATIONS):
        products = np.empty((5, *field.shape[1:]), dtype=np.float32)
        for channel, (still, moved, still_gradient) in enumerate(zip(reference, moving, gradients, strict=True)):
            error = warp(moved, field)
            gradient = _gradient(error)
            np.subtract(still, error, out=error)
            gradient += still_gradient
            gradient *= 0.5
            rows, columns = gradient
            for product, first, second in zip(
                products, (rows, rows, columns, rows, columns), (rows, columns, columns, error, error), strict=True
            ):
                if channel:
                    product += first * second
                else:
                    np.multiply(first, second, out=product)
        a, b, c, p, q = smooth(products, WINDOW_SIGMA_PIXELS)
        a += regularisation
        c += regularisation
        step = np.stack([c * p - b * q, a * q - b * p])
        step /= a * c - b * b
        length = np.sqrt(step[0] * step[0] + step[1] * step[1])  # faster than np.hypot
        step /= np.maximum(1, length / MAX_STEP_PIXELS)
        step += field
        field = smooth(step, SMOOTHING_SIGMA_PIXELS)
    return field
