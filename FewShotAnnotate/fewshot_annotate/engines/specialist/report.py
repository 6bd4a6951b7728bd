"""SpecialistReport: how well the networks of a task did on patients they had not seen."""

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
        Of an unseen patient with nothing painted, from cross-validation over patients. `label` is the label index.
        Empty with examples of a single patient. The interval holds the Dice of a patient with a probability of 90 %.
    examples, patients : int
    steps : int
        Training steps of all networks together.
    seconds : float
        Time of training, of all calls that worked in the folder.
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
