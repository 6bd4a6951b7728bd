"""Folds of patients for cross-validation: all examples of a patient are in the same fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Networks of the ensemble, each trained without one fold of the patients.
MAX_FOLDS = 4
MIN_FOLDS = 2
# Time that a network needs on one core; with a shorter time limit there are fewer folds. After 80 seconds, a network
# for the hippocampus reaches a Dice of 0.84 with 5 cases.
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


def splits_by_patient(patients: Sequence[str], folds: int = MAX_FOLDS, seed: int = 0) -> tuple[Split, ...]:
    """Splits for cross-validation, in each of which the examples of a patient are on one side.

    Parameters
    ----------
    patients : sequence of str
        Patient of each example.
    folds : int
        Fewer with fewer patients. A single patient gives one split that leaves nothing out.
    seed : int
    """
    names = sorted(set(patients))
    if len(names) < 2:
        return (Split(tuple(range(len(patients))), ()),)
    order = np.random.default_rng(seed).permutation(len(names))
    count = min(folds, len(names))
    fold_of = {names[name]: place % count for place, name in enumerate(order)}
    found = []
    for fold in range(count):
        unseen = tuple(index for index, name in enumerate(patients) if fold_of[name] == fold)
        training = tuple(index for index, name in enumerate(patients) if fold_of[name] != fold)
        found.append(Split(training, unseen))
    return tuple(found)
