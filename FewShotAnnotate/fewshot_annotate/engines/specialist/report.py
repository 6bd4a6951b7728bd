"""SpecialistReport: how well the networks of a task segment held-out patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...core.expected_dice import ExpectedDice

REPORT_FILE = "report.json"
REPORT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SpecialistReport:
    """Result of `fit_specialist`.

    Attributes
    ----------
    expected_dice : tuple of ExpectedDice
        Expected Dice of each label on a new patient without painted slices, from cross-validation over patients, with
        the 90 % prediction interval. `label` is the label index. Empty if all examples are of a single patient.
    examples, patients : int
    steps : int
        Training steps of all networks together.
    seconds : float
        Training time, including that of calls that were interrupted.
    """

    expected_dice: tuple[ExpectedDice, ...]
    examples: int
    patients: int
    steps: int
    seconds: float

    @property
    def mean_expected_dice(self) -> float | None:
        """Mean over labels; None if unknown."""
        dice = [label_dice.dice for label_dice in self.expected_dice]
        return sum(dice) / len(dice) if dice else None

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values, with the version of the format."""
        return {
            "version": REPORT_VERSION,
            **asdict(self),
            "expected_dice": [label_dice.to_json() for label_dice in self.expected_dice],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SpecialistReport:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            Not a report, or of another version.
        """
        if data["version"] != REPORT_VERSION:
            raise ValueError(f"report version {data['version']}, this program reads {REPORT_VERSION}")
        expected = tuple(ExpectedDice.from_json(entry) for entry in data["expected_dice"])
        counts = (int(data[name]) for name in ("examples", "patients", "steps"))
        examples, patients, steps = counts
        return cls(
            expected_dice=expected,
            examples=examples,
            patients=patients,
            steps=steps,
            seconds=float(data["seconds"]),
        )
