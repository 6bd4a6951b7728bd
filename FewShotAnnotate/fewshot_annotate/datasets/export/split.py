"""Split of a data set by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def validation_patients(patients: Iterable[str], fraction: float, seed: int = 0) -> frozenset[str]:
    """Patients of the validation set: the same ones for the same seed, whatever the order of the cases.

    Parameters
    ----------
    patients : iterable of str
    fraction : float
        0..1; of at least two patients, at least one is on each side unless the fraction is 0.
    seed : int
    """
    ordered = sorted(
        set(patients),
        key=lambda patient: hashlib.sha256(f"{seed} {patient}".encode("utf-8", "surrogatepass")).hexdigest(),
    )
    count = round(fraction * len(ordered))
    if fraction > 0 and len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    return frozenset(ordered[:count])
