"""Joint probabilities of labels that were segmented one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .prompts import Box

# Upper bound of the probability of a label, so that its odds are finite.
MAX_PROBABILITY = 1 - 1e-6


def joint(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities that sum to 1, from the probability of each label against everything else.

    The odds of each label against background are kept, so a single label keeps its probability.

    Parameters
    ----------
    probabilities : float ndarray, shape [labels, h, w]

    Returns
    -------
    float32 ndarray, shape [labels + 1, h, w]
        Label index 0 is background.
    """
    certain = np.clip(probabilities, 0, MAX_PROBABILITY, dtype=np.float32)
    result = np.empty((len(probabilities) + 1, *probabilities.shape[1:]), dtype=np.float32)
    result[0] = 1
    np.divide(certain, 1 - certain, out=result[1:])
    result /= result.sum(axis=0)
    return result


def zero_outside(probability: np.ndarray, limit: Box) -> np.ndarray:
    """Set a probability `[h, w]` to 0 outside of a box."""
    left, top, right, bottom = (int(np.ceil(limit[0])), int(np.ceil(limit[1])), int(limit[2]), int(limit[3]))
    inside = np.zeros_like(probability)
    box = slice(top, bottom + 1), slice(left, right + 1)
    inside[box] = probability[box]
    return inside


def joint_of_segmented(
    labels: Sequence[int], probabilities: dict[int, np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    """`joint` of the labels that were segmented, by their index in `labels`; the others have probability 0."""
    separate = np.zeros((len(labels), *shape), dtype=np.float32)
    for label_index, probability in probabilities.items():
        separate[label_index] = probability
    return joint(separate)
