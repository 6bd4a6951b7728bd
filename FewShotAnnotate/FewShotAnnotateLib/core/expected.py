"""ExpectedDice: how well an engine expects to have done, before anybody has looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ExpectedDice:
    """The Dice an engine expects of one label.

    Attributes
    ----------
    label : int
        From 1 to 65535.
    dice : float
        The Dice to expect over the unlabelled slices of the job, 0..1.
    low, high : float
        `low`..`high` is the range in which the true Dice over the unlabelled slices of the job is expected to lie
        9 times of 10; `dice` lies in it.

    Raises
    ------
    ValueError, TypeError
        Not a label or not such a range.
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
        """Plain dict of plain numbers."""
        return {name: value if name == "label" else float(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExpectedDice:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, TypeError
            Something else.
        """
        return cls(**data)
