"""Expected processor time of the prediction of a volume by a trained model. Only the progress depends on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...core.volume import Geometry
from .fine_tuning_config import FineTuningConfig
from .model_file import ModelDescription
from .preparation import WorkingGrid
from .windows import predicted_voxels

# Seconds of one core for each voxel that one network predicts, and the time of a step of the fine-tuning for each
# voxel of its patches, in predictions. Measured on a hippocampus, on a grid of 62,000 voxels.
SECONDS_PER_VOXEL = 0.5e-6
PREDICTIONS_PER_STEP = 6.5
# Seconds for each probability of a slice that is interpolated at the resolution of the volume, and written.
SECONDS_PER_PROBABILITY = 0.06e-6


@dataclass(frozen=True, kw_only=True)
class PredictionTime:
    """Seconds of one processor core that the parts of a prediction are expected to take.

    Attributes
    ----------
    prediction : float
        One prediction by all networks.
    fine_tuning : float
        The fine-tuning of all networks; 0 if there is none. Another prediction follows it.
    slice : float
        One slice at the resolution of the volume.
    """

    prediction: float
    fine_tuning: float
    slice: float

    @classmethod
    def of(cls, description: ModelDescription, geometry: Geometry, axis: int, fine_tuned: bool) -> PredictionTime:
        """Time on a volume whose slices are across an array axis."""
        plan, seconds = description.plan, SECONDS_PER_VOXEL * description.members
        steps = FineTuningConfig().steps if fine_tuned else 0
        patches = 2 if plan.dimensions == 2 else 1
        pixels = math.prod(geometry.shape) / geometry.shape[axis]
        return cls(
            prediction=seconds * predicted_voxels(WorkingGrid.of(geometry, plan).size, plan),
            fine_tuning=seconds * steps * PREDICTIONS_PER_STEP * patches * math.prod(plan.patch),
            slice=SECONDS_PER_PROBABILITY * pixels * (plan.labels + 1),
        )

    @property
    def total(self) -> float:
        """All predictions and the fine-tuning."""
        return self.fine_tuning + self.prediction * (2 if self.fine_tuning else 1)
