"""Less certain probabilities of labels whose extent is unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from ...core.gaps import support_indices_around

# Pixels with a smaller probability are left as they are: they are not certain anyway, and rounding must not make
# another label the most probable one.
MIN_PROBABILITY = 0.501


def lower_certainty(
    probabilities: np.ndarray, open_ended: np.ndarray, distances: np.ndarray, half_distance: float
) -> np.ndarray:
    """Divide the log-odds of the most probable label by `1 + distance / half_distance` where an open end may lie.

    That is where the most probable label is open-ended, or the background is and the next label is open-ended. There
    the images tell less about the end of a structure than calibration on held-out slices suggests, the less the
    farther it is from the labelled slice that shows it. The most probable label of no pixel changes.

    Parameters
    ----------
    probabilities : float32 ndarray, shape [L + 1, h, w]
        Calibrated.
    open_ended : bool ndarray, shape [L]
        Labels whose extent is unknown, as in `DiceExpectation.add`.
    distances : integer ndarray, shape [L]
        As `open_end_distances` returns them.
    half_distance : float
        Distance at which log-odds are halved; infinite: nothing changes.

    Returns
    -------
    float32 ndarray, shape [L + 1, h, w]
        They sum to 1.
    """
    if not open_ended.any() or not np.isfinite(half_distance):
        return probabilities
    divisors = np.append(1, np.where(open_ended, 1 + distances / half_distance, 1)).astype(np.float32)
    filled = probabilities.argmax(axis=0)
    next_label = 1 + probabilities[1:].argmax(axis=0)
    divisor = divisors[np.where(filled == 0, next_label, filled)]
    certainty = np.take_along_axis(probabilities, filled[None], axis=0)[0]
    lowered = (divisor > 1) & (certainty > MIN_PROBABILITY)
    others = probabilities[:, lowered]
    np.put_along_axis(others, filled[lowered][None], 0, axis=0)
    # Near 1, the sum of the others is more precise than 1 minus the most probable one.
    doubt = np.maximum(others.sum(axis=0), np.finfo(np.float32).tiny)
    lowered_certainty = scipy.special.expit(np.log(certainty[lowered] / doubt) / divisor[lowered])
    others *= (1 - lowered_certainty) / doubt
    np.put_along_axis(others, filled[lowered][None], lowered_certainty[None], axis=0)
    result = probabilities.copy()
    result[:, lowered] = others / others.sum(axis=0)
    return result


def open_end_distances(index: int, labelled: Sequence[int], shown: np.ndarray) -> np.ndarray:
    """Number of slices, integer `[L]`, from a slice to the nearest of its neighbouring labelled ones with each label.

    Where neither shows a label, it is the number of slices to the nearest of them.

    Parameters
    ----------
    index : int
        A slice that is not labelled.
    labelled : sequence of int, ascending
        The m labelled slices.
    shown : bool ndarray, shape [m, L]
        Whether each of them shows each label.
    """
    around = support_indices_around(index, labelled)
    distances = np.array([abs(index - labelled[support_index]) for support_index in around])
    shown_around = shown[list(around)]
    counted = shown_around | ~shown_around.any(axis=0)
    nearest: np.ndarray = np.where(counted, distances[:, None], distances.max()).min(axis=0)
    return nearest
