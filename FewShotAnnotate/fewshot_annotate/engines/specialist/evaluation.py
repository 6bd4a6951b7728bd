"""Results of a network on a patient that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .dice_model import CERTAIN_BACKGROUND, promised_dice, true_dice
from .inference import predict_volume
from .network import SpecialistUNet
from .training import Training

# Contested voxels kept of each example to fit the temperature on.
_MAX_CONTESTED = 4000
# Logarithms of the inverse temperatures that are tried.
_LOG_INVERSE_TEMPERATURES = np.linspace(-1.6, 0.7, 47)
# Voxels less contested than this say nothing about boundaries.
_CERTAIN = 0.995


@dataclass(frozen=True)
class Unseen:
    """Results on one example.

    Attributes
    ----------
    patient : str
    true : float ndarray, shape [labels]
        Dice on the labelled slices; NaN for labels that are not there.
    probabilities : float16 ndarray, shape [labels + 1, n]
        Before calibration, of the voxels on labelled slices that are not certainly background.
    contested : float32 ndarray, shape [labels + 1, m]
        Of some voxels between labels.
    contested_truth : ndarray, shape [m]
    """

    patient: str
    true: np.ndarray
    probabilities: np.ndarray
    contested: np.ndarray
    contested_truth: np.ndarray

    def promised(self, inverse_temperature: float) -> np.ndarray:
        """Dice of each label that the calibrated probabilities promise, NaN where it is nowhere."""
        return promised_dice(self.probabilities, inverse_temperature)


def evaluate_unseen(network: SpecialistUNet, training: Training, index: int, device: torch.device) -> Unseen:
    """Predict an example and compare it with its labels, on the working grid."""
    example = training.cache.read(index)
    plan = training.plan
    probabilities = predict_volume([network], plan, np.asarray(example.image), device)
    labelled = np.asarray(example.labels) != example.unlabelled
    truth = np.asarray(example.labels)[labelled].astype(np.int64)
    of_labelled = probabilities[:, labelled]
    filled = of_labelled.argmax(axis=0)
    best = of_labelled.max(axis=0)
    contested = np.flatnonzero((best < _CERTAIN) | (filled != truth))
    if len(contested) > _MAX_CONTESTED:
        contested = contested[np.random.default_rng(index).permutation(len(contested))[:_MAX_CONTESTED]]
    return Unseen(
        training.patients[index],
        true_dice(filled, truth, plan.labels),
        of_labelled[:, of_labelled[0] < CERTAIN_BACKGROUND],
        of_labelled[:, contested].astype(np.float32),
        truth[contested],
    )


def fit_inverse_temperature(unseen: Sequence[Unseen]) -> float:
    """Inverse temperature with the largest likelihood of contested voxels, every example counting the same."""
    loss = 0.1 * _LOG_INVERSE_TEMPERATURES**2
    for result in unseen:
        if not len(result.contested_truth):
            continue
        logs = np.log(np.maximum(result.contested, 1e-6))
        pixel = np.arange(len(result.contested_truth))
        for at, scale in enumerate(np.exp(_LOG_INVERSE_TEMPERATURES)):
            scaled = scale * logs
            log_likelihood = scaled[result.contested_truth, pixel] - np.log(np.exp(scaled).sum(axis=0))
            # Bounded, so that structures that were missed as a whole do not decide.
            loss[at] -= float(np.log(np.exp(log_likelihood) + 0.02).mean())
    return float(np.exp(_LOG_INVERSE_TEMPERATURES[loss.argmin()])) if unseen else 1.0
