"""ExpectedDice: an engine's estimate of the Dice of its own result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ExpectedDice:
    """Expected Dice of one label, with a 90 % prediction interval.

    Attributes
    ----------
    label : int
        From 1 to 65535.
    dice : float
        Expected Dice over the unlabelled slices of the job, 0..1.
    low, high : float
        Bounds of the interval that contains the true Dice with a probability of 90 %; `dice` lies in it.

    Raises
    ------
    ValueError, TypeError
        The label or the interval is invalid.
    """

    label: int
    dice: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if isinstance(self.label, bool) or not isinstance(self.label, int) or not 1 <= self.label <= 65535:
            raise ValueError(f"label {self.label!r}")
        if not 0 <= self.low <= self.dice <= self.high <= 1:
            raise ValueError(f"expected Dice {self.dice} from {self.low} to {self.high}")

    def to_json(self) -> dict[str, Any]:
        """Dict of plain numbers."""
        return {name: value if name == "label" else float(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExpectedDice:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, TypeError
            The data are not an expected Dice.
        """
        return cls(**data)
