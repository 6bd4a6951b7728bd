"""Uncertainty: the expected number of wrong voxels of each label on each unlabelled slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ..core.support import Support


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Expected errors of L labels on n unlabelled slices, given m labelled ones.

    Attributes
    ----------
    labelled : tuple of int, ascending
    names : tuple of str
        Names of the labels.
    present : bool ndarray, shape [m, L]
        Whether a label is on a labelled slice.
    unlabelled : tuple of int, ascending
    expected_errors : float64 ndarray, shape [n, L]
        Expected number of false positive and false negative voxels.
    expected_sizes : float64 ndarray, shape [n, L]
        Expected number of voxels in the prediction plus that in the truth, so that the expected Dice of a label is
        1 - sum(expected_errors) / sum(expected_sizes).
    """

    labelled: tuple[int, ...]
    names: tuple[str, ...]
    present: np.ndarray
    unlabelled: tuple[int, ...]
    expected_errors: np.ndarray
    expected_sizes: np.ndarray

    @classmethod
    def from_probabilities(
        cls, support: Support, names: Sequence[str], predictions: Iterable[tuple[int, np.ndarray]]
    ) -> Uncertainty:
        """Uncertainty of predictions, which are consumed one slice at a time.

        Parameters
        ----------
        support : Support
            The labelled slices.
        names : sequence of str
            Names of `support.labels`.
        predictions : iterable of (index, float ndarray of shape [L + 1, h, w])
            Probabilities of background and each label on unlabelled slices, in any order.
        """
        per_slice = {index: _from_probabilities(probabilities) for index, probabilities in predictions}
        return cls._from_tables(support, names, per_slice)

    @classmethod
    def from_labels(
        cls, support: Support, names: Sequence[str], predictions: Iterable[tuple[int, np.ndarray, np.ndarray]]
    ) -> Uncertainty:
        """Uncertainty of a finished result and its confidence, consumed one slice at a time.

        Uncertain background is attributed to the nearest label on the slice or on the labelled slices around it.

        Parameters
        ----------
        support : Support
            The labelled slices.
        names : sequence of str
            Names of `support.labels`.
        predictions : iterable of (index, integer ndarray [h, w], float ndarray [h, w])
            Label values and the probability of each pixel's label, 0..1.
        """
        per_slice = {index: _from_labels(support, index, *prediction) for index, *prediction in predictions}
        return cls._from_tables(support, names, per_slice)

    @classmethod
    def concatenate(cls, uncertainties: Sequence[Uncertainty]) -> Uncertainty:
        """Combine the uncertainties of several layers with the same labelled and unlabelled slices."""
        first = uncertainties[0]
        if any(
            (uncertainty.labelled, uncertainty.unlabelled) != (first.labelled, first.unlabelled)
            for uncertainty in uncertainties
        ):
            raise ValueError("the layers must have the same slices")
        names = tuple(name for uncertainty in uncertainties for name in uncertainty.names)
        present, expected_errors, expected_sizes = (
            np.concatenate([getattr(uncertainty, table) for uncertainty in uncertainties], axis=1)
            for table in ("present", "expected_errors", "expected_sizes")
        )
        return cls(
            labelled=first.labelled,
            names=names,
            present=present,
            unlabelled=first.unlabelled,
            expected_errors=expected_errors,
            expected_sizes=expected_sizes,
        )

    @classmethod
    def _from_tables(cls, support: Support, names: Sequence[str], per_slice: dict[int, np.ndarray]) -> Uncertainty:
        unlabelled = tuple(sorted(set(per_slice).difference(support.indices)))
        tables = np.array([per_slice[index] for index in unlabelled]).reshape(-1, 2, len(support.labels))
        present = np.array([np.isin(support.labels, mask) for mask in support.masks])
        expected_errors, expected_sizes = _with_unknown_ends(
            unlabelled, support.indices, present, tables[:, 0], tables[:, 1]
        )
        return cls(
            labelled=support.indices,
            names=tuple(names),
            present=present,
            unlabelled=unlabelled,
            expected_errors=expected_errors,
            expected_sizes=expected_sizes,
        )


def _from_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Expected errors and sizes of each label on a slice, from probabilities: float64 [2, L]."""
    best = probabilities.argmax(axis=0)
    count = len(probabilities)
    predicted_size = np.bincount(best.reshape(-1), minlength=count)[1:]
    true_positives = np.bincount(best.reshape(-1), probabilities.max(axis=0).reshape(-1), minlength=count)[1:]
    true_size = probabilities[1:].sum(axis=(1, 2), dtype=np.float64)
    return np.stack([np.maximum(predicted_size + true_size - 2 * true_positives, 0), predicted_size + true_size])


def _from_labels(support: Support, index: int, labels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Expected errors and sizes of each label on a slice, from labels and confidence: float64 [2, L]."""
    most = max(int(labels.max()), *support.labels)  # a label may be neither on this slice nor on a labelled one
    label_index = np.zeros(1 + most, dtype=np.intp)
    label_index[list(support.labels)] = np.arange(1, len(support.labels) + 1)
    best, p_error = label_index[labels], 1 - np.asarray(confidence, dtype=np.float64)
    count = len(support.labels) + 1
    predicted_size = np.bincount(best.reshape(-1), minlength=count)[1:]
    inside = np.bincount(best.reshape(-1), p_error.reshape(-1), minlength=count)[1:]
    nearby = best
    for support_index in support.nearest_around(index):
        nearby = np.where(nearby == 0, label_index[support.masks[support_index]], nearby)
    uncertain = (best == 0) & (p_error > 0)
    outside: np.ndarray = np.zeros(count)
    if nearby.any() and uncertain.any():
        ((rows, columns),) = scipy.ndimage.find_objects(((nearby > 0) | uncertain).view(np.uint8))
        nearby, uncertain, p_error = (array[rows, columns] for array in (nearby, uncertain, p_error))
        nearest = scipy.ndimage.distance_transform_edt(nearby == 0, return_distances=False, return_indices=True)
        outside = np.bincount(nearby[tuple(nearest)][uncertain], p_error[uncertain], minlength=count)
    return np.stack([inside + outside[1:], 2 * predicted_size - inside + outside[1:]])


def _with_unknown_ends(
    unlabelled: Sequence[int],
    labelled: Sequence[int],
    present: np.ndarray,
    expected_errors: np.ndarray,
    expected_sizes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Expected errors and sizes, given that each label may have ended beyond the outermost labelled slices.

    A label that extends over at least T slices extends d slices further with probability T / (T + d). This assumes
    only that it was observed at a random point of its length (Gott, Nature 363, 1993).
    """
    slices, first, last = np.array(unlabelled, dtype=float), labelled[0], labelled[-1]
    beyond = np.maximum(0, np.maximum(first - slices, slices - last))[:, None]
    occurrences = [np.flatnonzero(column) for column in present.T]
    lengths = np.array(
        [
            labelled[occurrence[-1]] - labelled[occurrence[0]] + 1 if len(occurrence) else 1
            for occurrence in occurrences
        ]
    )
    continues = lengths / (lengths + beyond)
    return continues * expected_errors + (1 - continues) * expected_sizes / 2, (1 + continues) * expected_sizes / 2
