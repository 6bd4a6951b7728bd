"""Gaussian smoothing of small images by matrix products.

`scipy.ndimage.gaussian_filter` gives the same, but takes three times as long.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# By default, the kernel ends at this many standard deviations.
TRUNCATE = 2.5
# One product smooths this many pixels along an axis. With more, most of the matrix is 0, and BLAS would start threads
# of its own, while engines have a thread for each slice already.
BLOCK_PIXELS = 16


def smooth(images: np.ndarray, sigma: float | tuple[float, float], truncate: float = TRUNCATE) -> np.ndarray:
    """Smooth images, each on its own; the border is extended outwards.

    Parameters
    ----------
    images : float32 ndarray, shape [..., h, w]
    sigma : float or (float, float)
        Standard deviation in pixels, along rows and columns if there are two; 0 for no smoothing.
    truncate : float
        Standard deviations at which the kernel ends.

    Returns
    -------
    float32 ndarray of the same shape
    """
    down, across = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    result = images.reshape(-1, *images.shape[-2:])
    if down:
        result = _smooth_down(result, _block_weights(down, truncate))
    if across:
        result = _smooth_across(result, _block_weights(across, truncate))
    return np.ascontiguousarray(result).reshape(images.shape)


def _smooth_down(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Smooth images `[n, h, w]` from row to row, with the weights of `_block_weights`."""
    count, height, width = images.shape
    products = np.matmul(weights, _windows(images, 1, weights.shape[1]).swapaxes(2, 3))
    smoothed: np.ndarray = products.reshape(count, -1, width)[:, :height]
    return smoothed


def _smooth_across(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Smooth images `[n, h, w]` from column to column, with the weights of `_block_weights`."""
    count, height, width = images.shape
    windows = _windows(images, 2, weights.shape[1])
    smoothed = np.empty((count, height, windows.shape[1], BLOCK_PIXELS), dtype=np.float32)
    np.matmul(windows, weights.T, out=smoothed.swapaxes(1, 2))
    return smoothed.reshape(count, height, -1)[..., :width]


def _windows(images: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Pixels in and around each block along an axis of images `[n, h, w]`, the border extended outwards.

    Returns
    -------
    float32 ndarray, shape [n, blocks, lines, length]
        A view; lines are the columns (axis 1) or rows (axis 2).
    """
    size, radius = images.shape[axis], (length - BLOCK_PIXELS) // 2
    shape = list(images.shape)
    shape[axis] = -(-size // BLOCK_PIXELS) * BLOCK_PIXELS + 2 * radius
    extended = np.empty(shape, dtype=np.float32)
    target, source = np.moveaxis(extended, axis, 0), np.moveaxis(images, axis, 0)
    target[:radius] = source[:1]
    target[radius : radius + size] = source
    target[radius + size :] = source[-1:]
    windows = np.moveaxis(sliding_window_view(extended, length, axis=axis), axis, 1)
    return windows[:, ::BLOCK_PIXELS]


@lru_cache(maxsize=16)
def _block_weights(sigma: float, truncate: float) -> np.ndarray:
    """Weights of the pixels in and around a block for each pixel of it, float32 [block, block + 2 radius]."""
    radius = int(truncate * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = np.zeros((BLOCK_PIXELS, BLOCK_PIXELS + 2 * radius), dtype=np.float32)
    for pixel, row in enumerate(weights):
        row[pixel : pixel + len(kernel)] = kernel / kernel.sum()
    return weights
