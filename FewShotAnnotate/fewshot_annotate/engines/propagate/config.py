"""Settings of the confidence and the expected Dice of `propagate`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..calibration.config import CalibrationConfig, ExpectedDiceConfig, LabellingConfig


@dataclass(frozen=True, kw_only=True)
class PropagateConfig:
    """Settings of calibration; those given here differ from `adapt`."""

    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    # The temperature is fitted on the same held-out slices, so little correction is needed. Tried: factors 0.9 to 1.2
    # and shares 0 to 0.5, on eight cases with every 4th, 8th and 16th slice labelled.
    expected_dice: ExpectedDiceConfig = field(
        default_factory=lambda: ExpectedDiceConfig(log_odds_factor=1.1, correction_share=0.15)
    )
    labelling: LabellingConfig = field(default_factory=lambda: LabellingConfig(dice_thresholds=False))
