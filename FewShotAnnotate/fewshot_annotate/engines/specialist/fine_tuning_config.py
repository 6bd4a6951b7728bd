"""Settings of the fine-tuning of trained networks on the labelled slices of one volume."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """Settings of the fine-tuning.

    Attributes
    ----------
    steps : int
    learning_rate : float
        Of Adam in the first step; it falls to 0 along a cosine.
    distillation : float
        Weight of the cross-entropy with the predictions before, in voxels that are not labelled.
    """

    steps: int = 20
    learning_rate: float = 2.5e-4
    distillation: float = 1.0
