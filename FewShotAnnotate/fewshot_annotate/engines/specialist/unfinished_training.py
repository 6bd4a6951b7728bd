"""UnfinishedTraining: record of the arguments of a training, so that it is continued only with the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.reading import read_json_as
from ...core.training_example import TrainingExample
from .plan import SpecialistPlan


@dataclass(frozen=True)
class UnfinishedTraining:
    """Fingerprint of the arguments of a training, and the plan and folds that were chosen for it.

    Attributes
    ----------
    fingerprint : str
    plan : SpecialistPlan
    folds : mapping of str to int
        Fold of each patient by digest.
    """

    fingerprint: str
    plan: SpecialistPlan
    folds: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values."""
        return {"fingerprint": self.fingerprint, "plan": self.plan.to_json(), "folds": dict(self.folds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UnfinishedTraining:
        """The inverse of `to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        folds = {str(digest): int(fold) for digest, fold in data["folds"].items()}
        return cls(str(data["fingerprint"]), SpecialistPlan.from_json(data["plan"]), folds)

    @classmethod
    def read(cls, path: Path, expected: str) -> UnfinishedTraining | None:
        """The record with the expected fingerprint; None if it is missing or damaged, or has another fingerprint."""
        try:
            record = read_json_as(path, cls.from_json)
        except (OSError, ValueError, InputError):
            return None
        return record if record.fingerprint == expected else None


def fingerprint(examples: Sequence[TrainingExample], labels: int, budget_seconds: float, seed: int) -> str:
    """Fingerprint of the arguments of a training, from which patients cannot be identified."""
    described = [[example.patient, example.axis, example.labelled_slices] for example in examples]
    text = json.dumps([described, labels, budget_seconds, seed])
    return hashlib.sha256(text.encode()).hexdigest()
