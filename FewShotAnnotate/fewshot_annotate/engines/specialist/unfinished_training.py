"""UnfinishedTraining: what an unfinished training was started with, so that only the same is continued."""

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
    """Fingerprint of the arguments, and what was made of them.

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
    def read(cls, path: Path, wanted: str) -> UnfinishedTraining | None:
        """The record of a training with this fingerprint; None if there is none that can be read."""
        try:
            record = read_json_as(path, cls.from_json)
        except (OSError, ValueError, InputError):
            return None
        return record if record.fingerprint == wanted else None


def fingerprint(examples: Sequence[TrainingExample], labels: int, budget_seconds: float, seed: int) -> str:
    """Fingerprint of the arguments of a training, in which no patient can be recognised."""
    rows = [[example.patient, example.axis, example.labelled_slices] for example in examples]
    text = json.dumps([rows, labels, budget_seconds, seed])
    return hashlib.sha256(text.encode()).hexdigest()
