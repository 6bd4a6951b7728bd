"""Through-plane consistency: smoothing of the predicted log-odds across neighbouring slices.

Slices are fused one by one, so outlines may jump between slices where the images do not. Each slice is averaged with
its neighbours, warped to it by optical flow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from ..propagate.optical_flow import enlarge, flow, pyramid, warp
from .config import ThroughPlaneConfig

Logits = tuple[int, np.ndarray]


class ThroughPlaneSmoother:
    """Smooths predictions along the stack; each slice is complete once the next one has been added.

    Neighbours that are neither labelled nor added are ignored.

    Parameters
    ----------
    image : function
        Returns a slice in the same window, float32 `[channels, h, w]`, 0..1, each channel multiplied by its weight.
    mask : function
        Returns the label index of each pixel of a labelled slice, integer `[h, w]`.
    labelled : collection of int
    config : ThroughPlaneConfig
    """

    def __init__(
        self,
        image: Callable[[int], np.ndarray],
        mask: Callable[[int], np.ndarray],
        labelled: Collection[int],
        config: ThroughPlaneConfig,
    ) -> None:
        self._images = _Pyramids(image, config.flow_regularisation)
        self._mask = mask
        self._labelled = labelled
        self._config = config
        self._before: Logits | None = None
        self._current: Logits | None = None

    def add(self, index: int, logits: np.ndarray) -> list[Logits]:
        """Add a slice.

        Parameters
        ----------
        index : int
            Greater than those added before.
        logits : float32 ndarray, shape [labels + 1, h, w]
            Unnormalised log-probabilities, 0 for background.

        Returns
        -------
        list of (int, float32 ndarray of the same shape)
            Index and smoothed logits of the slice that is complete now, if there is one.
        """
        if not self._config.enabled:
            return [(index, logits)]
        complete = self._complete((index, logits))
        self._before, self._current = self._current, (index, logits)
        return complete

    def finish(self) -> list[Logits]:
        """The last slice, which has no further neighbour."""
        return self._complete(None)

    def _complete(self, following: Logits | None) -> list[Logits]:
        if self._current is None:
            return []
        index, current = self._current
        result, weight = current.copy(), 1.0
        for side, neighbour in ((index - 1, self._before), (index + 1, following)):
            is_added = neighbour is not None and neighbour[0] == side
            logits = neighbour[1] if neighbour is not None and is_added else self._labelled_logits(side, current)
            if logits is not None:
                field = self._images.field(index, side)
                warped = warp(logits[1:], field)
                warped *= self._config.neighbour_weight
                result[1:] += warped
                weight += self._config.neighbour_weight
        result /= weight
        return [(index, result)]

    def _labelled_logits(self, index: int, like: np.ndarray) -> np.ndarray | None:
        """Logits of a labelled slice, on the scale of those of its neighbour `like`; None if it is not labelled."""
        if index not in self._labelled:
            return None
        largest = max(float(np.abs(like[1:]).max(initial=0)), 1.0)
        return labelled_logits(self._mask(index), len(like), self._config.labelled_log_odds_ratio * largest)


class _Pyramids:
    """Image pyramids of the last few slices."""

    def __init__(self, image: Callable[[int], np.ndarray], regularisation: float) -> None:
        self._image = image
        self._regularisation = regularisation
        self._kept: dict[int, list[np.ndarray]] = {}

    def field(self, index: int, other: int) -> np.ndarray:
        """Flow from a slice to its neighbour, computed at half resolution and enlarged."""
        levels = []
        for needed in (index, other):
            if needed not in self._kept:
                self._kept[needed] = pyramid(self._image(needed))
                self._kept = {key: value for key, value in self._kept.items() if abs(key - index) <= 1}
            levels.append(self._kept[needed])
        reference, moving = (level[1:] or level for level in levels)
        return enlarge(flow(reference, moving, self._regularisation), levels[0][0].shape[1:])


def labelled_logits(label_indices: np.ndarray, count: int, log_odds: float) -> np.ndarray:
    """Logits of a labelled slice.

    Parameters
    ----------
    label_indices : integer ndarray, shape [h, w]
        Label index of each pixel, 0 for background.
    count : int
        Number of labels, background included.
    log_odds : float
        Log-odds of the true label, and minus those of the others.

    Returns
    -------
    float32 ndarray, shape [count, h, w]
    """
    logits = np.full((count, *label_indices.shape), -log_odds, dtype=np.float32)
    logits[0] = 0
    for label_index in np.unique(label_indices[label_indices > 0]):
        logits[label_index][label_indices == label_index] = log_odds
    return logits
