"""Evaluation of networks on held-out patients, and calibration of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...core.dice import dice_of_labels
from .dice_model import CERTAIN_BACKGROUND, soft_dice
from .inference import predict_volume
from .network import SpecialistUNet
from .training_data import TrainingData

# Uncertain voxels of each example that the temperature is fitted on, at most.
_MAX_UNCERTAIN_VOXELS = 4000
# Logarithms of the inverse temperatures that are compared.
_LOG_INVERSE_TEMPERATURES = np.linspace(-1.6, 0.7, 47)
# Correctly labelled voxels with a higher probability are not uncertain: they would outnumber those at boundaries.
_CERTAIN_PROBABILITY = 0.995


@dataclass(frozen=True)
class HeldOutResult:
    """Result of a network on an example of a held-out patient.

    Attributes
    ----------
    patient : str
    true : float ndarray, shape [labels]
        Dice on the labelled slices; NaN for labels that are absent.
    probabilities : float16 ndarray, shape [labels + 1, n]
        Probabilities before calibration, in the voxels of labelled slices that are not certainly background.
    uncertain : float32 ndarray, shape [labels + 1, m]
        Probabilities before calibration, in some of the uncertain voxels.
    uncertain_truth : ndarray, shape [m]
        True label indices of these voxels.
    """

    patient: str
    true: np.ndarray
    probabilities: np.ndarray
    uncertain: np.ndarray
    uncertain_truth: np.ndarray

    def soft(self, inverse_temperature: float) -> np.ndarray:
        """Soft Dice of each label after calibration, float `[labels]`; NaN for labels that are absent."""
        return soft_dice(self.probabilities, inverse_temperature)


def evaluate_held_out(
    network: SpecialistUNet, training: TrainingData, index: int, device: torch.device
) -> HeldOutResult:
    """Predict an example and compare it with its labels, on the working grid."""
    example = training.cache.read(index)
    plan = training.plan
    probabilities = predict_volume([network], plan, np.asarray(example.image), device)
    labelled = np.asarray(example.labels) != example.unlabelled
    truth = np.asarray(example.labels)[labelled].astype(np.int64)
    probabilities = probabilities[:, labelled]
    filled = probabilities.argmax(axis=0)
    best = probabilities.max(axis=0)
    uncertain = np.flatnonzero((best < _CERTAIN_PROBABILITY) | (filled != truth))
    if len(uncertain) > _MAX_UNCERTAIN_VOXELS:
        uncertain = uncertain[np.random.default_rng(index).permutation(len(uncertain))[:_MAX_UNCERTAIN_VOXELS]]
    return HeldOutResult(
        training.patients[index],
        dice_of_labels(truth, filled, plan.labels),
        probabilities[:, probabilities[0] < CERTAIN_BACKGROUND],
        probabilities[:, uncertain].astype(np.float32),
        truth[uncertain],
    )


def fit_inverse_temperature(results: Sequence[HeldOutResult]) -> float:
    """Inverse temperature that maximises the likelihood of uncertain voxels; all examples count the same."""
    loss = 0.1 * _LOG_INVERSE_TEMPERATURES**2
    for result in results:
        if not len(result.uncertain_truth):
            continue
        log_probs = np.log(np.maximum(result.uncertain, 1e-6))
        voxel = np.arange(len(result.uncertain_truth))
        for trial, inverse_temperature in enumerate(np.exp(_LOG_INVERSE_TEMPERATURES)):
            scaled = inverse_temperature * log_probs
            log_likelihood = scaled[result.uncertain_truth, voxel] - np.log(np.exp(scaled).sum(axis=0))
            # The likelihood is bounded from below, so that structures that were missed completely do not dominate.
            loss[trial] -= float(np.log(np.exp(log_likelihood) + 0.02).mean())
    return float(np.exp(_LOG_INVERSE_TEMPERATURES[loss.argmin()])) if results else 1.0
