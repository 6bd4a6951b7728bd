"""Whether images show a small structure, so that its course between two labelled slices can be followed in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy

from ..small_components import EIGHT_CONNECTED
from .shape_interpolation import Box

# `ablation.py --parts propagate.structure_contrast` compares each of these with smaller and larger values.

# Contrast, in standard errors, below which the images do not show a structure.
MIN_CONTRAST_STANDARD_ERRORS = 2.5
# Width of the ring around a structure that its contrast is measured against.
RING_WIDTH_PIXELS = 2
# At most so many pixels on one side of a structure count as independent: the noise of neighbours is correlated.
MAX_INDEPENDENT_PIXELS = 20
# Smaller standard errors are due to rounding.
MIN_STANDARD_ERROR = 1e-6


def has_contrast(drawn: Iterable[tuple[Box, np.ndarray]], images: Sequence[np.ndarray]) -> bool:
    """Whether a structure differs from what is around it, or what is around it differs between its two sides.

    The second is so for a thin wall between two regions, whose own intensity may be the mean of theirs.

    Parameters
    ----------
    drawn : iterable of (box, bool ndarray of shape [h, w])
        Box and mask of the structure on both labelled slices, with a margin.
    images : sequence of float ndarray, shape [channels, h, w]
        Intensities of both slices; one channel that shows the structure is enough.
    """
    contrasts = np.zeros((len(images[0]), 2))
    for (box, mask), channels in zip(drawn, images, strict=True):
        ring = scipy.ndimage.binary_dilation(mask, EIGHT_CONNECTED, RING_WIDTH_PIXELS) & ~mask
        first, second = sides(mask, ring)
        for channel, image in enumerate(channels):
            pixels = image[box]
            around = pixels[ring]
            contrasts[channel, 0] += _difference(pixels[mask], around, around.std() if around.size else 0.0)
            deviation = max((pixels[side].std() for side in (first, second) if side.any()), default=0.0)
            contrasts[channel, 1] += _difference(
                pixels[first], pixels[second], float(deviation), MAX_INDEPENDENT_PIXELS
            )
    return bool(np.abs(contrasts).max() / 2**0.5 >= MIN_CONTRAST_STANDARD_ERRORS)


def sides(mask: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the ring around a structure into the pixels on its two sides, bool as the arguments `[h, w]`.

    These are the inside and the outside of a closed wall, otherwise the sides of the long axis of the structure.
    """
    components, count = scipy.ndimage.label(ring, EIGHT_CONNECTED)
    if count > 1:
        largest = 1 + np.argsort(np.bincount(components[ring])[1:])[-2:]
        # The outside is met first, row by row.
        outside, inside = sorted(largest, key=lambda component: int(np.argmax(components == component)))
        return components == inside, components == outside
    offsets = np.argwhere(mask).astype(float)
    if not len(offsets):
        return ring & False, ring & False
    centre = offsets.mean(axis=0)
    offsets -= centre
    across = np.linalg.eigh(offsets.T @ offsets)[1][:, 0]
    across *= np.sign(across[np.abs(across).argmax()])  # the same direction on both slices
    rows, columns = np.indices(mask.shape)
    position = (rows - centre[0]) * across[0] + (columns - centre[1]) * across[1]
    return ring & (position < 0), ring & (position > 0)


def _difference(first: np.ndarray, second: np.ndarray, deviation: float, most: float = np.inf) -> float:
    """Difference of two means in standard errors, with at most so many independent pixels; 0 without pixels."""
    if not len(first) or not len(second):
        return 0.0
    error = deviation * np.sqrt(1 / min(len(first), most) + 1 / min(len(second), most))
    return float((first.mean() - second.mean()) / max(error, MIN_STANDARD_ERROR))
