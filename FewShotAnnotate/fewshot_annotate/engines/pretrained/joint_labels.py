"""Joint probabilities of labels that a model looked for one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .prompts import Box

# No label is surer than this.
SUREST = 1 - 1e-6


def joint(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities that sum to 1, from the probability of each label alone against all else.

    Odds are kept: a label alone has the probability it came with.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels, h, w]

    Returns
    -------
    float32 ndarray, shape [labels + 1, h, w]
        Row 0 is background.
    """
    certain = np.clip(probabilities, 0, SUREST, dtype=np.float32)
    result = np.empty((len(probabilities) + 1, *probabilities.shape[1:]), dtype=np.float32)
    result[0] = 1
    np.divide(certain, 1 - certain, out=result[1:])
    result /= result.sum(axis=0)
    return result


def within(probability: np.ndarray, limit: Box) -> np.ndarray:
    """A probability `[h, w]` that is 0 outside of a box."""
    left, top, right, bottom = (int(np.ceil(limit[0])), int(np.ceil(limit[1])), int(limit[2]), int(limit[3]))
    kept = np.zeros_like(probability)
    area = slice(top, bottom + 1), slice(left, right + 1)
    kept[area] = probability[area]
    return kept


def present(labels: Sequence[int], found: dict[int, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """`joint` of labels by their place; those not found are absent."""
    alone = np.zeros((len(labels), *shape), dtype=np.float32)
    for place, probability in found.items():
        alone[place] = probability
    return joint(alone)
