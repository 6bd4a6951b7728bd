"""Tuned constants of `propagate`, and the values that `ablation.py` compares them with."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_ENGINES = "fewshot_annotate.engines"
_PACKAGE = f"{_ENGINES}.propagate"
# Name of each constant, and other values on either side of its own.
_TRIED: dict[str, tuple[Any, ...]] = {
    "propagate.brightness.BLOCK_PIXELS": (2, 8),
    "propagate.brightness.MIN_BLOCKS": (4, 64),
    "propagate.brightness.MIN_INTENSITY": (0.02, 0.1),
    "propagate.brightness.MIN_LOG_DIFFERENCE": (0.05, 0.2),
    "propagate.compared_images.ADJACENT_WEIGHT": (0.35, 0.6),
    "propagate.compared_images.CENTRE_WEIGHT": (0.5, 1.0),
    "propagate.composed_flow.FLOW_REGULARISATION": (1.4e-3, 5.6e-3),
    "propagate.contrast.BINS": (128, 512),
    "propagate.contrast.SMOOTHING_SIGMA_BINS": (1.0, 4.0),
    "propagate.contrast.SURROUNDINGS_PIXELS": (2, 8),
    "propagate.flow_propagation.MARGIN_PIXELS": (16, 64),
    "propagate.fusion.HELD_OUT_SHARE": (1 / 5, 1 / 2),
    "propagate.fusion.MAX_HELD_OUT": (5, 12),
    "propagate.fusion.MIN_HELD_OUT": (2, 5),
    "propagate.fusion.MIN_PROBABILITY": (1e-4, 1e-2),
    "propagate.image_choice.MAX_SLICE_DISTANCE_PIXELS": (1.5, 4.0),
    "propagate.image_choice.MIN_ADJACENT_DICE_GAIN": (0.006, 0.024),
    "propagate.image_choice.MIN_BRIGHTNESS_DICE_GAIN": (0.025, 0.1),
    "propagate.image_choice.MIN_WIN_RATE": (0.4, 0.8),
    "propagate.image_choice.TRIAL_PAIRS": (2, 6),
    "propagate.image_choice.TRIAL_SIDE_PIXELS": (64, 256),
    "propagate.image_choice.TRIAL_SLICES": (12, 48),
    "propagate.label_vote.MIN_INTENSITY_DIFFERENCE": (0.01, 0.04),
    "propagate.label_vote.PATCH_SIGMA_PIXELS": (0.4, 1.0),
    "propagate.label_vote.SEARCH_RADIUS_PIXELS": (1, 3),
    "propagate.label_vote.SEARCH_SIGMA_PIXELS": (1.0, 4.0),
    "propagate.mixing.MIN_DICE_GAIN": (0.0, 0.01),
    "propagate.mixing.MIN_SLICES_FOR_ONE_CANDIDATE": (1, 5),
    "propagate.mixing.POOLING_SLICES": (10.0, 40.0),
    "propagate.mixing.TIP_PIXELS": (15, 60),
    "propagate.optical_flow.ITERATIONS": (1, 3),
    "propagate.optical_flow.MAX_STEP_PIXELS": (0.5, 2.0),
    "propagate.optical_flow.MIN_SIDE_PIXELS": (8, 32),
    "propagate.optical_flow.PYRAMID_LEVELS": (2, 4),
    "propagate.optical_flow.SMOOTHING_SIGMA_PIXELS": (0.5, 2.0),
    "propagate.optical_flow.WINDOW_SIGMA_PIXELS": (1.5, 3.0),
    "propagate.outline_smoothing.MAX_SIGMA_PIXELS": (1.0, 2.0),
    "propagate.outline_smoothing.MIN_DEPTH_PIXELS": (1.0, 4.0),
    "propagate.outline_smoothing.SIGMA_PER_DEPTH": (0.12, 0.4),
    "propagate.region_growing.COST_PER_PIXEL": (1e-6, 1e-4),
    "propagate.region_growing.SLICE_SWEEPS": (2, 5),
    "propagate.region_growing.SMOOTHING_SIGMA_PIXELS": (0.5, 1.0),
    "propagate.region_growing.STACK_SWEEPS": (1, 3),
    "propagate.shape_interpolation.MAX_DISTANCE_PIXELS": (6.0, 24.0),
    "propagate.structure_contrast.MAX_INDEPENDENT_PIXELS": (10, 40),
    "propagate.structure_contrast.MIN_CONTRAST_STANDARD_ERRORS": (1.5, 4.0),
    "propagate.structure_contrast.RING_WIDTH_PIXELS": (1, 4),
    "propagate.structure_keeping.CURVATURE_PIXELS_PER_SLICE": (0.2, 0.5),
    "propagate.structure_keeping.CURVED_PROBABILITY": (0.05, 0.3),
    "propagate.structure_keeping.INTERPOLATED_PROBABILITY": (0.6, 0.9),
    "propagate.structure_keeping.LOG_ODDS_PER_PIXEL": (2.0, 8.0),
    "propagate.structure_keeping.MAX_SLOPE": (1.0, 3.0),
    "propagate.structure_keeping.MAX_SMALL_AREA_RATIO": (1.5, 4.0),
    "propagate.structure_keeping.MAX_WEIGHT_SHARE": (0.6, 0.95),
    "propagate.structure_keeping.MIN_KEPT_SHARE": (0.05, 0.2),
    "propagate.structure_keeping.MIN_SMALL_KEPT_SHARE": (0.3, 0.7),
    "propagate.structure_keeping.SMALL_AREA_PIXELS": (15, 60),
    "propagate.structure_keeping.SMALL_DEPTH_PIXELS": (0.5, 2.0),
}
# Constants that this does not measure: limits of memory and of rounding errors, how much is computed at a time, what
# counts only outside the labelled range, for the progress or with several channels (`channels.py` measures that), and
# what `AdaptConfig` names itself.
NOT_COMPARED = (
    "propagate.candidates.EQUALISED_SHARE",
    "propagate.candidates.MAX_GROWING_SIDE_PIXELS",
    "propagate.expected_time.MAX_GROWING_PIXELS",
    "propagate.fusion.MIN_OPEN_ENDED_PROBABILITY",
    "propagate.image_choice.MIN_CHANNEL_DICE_GAIN",
    "propagate.label_vote.OFFSETS_AT_A_TIME",
    "propagate.outline_smoothing.MIN_SIGMA_PIXELS",
    "propagate.outline_smoothing.MIN_WEIGHT",
    "propagate.structure_contrast.MIN_STANDARD_ERROR",
    "propagate.structure_keeping.CACHED_SLICES",
    "propagate.structure_keeping.MIN_PROBABILITY",
)


@dataclass(frozen=True)
class ConstantValue:
    """A constant with a value that is not necessarily its own.

    Attributes
    ----------
    name : str
        `propagate.MODULE.CONSTANT`.
    """

    name: str
    value: Any

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, every module of the engine that uses the constant sees this value."""
        importlib.import_module(f"{_PACKAGE}.engine")
        module, _, constant = self.name.rpartition(".")
        own = own_value(self.name)
        users = [
            used
            for name, used in sys.modules.copy().items()
            if name == f"{_ENGINES}.{module}" or (name.startswith(_PACKAGE) and vars(used).get(constant) is own)
        ]
        try:
            for user in users:
                setattr(user, constant, self.value)
            yield
        finally:
            for user in users:
                setattr(user, constant, own)


def own_value(name: str) -> Any:
    """Value of a constant in the engine."""
    module, _, constant = name.rpartition(".")
    return getattr(importlib.import_module(f"{_ENGINES}.{module}"), constant)


def tuned_constants() -> dict[str, tuple[Any, ...]]:
    """Name of each constant -> its own value, then those that it is compared with."""
    return {name: (own_value(name), *tried) for name, tried in _TRIED.items()}
