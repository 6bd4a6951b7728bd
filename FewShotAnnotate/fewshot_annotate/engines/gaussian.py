"""Gaussian smoothing of small images by matrix products.

`scipy.ndimage.gaussian_filter` gives the same, but takes two to three times as long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

# By default, the kernel ends at this many standard deviations.
TRUNCATE = 2.5
# One product smooths this many pixels along an axis, because a band of the matrix of all pixels is mostly zeros, and
# this many lines: BLAS would compute larger products in threads of its own, while engines have one thread per slice.
BLOCK_PIXELS, BLOCK_LINES = 32, 192


class _Block(NamedTuple):
    """Some pixels of a line: `pixels` of the result are `weights @` the pixels `source` of the line."""

    pixels: slice
    source: slice
    weights: np.ndarray


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
    height, width = images.shape[-2:]
    down, across = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    source = np.ascontiguousarray(images, dtype=np.float32).reshape(-1, height, width)
    if down:
        smoothed = np.empty_like(source)
        for block in _blocks(height, down, truncate):
            for first in range(0, width, BLOCK_LINES):
                lines = slice(first, first + BLOCK_LINES)
                np.matmul(block.weights, source[:, block.source, lines], out=smoothed[:, block.pixels, lines])
        source = smoothed
    if across:
        smoothed = np.empty_like(source)
        for block in _blocks(width, across, truncate):
            for first in range(0, height, BLOCK_LINES):
                lines = slice(first, first + BLOCK_LINES)
                np.matmul(source[:, lines, block.source], block.weights.T, out=smoothed[:, lines, block.pixels])
        source = smoothed
    return source.reshape(images.shape)


@lru_cache(maxsize=64)
def _blocks(size: int, sigma: float, truncate: float) -> list[_Block]:
    """The blocks of a line of `size` pixels."""
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    blocks = []
    for first in range(0, size, BLOCK_PIXELS):
        pixels = np.arange(first, min(first + BLOCK_PIXELS, size))
        start, stop = max(0, first - radius), min(size, first + len(pixels) + radius)
        weights = np.zeros((len(pixels), stop - start), dtype=np.float32)
        for offset, weight in zip(offsets, kernel, strict=True):
            weights[pixels - first, np.clip(pixels + offset, 0, size - 1) - start] += np.float32(weight)
        blocks.append(_Block(slice(first, first + len(pixels)), slice(start, stop), weights))
    return blocks
