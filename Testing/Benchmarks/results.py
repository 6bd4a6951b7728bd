"""Rows of the accuracy benchmarks, and the statistics that summarise them.

`over` is 'between' (slices between the first and the last labelled one) or 'all' (every unlabelled slice).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

# Lower limit of errors in ratios, so that a perfect result does not decide the mean.
MIN_ERROR = 1e-3
# A Dice lower than that of the best rival by more than this is listed in a line of its own.
NOTABLE = 0.01


@dataclass(frozen=True)
class Setting:
    """One case with every `spacing`-th slice labelled, from slice `start` on."""

    case: str
    spacing: int
    start: int

    def __str__(self) -> str:
        return f"{self.case}, every {self.spacing}th" + (f" from {self.start}" if self.start else "")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Scores of one method in one setting: Dice 0..1, HD95 in mm, both means over labels; None: no such slices.

    `one_sided` counts labels that only truth or only the result holds (see `scores.label_scores`); `rank` is the
    correlation of confidence and Dice over slices, `calibration` the calibration error of voxels (see
    `scores.calibration_error`); `first_slice_s` is None for methods without a first slice.
    """

    case: str
    spacing: int
    start: int
    method: str
    slices: int
    labelled: int
    labels: int
    dice_between: float | None
    dice_all: float | None
    hd95_between: float | None
    hd95_all: float | None
    one_sided_between: int
    one_sided_all: int
    rank_between: float | None
    rank_all: float | None
    calibration_between: float | None
    calibration_all: float | None
    first_slice_s: float | None
    seconds: float
    peak_mib: float | None

    @property
    def setting(self) -> Setting:
        """Where it was measured."""
        return Setting(self.case, self.spacing, self.start)

    def dice(self, over: str) -> float | None:
        """Mean Dice over a range."""
        return self.dice_all if over == "all" else self.dice_between

    def hd95(self, over: str) -> float | None:
        """Mean HD95 in mm over a range."""
        return self.hd95_all if over == "all" else self.hd95_between

    def rank(self, over: str) -> float | None:
        """Correlation of confidence and Dice over a range."""
        return self.rank_all if over == "all" else self.rank_between

    def calibration(self, over: str) -> float | None:
        """Calibration error of voxels over a range."""
        return self.calibration_all if over == "all" else self.calibration_between


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """Scores of one label of one method in one setting, and the Dice that the engine expected of it.

    `voxels` are those of the label in the whole case, `voxels_between` and `voxels_all` those on the scored slices.
    `expected`, `low` and `high` refer to all unlabelled slices, as `dice_all` does; None if the engine reports none.
    """

    case: str
    spacing: int
    start: int
    method: str
    label: int
    name: str
    voxels: int
    voxels_between: int
    voxels_all: int
    dice_between: float | None
    dice_all: float | None
    hd95_between: float | None
    hd95_all: float | None
    expected: float | None
    low: float | None
    high: float | None

    @property
    def setting(self) -> Setting:
        """Where it was measured."""
        return Setting(self.case, self.spacing, self.start)

    def dice(self, over: str) -> float | None:
        """Dice over a range."""
        return self.dice_all if over == "all" else self.dice_between

    def voxels_over(self, over: str) -> int:
        """Voxels on the scored slices of a range."""
        return self.voxels_all if over == "all" else self.voxels_between


@dataclass(frozen=True)
class Point:
    """Mean Dice of a method on the other slices, with a number of labelled slices."""

    case: str
    method: str
    slices: int
    dice: float


@dataclass(frozen=True)
class Need:
    """Labelled slices that a method needed to reach a Dice; None: not reached with up to `most` slices."""

    case: str
    method: str
    level: float
    slices: int | None
    most: int

    def __str__(self) -> str:
        return f"> {self.most}" if self.slices is None else str(self.slices)


@dataclass(frozen=True)
class Comparison:
    """One method against the best rival of each setting, as if a user always knew which one that is.

    Attributes
    ----------
    ratio : float
        Geometric mean over settings of the method's error (1 - Dice) over the best rival's.
    gains : dict
        Setting to the method's Dice less the best rival's, worst first.
    """

    ratio: float
    gains: dict[Setting, float]

    @property
    def notably_behind(self) -> dict[Setting, float]:
        """The settings in which the method is behind by more than `NOTABLE`."""
        return {setting: gain for setting, gain in self.gains.items() if gain < -NOTABLE}


@dataclass(frozen=True)
class Calibration:
    """Mean distance of expected from true Dice over `count` labels, and how often (0..1) truth lies in its range."""

    count: int
    error: float
    inside: float


def compare(rows: Sequence[Row], method: str, rivals: Sequence[str], over: str) -> Comparison | None:
    """A method against the best of its rivals; None if no setting has all of them."""
    gains, ratios = {}, []
    for setting in dict.fromkeys(row.setting for row in rows):
        dice = {row.method: row.dice(over) for row in rows if row.setting == setting}
        own, others = dice.get(method), [dice.get(rival) for rival in rivals]
        if own is None or None in others:
            continue
        gains[setting] = own - max(others)
        ratios.append(max(1 - own, MIN_ERROR) / max(1 - max(others), MIN_ERROR))
    if not gains:
        return None
    ordered = dict(sorted(gains.items(), key=lambda item: item[1]))
    return Comparison(float(np.exp(np.mean(np.log(ratios)))), ordered)


def calibration(rows: Sequence[LabelRow], method: str) -> Calibration | None:
    """Expected against true Dice of a method's labels; None if it expects nothing."""
    rows_with_expectation = [row for row in rows if row.method == method and None not in (row.expected, row.dice_all)]
    if not rows_with_expectation:
        return None
    errors = [abs(row.expected - row.dice_all) for row in rows_with_expectation]
    inside = [row.low <= row.dice_all <= row.high for row in rows_with_expectation]
    return Calibration(len(rows_with_expectation), float(np.mean(errors)), float(np.mean(inside)))


def write_csv(path: Path, rows: Sequence[Any], kind: type) -> None:
    """Rows of one dataclass as a CSV file; None is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(kind)])
        writer.writeheader()
        writer.writerows({name: _rounded(value) for name, value in asdict(row).items()} for row in rows)


def _rounded(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value
