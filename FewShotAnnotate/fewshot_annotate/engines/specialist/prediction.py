"""Prediction of a volume by a trained model: calibrated probabilities of each slice, and the expected Dice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.expected_dice import ExpectedDice
from ...core.job import Device
from ...core.support import Support
from ...core.training_example import TrainingExample
from ...core.volume import Volume
from ..base import RunContext
from ..progress_counter import ProgressCounter
from .dice_model import SoftDice, calibrated, mean_soft_dice
from .expected_time import PredictionTime
from .model_file import MODEL_FILE, load_members, read_description, require_labels
from .plan import SpecialistPlan
from .preparation import PreparedExample, WorkingGrid, normalised, prepared, resized

if TYPE_CHECKING:
    from .network import SpecialistUNet


@dataclass(frozen=True)
class NativeSlices:
    """A prediction on the working grid, read slice by slice on the grid of the volume.

    Attributes
    ----------
    probabilities : float ndarray, shape [labels + 1, d, h, w]
        Probabilities on the working grid.
    grid : WorkingGrid
    """

    probabilities: np.ndarray
    grid: WorkingGrid

    def read(self, axis: int, index: int) -> np.ndarray:
        """Linearly interpolated probabilities, float32 `[labels + 1, h, w]`, of a slice across an array axis."""
        grid = self.grid
        grid_axis, flipped = grid.grid_axis(axis)
        if flipped:
            index = grid.native[grid_axis] - 1 - index
        probabilities = self._interpolated(grid_axis, index)
        lengths = [grid.native[other] for other in range(3) if other != grid_axis]
        for slice_axis, length in enumerate(lengths, start=1):
            probabilities = resized(probabilities, slice_axis, length)
        restored = grid.restore(np.expand_dims(probabilities, 1 + grid_axis))
        return np.ascontiguousarray(np.take(restored, 0, axis=1 + axis))

    def _interpolated(self, grid_axis: int, index: int) -> np.ndarray:
        """Probabilities at a native index along one axis of the working grid, at the working size of the others."""
        old, new = self.grid.size[grid_axis], self.grid.native[grid_axis]
        position = min(max((index + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        before = min(int(position), old - 1)
        weight = np.float32(position - before)
        low: np.ndarray = np.take(self.probabilities, before, axis=1 + grid_axis).astype(np.float32)
        if not weight:
            return low
        high: np.ndarray = np.take(self.probabilities, min(before + 1, old - 1), axis=1 + grid_axis).astype(
            np.float32
        )
        interpolated: np.ndarray = low + weight * (high - low)
        return interpolated


class VolumePrediction:
    """Calibrated prediction of a whole volume.

    Networks are fine-tuned on the labelled slices, if these show all labels; others would be forgotten.

    Parameters
    ----------
    volume : Volume
    model : Path
        Folder with the model that `fit_specialist` wrote.
    support : Support
        The label values in it are the labels of the model, in the same order.
    device : Device
    context : RunContext
        Receives progress and can stop the prediction. With a deadline, networks are only fine-tuned if that takes no
        more than a third of the time left.

    Attributes
    ----------
    error_ratio : float
        Expected error (1 - Dice) after fine-tuning relative to that before; 1 without fine-tuning.

    Raises
    ------
    InputError
        The model is missing, is damaged or has another number of labels; or the device is not available.
    """

    def __init__(
        self, volume: Volume, model: Path, support: Support, device: Device, context: RunContext = RunContext()
    ) -> None:
        self.description = require_labels(model, len(support.labels))
        self.error_ratio = 1.0
        self._labels = support.labels
        from ..device import torch_device
        from .member_training import memory_format

        self._device = torch_device(device, "specialist")
        self._plan = plan = self.description.plan
        networks = _networks(model, (model / MODEL_FILE).stat().st_mtime_ns)
        for network in networks:
            network.to(self._device, memory_format=memory_format(plan))  # type: ignore[call-overload]
        self._grid = WorkingGrid.of(volume.geometry, plan)
        self._image = normalised(self._grid.image(volume.array), plan)
        labelled = fine_tuning_slices(support)
        times = PredictionTime.of(self.description, volume.geometry, support.axis.index, bool(labelled))
        work = ProgressCounter(context.report_progress)
        work.plan(times.total)
        self._before, self._soft_dice = self._predicted(networks, work.reporter(times.prediction))
        self._slices = self._before
        if labelled:
            self._fine_tune(networks, _example(volume, support, labelled, plan), context, times, work)

    def slice(self, axis: int, index: int) -> np.ndarray:
        """Probabilities, float32 `[labels + 1, h, w]`, of a slice across an array axis."""
        return _normalised(self._slices.read(axis, index))

    def slice_before_fine_tuning(self, axis: int, index: int) -> np.ndarray:
        """As `slice`, without influence of the labelled slices."""
        return _normalised(self._before.read(axis, index))

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label on this volume; empty if the model was trained on a single patient."""
        model = self.description.dice
        expected = () if model is None else model.of_volume(self._soft_dice, self._labels)
        return tuple(
            ExpectedDice(
                label.label, *(1 - self.error_ratio * (1 - dice) for dice in (label.dice, label.low, label.high))
            )
            for label in expected
        )

    def _fine_tune(
        self,
        networks: Sequence[SpecialistUNet],
        example: PreparedExample,
        context: RunContext,
        times: PredictionTime,
        work: ProgressCounter,
    ) -> None:
        from .fine_tuning import ERROR_RATIO, fine_tuned

        report = work.reporter(times.fine_tuning)
        tuned = fine_tuned(networks, self._plan, example, self._device, report, context.seconds_left / 3)
        if tuned is not None:
            self._slices, _ = self._predicted(tuned, work.reporter(times.prediction))
            self.error_ratio = ERROR_RATIO

    def _predicted(
        self, networks: Sequence[SpecialistUNet], on_progress: Callable[[float], object]
    ) -> tuple[NativeSlices, np.ndarray]:
        """Calibrated probabilities, and the soft Dice of each label."""
        from .inference import predict_volume

        temperature = self.description.inverse_temperature
        soft_dice = [SoftDice(self._plan.labels, temperature) for _ in networks]
        probabilities = predict_volume(networks, self._plan, self._image, self._device, on_progress, soft_dice)
        for index in range(probabilities.shape[1]):
            probabilities[:, index] = calibrated(probabilities[:, index], temperature)
        return NativeSlices(probabilities, self._grid), mean_soft_dice(soft_dice)


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    probabilities /= probabilities.sum(axis=0)
    return probabilities


def fine_tuning_slices(support: Support) -> list[int]:
    """Indices of the labelled slices to fine-tune on: none if they do not show every label."""
    complete = np.array([annotated.all() for annotated in support.annotated], dtype=bool)
    shown = np.isin(support.labels, support.masks[complete])
    return [
        index for index, is_complete in zip(support.indices, complete, strict=True) if is_complete and shown.all()
    ]


def _example(volume: Volume, support: Support, labelled: Sequence[int], plan: SpecialistPlan) -> PreparedExample:
    """The labelled slices, on the working grid of a plan."""
    labels = np.zeros(volume.array.shape, dtype=np.min_scalar_type(plan.labels))
    slices = support.axis.slices(labels)
    for index, mask in zip(support.indices, support.masks, strict=True):
        for label_index, label in enumerate(support.labels, start=1):
            slices[index][mask == label] = label_index
    example = TrainingExample(
        patient="", load=lambda: (volume, labels), axis=support.axis.index, labelled_slices=tuple(labelled)
    )
    return prepared(volume, labels, example, plan)


@lru_cache(maxsize=2)
def _networks(model: Path, modified_ns: int) -> list[SpecialistUNet]:
    """Networks of a model; `modified_ns` is the modification time of its file, so that a newer one is read again."""
    return load_members(model, read_description(model))
