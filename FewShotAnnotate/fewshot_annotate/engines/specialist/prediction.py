"""Prediction of a volume by a trained model: calibrated probabilities of each slice, and the expected Dice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.expected_dice import ExpectedDice
from ...core.job import Device
from ...core.volume import Volume
from .dice_model import SoftDice, calibrated, mean_soft_dice
from .model_file import MODEL_FILE, load_members, read_description, require_labels
from .native_slices import NativeSlices
from .preparation import WorkingGrid, normalised

if TYPE_CHECKING:
    from .network import SpecialistUNet


class VolumePrediction:
    """Calibrated prediction of a whole volume.

    Parameters
    ----------
    volume : Volume
    model : Path
        Folder with the model that `fit_specialist` wrote.
    labels : sequence of int
        Label value of each label of the model.
    device : Device
    on_progress : function
        Called with the fraction that is done.

    Raises
    ------
    InputError
        The model is missing, is damaged or has another number of labels; or the device is not available.
    """

    def __init__(
        self,
        volume: Volume,
        model: Path,
        labels: Sequence[int],
        device: Device,
        on_progress: Callable[[float], object] = lambda fraction: None,
    ) -> None:
        self.description = require_labels(model, len(labels))
        self._labels = tuple(labels)
        from ..device import torch_device
        from .inference import predict_volume
        from .member_training import memory_format

        chosen_device = torch_device(device, "specialist")
        plan = self.description.plan
        networks = _networks(model, (model / MODEL_FILE).stat().st_mtime_ns)
        for network in networks:
            network.to(chosen_device, memory_format=memory_format(plan))  # type: ignore[call-overload]
        grid = WorkingGrid.of(volume.geometry, plan)
        image = normalised(grid.image(volume.array), plan)
        soft_dice = [SoftDice(plan.labels, self.description.inverse_temperature) for _ in networks]
        probabilities = predict_volume(networks, plan, image, chosen_device, on_progress, soft_dice)
        self._soft_dice = mean_soft_dice(soft_dice)
        for index in range(probabilities.shape[1]):
            probabilities[:, index] = calibrated(probabilities[:, index], self.description.inverse_temperature)
        self._slices = NativeSlices(probabilities, grid)

    def slice(self, axis: int, index: int) -> np.ndarray:
        """Probabilities, float32 `[labels + 1, h, w]`, of a slice across an array axis."""
        probabilities = self._slices.read(axis, index)
        probabilities /= probabilities.sum(axis=0)
        return probabilities

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label on this volume; empty if the model was trained on a single patient."""
        dice = self.description.dice
        return () if dice is None else dice.of_volume(self._soft_dice, self._labels)


@lru_cache(maxsize=2)
def _networks(model: Path, modified_ns: int) -> list[SpecialistUNet]:
    """Networks of a model; `modified_ns` is the modification time of its file, so that a newer one is read again."""
    return load_members(model, read_description(model))
