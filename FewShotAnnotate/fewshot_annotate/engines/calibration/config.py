"""Settings of the calibration and of the expected Dice; the defaults are those of `adapt`.

The metadata of each field state its purpose (`help`) and the other values that it is compared with (`tried`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

Value = TypeVar("Value")


def tuned(default: Value, help: str, *tried: Value) -> Value:
    """A field of a section, with its default, its purpose and the other values that were tried."""
    return field(default=default, metadata={"help": help, "tried": tried})


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Calibration of probabilities; measured by the error of the expected Dice."""

    fitted_temperature: bool = tuned(True, "Fit the temperature on held-out slices.", False)
    inverse_temperature: float = tuned(
        10.0,
        "Mode of the log-normal prior at distance 1, in nats per largest margin of a slice: the scale of fused "
        "logits depends on the candidates, so they are divided by that margin.",
        7.0,
        8.5,
        14.0,
    )
    inverse_temperature_log_sd: float = tuned(0.25, "Standard deviation of the logarithm, of that prior.", 0.12, 0.5)
    distance_exponent: float = tuned(
        0.1, "The inverse temperature falls with distance as distance ** -exponent.", 0.0, 0.15, 0.2
    )
    max_effective_pixels: float = tuned(
        10,
        "Limit of the effective number of pixels of a held-out slice: errors of neighbouring pixels are correlated.",
        30,
        100,
    )
    max_relative_margin: float = tuned(
        0.85, "Pixels with a larger margin, relative to the largest on the slice, are not fitted on.", 0.7, 1.0
    )
    open_end_half_distance: float = tuned(
        8.0,
        "Distance, in slices, at which the log-odds of labels of unknown extent are halved, see `lower_certainty`; "
        "measured by the calibration error of voxels.",
        5.0,
        16.0,
        math.inf,
    )
    likelihood_offset: float = tuned(
        0.05,
        "Added to the likelihood of each pixel, which bounds the loss of pixels in structures that were missed "
        "completely: they are not informative about the uncertainty of boundaries.",
        0.01,
        0.1,
    )


@dataclass(frozen=True, kw_only=True)
class ExpectedDiceConfig:
    """Expected Dice and its interval; measured by the error of the expected Dice."""

    min_probability: float = tuned(
        0.05,
        "Smaller probabilities are ignored in expected sizes; over a large background they would add up.",
        0.01,
        0.1,
    )
    log_odds_factor: float = tuned(
        1.0, "Factor of the log-odds of the expected Dice; below 1 it shrinks them.", 0.9, 1.1
    )
    open_end_penalty_log_odds: float = tuned(
        0.5,
        "Subtracted from the log-odds if all predicted voxels of a label are open-ended: between labelled slices of "
        "which only one shows it, or outside of the labelled slices, so that its extent is unknown.",
        0.0,
        0.75,
        0.9,
    )
    interval_half_width_log_odds: float = tuned(
        0.45, "Minimum half-width of the interval, in log-odds.", 0.3, 0.4, 0.6
    )
    interval_voxels: int = tuned(
        300, "The half-width grows like a standard error: (these voxels / voxels of the label) ** 0.5.", 100, 600
    )
    interval_prior_voxels: int = tuned(40, "Added to the voxels of the label, which bounds its interval.", 20, 80)
    correction: bool = tuned(True, "Correct the expected Dice by its error on held-out slices.", False)
    correction_share: float = tuned(
        0.35,
        "Fraction of the error on held-out slices, in log-odds, that is corrected; held-out slices are farther from "
        "labelled slices than query slices are.",
        0.2,
        0.5,
    )
    prior_labels: float = tuned(5.0, "Labels without error that shrink the mean error of all labels.", 2.0, 10.0)
    prior_slices: float = tuned(10.0, "Slices with that mean error that shrink the error of a label.", 3.0, 30.0)
    min_voxels: int = tuned(30, "Voxels on held-out slices that a label needs to count in the mean.", 10, 100)
    half_weight_voxels: int = tuned(
        200, "Voxels on held-out slices at which a label gets half of the full weight in the mean.", 50, 500
    )


@dataclass(frozen=True, kw_only=True)
class LabellingConfig:
    """Choice of the label of each pixel from calibrated probabilities."""

    dice_thresholds: bool = tuned(True, "Use the thresholds with the best expected Dice instead of 0.5.", False)
    min_threshold: float = tuned(
        0.25,
        "The best threshold is half of the expected Dice (Lipton et al. 2014); this lower limit prevents overfilling "
        "of labels whose expected Dice is low and too inaccurate.",
        0.15,
        0.35,
    )
    small_components: bool = tuned(True, "Reassign labels with very few pixels on a slice.", False)
    min_pixels: int = tuned(3, "Minimum number of pixels, unless a labelled slice shows fewer.", 6, 12)


class CalibrationSections(Protocol):
    """Settings of an engine that calibrates its probabilities."""

    @property
    def calibration(self) -> CalibrationConfig:
        """Settings of the temperature."""

    @property
    def expected_dice(self) -> ExpectedDiceConfig:
        """Settings of the expected Dice and its interval."""

    @property
    def labelling(self) -> LabellingConfig:
        """Settings of the thresholds."""
