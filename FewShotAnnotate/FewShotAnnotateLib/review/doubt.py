"""Doubt: how many voxels of each label are expected to be wrong on each slice that is still to be labelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.support import Support


@dataclass(frozen=True)
class Doubt:
    """What is known, and how well, of L labels on m labelled and n unlabelled slices.

    Attributes
    ----------
    labelled : tuple of int, ascending
    names : tuple of str
        One for each label, as users know it.
    shown : bool ndarray, shape [m, L]
        Whether a labelled slice shows a label.
    unlabelled : tuple of int, ascending
    wrong : float64 ndarray, shape [n, L]
        Expected voxels that have a label and should not, or should and have not.
    size : float64 ndarray, shape [n, L]
        Expected voxels of a label in the result and in truth together, so that the expected Dice of a label is
        1 - sum(wrong) / sum(size).
    """

    labelled: tuple[int, ...]
    names: tuple[str, ...]
    shown: np.ndarray
    unlabelled: tuple[int, ...]
    wrong: np.ndarray
    size: np.ndarray

    @classmethod
    def of_probabilities(
        cls, support: Support, names: Sequence[str], predictions: Iterable[tuple[int, np.ndarray]]
    ) -> Doubt:
        """From an engine's results, which are taken one slice at a time.

        Parameters
        ----------
        names : sequence of str
            One for each of `support.labels`.
        predictions : iterable of (index, float ndarray of shape [L + 1, h, w])
            Probabilities of background and each label on unlabelled slices, in any order.
        """
        rows = {index: _from_probabilities(probabilities) for index, probabilities in predictions}
        return cls._gathered(support, names, rows)

    @classmethod
    def of_labels(
        cls, support: Support, names: Sequence[str], predictions: Iterable[tuple[int, np.ndarray, np.ndarray]]
    ) -> Doubt:
        """From a finished result and its confidence, one slice at a time.

        What is uncertain background is counted to the nearest label on the slice or on the labelled ones around it.

        Parameters
        ----------
        names : sequence of str
            One for each of `support.labels`.
        predictions : iterable of (index, integer ndarray [h, w], float ndarray [h, w])
            Label values and the probability of each pixel's label, 0..1.
        """
        rows = {index: _from_labels(support, index, labels, sureness) for index, labels, sureness in predictions}
        return cls._gathered(support, names, rows)

    @classmethod
    def joined(cls, parts: Sequence[Doubt]) -> Doubt:
        """Doubts about several layers with the same labelled and unlabelled slices."""
        first = parts[0]
        if any((part.labelled, part.unlabelled) != (first.labelled, first.unlabelled) for part in parts):
            raise ValueError("the layers must have the same slices")
        names = tuple(name for part in parts for name in part.names)
        shown, wrong, size = (
            np.concatenate([getattr(part, table) for part in parts], axis=1) for table in ("shown", "wrong", "size")
        )
        return cls(first.labelled, names, shown, first.unlabelled, wrong, size)

    @classmethod
    def _gathered(cls, support: Support, names: Sequence[str], rows: dict[int, np.ndarray]) -> Doubt:
        unlabelled = tuple(sorted(set(rows).difference(support.indices)))
        tables = np.array([rows[index] for index in unlabelled]).reshape(-1, 2, len(support.labels))
        shown = np.array([np.isin(support.labels, mask) for mask in support.masks])
        wrong, size = _with_unknown_ends(unlabelled, support.indices, shown, tables[:, 0], tables[:, 1])
        return cls(support.indices, tuple(names), shown, unlabelled, wrong, size)


def _from_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Expected wrong voxels and size of each label: float64 [2, L]."""
    best = probabilities.argmax(axis=0)
    count = len(probabilities)
    held = np.bincount(best.reshape(-1), minlength=count)[1:]
    right = np.bincount(best.reshape(-1), probabilities.max(axis=0).reshape(-1), minlength=count)[1:]
    true = probabilities[1:].sum(axis=(1, 2), dtype=np.float64)
    return np.stack([np.maximum(held + true - 2 * right, 0), held + true])


def _from_labels(support: Support, index: int, labels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The same from label values and their probabilities."""
    number = np.zeros(1 + max(int(labels.max()), int(support.masks.max())), dtype=np.intp)
    number[list(support.labels)] = np.arange(1, len(support.labels) + 1)
    best, doubt = number[labels], 1 - np.asarray(confidence, dtype=np.float64)
    count = len(support.labels) + 1
    held = np.bincount(best.reshape(-1), minlength=count)[1:]
    inside = np.bincount(best.reshape(-1), doubt.reshape(-1), minlength=count)[1:]
    near = best
    for row in _rows_around(support, index):
        near = np.where(near == 0, number[support.masks[row]], near)
    unsure = (best == 0) & (doubt > 0)
    outside: np.ndarray = np.zeros(count)
    if near.any() and unsure.any():
        ((rows, columns),) = ndimage.find_objects(((near > 0) | unsure).view(np.uint8))
        near, unsure, doubt = (array[rows, columns] for array in (near, unsure, doubt))
        nearest = ndimage.distance_transform_edt(near == 0, return_distances=False, return_indices=True)
        outside = np.bincount(near[tuple(nearest)][unsure], doubt[unsure], minlength=count)
    return np.stack([inside + outside[1:], 2 * held - inside + outside[1:]])


def _rows_around(support: Support, index: int) -> list[int]:
    """Numbers of the labelled slices around a slice, the nearer one first."""
    after = int(np.searchsorted(support.indices, index))
    rows = [row for row in (after - 1, after) if 0 <= row < len(support.indices)]
    return sorted(rows, key=lambda row: abs(support.indices[row] - index))


def _with_unknown_ends(
    unlabelled: Sequence[int], labelled: Sequence[int], shown: np.ndarray, wrong: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Wrong voxels and size, where beyond the outermost labelled slices each label may have ended.

    A label known to run over T slices still goes on d slices further with probability T / (T + d): the guess of one
    who knows nothing of its length but that it was met at some point of it (Gott, Nature 363, 1993).
    """
    at, first, last = np.array(unlabelled, dtype=float), labelled[0], labelled[-1]
    beyond = np.maximum(0, np.maximum(first - at, at - last))[:, None]
    known = [np.flatnonzero(column) for column in shown.T]
    lengths = np.array([labelled[rows[-1]] - labelled[rows[0]] + 1 if len(rows) else 1 for rows in known])
    goes_on = lengths / (lengths + beyond)
    return goes_on * wrong + (1 - goes_on) * size / 2, (1 + goes_on) * size / 2
