"""Engine `specialist`: networks trained on the examples of one task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError, Message
from ...core.expected_dice import ExpectedDice
from ...core.job import Device
from ...core.support import Support
from ...core.volume import Volume
from ..base import Engine, RunContext, missing_packages_message
from ..progress_counter import ProgressCounter
from ..torch_loading import load_torch, outdated_torch_message
from .model_file import read_description, require_labels

if TYPE_CHECKING:
    from .expected_time import PredictionTime
    from .prediction import VolumePrediction


class Specialist(Engine):
    """Networks that `fit_specialist` trained on the examples of a task; no slice of this volume needs to be painted.

    Networks are fine-tuned on the labelled slices, if these show all labels. The engine `adapt` blends its own result
    with theirs.
    """

    name = "specialist"
    title = "Specialist"
    summary = "Networks trained on the accepted cases of a task; needs no painted slice. No download."
    licence = "Apache-2.0 (built in)"
    devices = (Device.CPU, Device.CUDA, Device.MPS)
    uses_model = needs_model = True

    def __init__(self, device: Device = Device.AUTO, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(device, options)
        self._requested_device = device

    @classmethod
    def missing_packages(cls) -> tuple[str, ...]:
        """Torch and safetensors, if they are not installed."""
        return tuple(name for name in ("torch", "safetensors") if not find_spec(name))

    @classmethod
    def unavailable_reason(cls) -> Message | None:
        """Message that names the packages to install if some are missing or too old."""
        missing = cls.missing_packages()
        return missing_packages_message(missing) if missing else outdated_torch_message()

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Check the model, which is not loaded before `predict`.

        Raises
        ------
        InputError
            The run has no model, or one that is damaged or has other labels.
        """
        super().prepare(volume, support, context)
        if context.model is None:
            raise InputError("model_not_given", engine=self.name)
        require_labels(context.model, len(support.labels))
        self._volume = volume
        self._support = support
        self._prediction: VolumePrediction | None = None
        self._work = ProgressCounter(context.report_progress)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the slices on which all labels are annotated unchanged, then the predictions of the others."""
        support = self._support
        labelled = {
            index: support_index
            for support_index, index in enumerate(support.indices)
            if support.annotated[support_index].all()
        }
        for index in slice_indices:
            if index in labelled:
                yield index, support.one_hot(labelled[index])
        query = [index for index in slice_indices if index not in labelled]
        of_slice = self._expected_time().slice
        self._work.plan(len(query) * of_slice)
        for index in query:
            probabilities = self.prediction().slice(support.axis.index, index)
            self._work.done(of_slice)
            yield index, probabilities

    def expected_dice(self) -> tuple[ExpectedDice, ...]:
        """Expected Dice of each label on this volume, from cross-validation and its probabilities."""
        return self._prediction.expected_dice() if self._prediction else ()

    def prediction(self, on_progress: Callable[[float], object] | None = None) -> VolumePrediction:
        """Prediction of the volume, which is computed by the first call.

        Parameters
        ----------
        on_progress : function, optional
            Receives the fraction that is done. Default: it is counted together with the slices.
        """
        if self._prediction is None:
            load_torch()
            from .prediction import VolumePrediction

            assert self.context.model is not None
            if on_progress is None:
                self._work.plan(self.expected_seconds())
                on_progress = self._work.reporter(self.expected_seconds())
            self._prediction = VolumePrediction(
                self._volume,
                self.context.model,
                self._support,
                self._requested_device,
                replace(self.context, on_progress=on_progress),
            )
        return self._prediction

    def expected_seconds(self) -> float:
        """Seconds of one processor core that the prediction of the volume is expected to take."""
        return self._expected_time().total

    def _expected_time(self) -> PredictionTime:
        from .expected_time import PredictionTime
        from .prediction import fine_tuning_slices

        assert self.context.model is not None
        description, axis = read_description(self.context.model), self._support.axis.index
        return PredictionTime.of(description, self._volume.geometry, axis, bool(fine_tuning_slices(self._support)))
