"""Folds of patients for cross-validation: all examples of a patient are in the same fold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# The ensemble has one network per fold, which is trained without the patients of that fold.
MAX_FOLDS = 4
MIN_FOLDS = 2
# Least training time of a network on one core; with a shorter time limit there are fewer folds.
SECONDS_PER_NETWORK = 75.0


@dataclass(frozen=True)
class Split:
    """Examples that one network is trained on, and those of its held-out patients.

    Attributes
    ----------
    training, unseen : tuple of int
        Indices of the examples.
    """

    training: tuple[int, ...]
    unseen: tuple[int, ...]


def fold_count(seconds: float) -> int:
    """Number of folds for a time limit, in seconds on one core."""
    return max(MIN_FOLDS, min(MAX_FOLDS, int(seconds / SECONDS_PER_NETWORK)))


def patient_digest(patient: str) -> str:
    """Name under which a patient is stored in files, so that they hold no patient identifiers."""
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
        Number of folds; with fewer patients, there is one fold for each.
    seed : int
    earlier : mapping of str to int, optional
        Folds of an earlier training, by digest. Patients stay in these, so that a network which starts from the
        earlier weights of its fold has not been trained on its held-out patients.
    """
    digests = sorted({patient_digest(patient) for patient in patients})
    count = min(folds, len(digests))
    if earlier and len({earlier.get(digest) for digest in digests}) < 2:
        earlier = None  # a network would have no training data
    fold_by_digest = {digest: earlier[digest] for digest in digests if earlier and digest in earlier}
    sizes = (
        np.bincount(list(fold_by_digest.values()), minlength=count) if fold_by_digest else np.zeros(count, dtype=int)
    )
    for position in np.random.default_rng(seed).permutation(len(digests)):
        if digests[position] not in fold_by_digest:
            smallest = int(sizes.argmin())
            fold_by_digest[digests[position]] = smallest
            sizes[smallest] += 1
    return fold_by_digest


def splits_by_fold(patients: Sequence[str], fold_of: Mapping[str, int]) -> tuple[Split, ...]:
    """Splits for cross-validation, in which all examples of a patient are either trained on or held out.

    Parameters
    ----------
    patients : sequence of str
        Patient of each example.
    fold_of : mapping of str to int
        From `folds_of_patients`. With a single patient, there is one split without held-out examples.
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
