"""Folds of patients for cross-validation: all examples of a patient are in the same fold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Networks of the ensemble, each trained without one fold of the patients.
MAX_FOLDS = 4
MIN_FOLDS = 2
# Time that a network needs on one core; with a shorter time limit there are fewer folds.
SECONDS_PER_NETWORK = 75.0


@dataclass(frozen=True)
class Split:
    """Examples that one network is trained on, and those of patients that it never sees.

    Attributes
    ----------
    training, unseen : tuple of int
        Indices of examples.
    """

    training: tuple[int, ...]
    unseen: tuple[int, ...]


def fold_count(seconds: float) -> int:
    """Number of folds for a time limit, in seconds on one core."""
    return max(MIN_FOLDS, min(MAX_FOLDS, int(seconds / SECONDS_PER_NETWORK)))


def patient_digest(patient: str) -> str:
    """Name of a patient in files."""
    return hashlib.sha256(patient.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def folds_of_patients(
    patients: Sequence[str], folds: int = MAX_FOLDS, seed: int = 0, earlier: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Fold of each patient, by digest.

    Parameters
    ----------
    patients : sequence of str
        Patient of each example.
    folds : int
        Fewer with fewer patients.
    seed : int
    earlier : mapping of str to int, optional
        Folds of an earlier training, by digest. A patient stays in its fold, so that a network that starts from the
        earlier one of its fold has never seen the patients that it leaves out.
    """
    digests = sorted({patient_digest(patient) for patient in patients})
    count = min(folds, len(digests))
    if earlier and len({earlier.get(digest) for digest in digests}) < 2:
        earlier = None  # a network would have nobody to learn from
    fold_by_digest = {digest: earlier[digest] for digest in digests if earlier and digest in earlier}
    sizes = (
        np.bincount(list(fold_by_digest.values()), minlength=count) if fold_by_digest else np.zeros(count, dtype=int)
    )
    for at in np.random.default_rng(seed).permutation(len(digests)):
        if digests[at] not in fold_by_digest:
            smallest = int(sizes.argmin())
            fold_by_digest[digests[at]] = smallest
            sizes[smallest] += 1
    return fold_by_digest


def splits_by_fold(patients: Sequence[str], fold_of: Mapping[str, int]) -> tuple[Split, ...]:
    """Splits for cross-validation, in each of which the examples of a patient are on one side.

    Parameters
    ----------
    patients : sequence of str
        Patient of each example.
    fold_of : mapping of str to int
        From `folds_of_patients`. A single patient gives one split that leaves nothing out.
    """
    patient_folds = [fold_of[patient_digest(patient)] for patient in patients]
    if len(set(patients)) < 2:
        return (Split(tuple(range(len(patients))), ()),)
    splits = []
    for number in range(max(fold_of.values()) + 1):
        unseen = tuple(index for index, fold in enumerate(patient_folds) if fold == number)
        training = tuple(index for index, fold in enumerate(patient_folds) if fold != number)
        splits.append(Split(training, unseen))
    return tuple(splits)
