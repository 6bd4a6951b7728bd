"""Plan of one case of a batch: its labels on the volume's grid, and the run that fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.clean_up import CleanUpRule
from ..core.errors import InputError, Message
from ..core.job import Device
from ..core.labelled_example import Example
from ..core.regrid import Consent
from ..core.slice_axis import resolve_axis
from ..core.volume import LabelMap, Volume, names_by_value
from ..io.files import merge_layers, read_on_grid
from ..io.ignored_labels import ignored_label_notes
from ..io.label_names import named_from
from ..io.label_notes import label_notes
from ..jobs.labelled_layers import LabelledLayer
from ..jobs.planning import EngineSettings, FillRequest, PlannedRun, plan, planned_runs
from .manifest import Case
from .task.filling import TaskPlan, plan_with_task
from .task.matching import axis_of_plane, empty_support, examples_of, values_by_name
from .task.models import required_model
from .task.task import Task, read_task


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Settings of all cases of a batch.

    Attributes
    ----------
    slices : 'between', 'all' or (start, stop)
    device : Device
    options : mapping of str to number, str or bool
        Options of the engine.
    budget : float or None
        Time limit per case, in seconds.
    agreed : frozenset of Consent
        Lossy operations allowed on labels that are not on the image's grid.
    complete : bool
        Whether a label that is not on a labelled slice is absent there.
    clean_up : tuple of CleanUpRule
        What is done to filled labels.
    """

    slices: str | tuple[int, int] = "between"
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    agreed: frozenset[Consent] = frozenset()
    complete: bool = True
    clean_up: tuple[CleanUpRule, ...] = ()


@dataclass(frozen=True)
class CaseTask:
    """The task that a case names.

    Attributes
    ----------
    folder : Path
        Absolute path, accessible to every worker.
    model : Path or None
        Absolute path of the folder of the model that fills the case; None: its labelled slices are examples.
    """

    folder: Path
    model: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CasePlan:
    """How a case is filled.

    Attributes
    ----------
    label_map : LabelMap
        The painted labels on the volume's grid, or an empty label map with the segments of the task.
    run : PlannedRun
    examples : sequence of Example
        Labelled slices of a task, for engines that segment from examples.
    notes : sequence of Message
        Messages about the labels, for the user.
    by_task : TaskPlan or None
        If the model of a task fills the case.
    """

    label_map: LabelMap
    run: PlannedRun
    examples: Sequence[Example] = ()
    notes: Sequence[Message] = ()
    by_task: TaskPlan | None = None

    def filled(self, labels: np.ndarray) -> LabelMap:
        """Label map of the run's label values [k, j, i]."""
        return self.label_map.with_array(labels) if self.by_task is None else self.by_task.filled(labels)


def plan_case(case: Case, settings: BatchSettings, volume: Volume, task: CaseTask | None = None) -> CasePlan:
    """Plan the filling of a case from its labelled slices, from the examples of a task, or by the model of a task.

    Parameters
    ----------
    case : Case
        Its engine is never 'auto'.
    settings : BatchSettings
    volume : Volume
        Its image.
    task : CaseTask, optional

    Raises
    ------
    InputError
        The labels cannot be read, do not fit the volume or the task, overlap, or leave nothing to fill.
    """
    if task is not None and task.model is not None:
        return _plan_with_task(case, settings, volume, read_task(task.folder), task.model)
    examples = None if task is None else read_task(task.folder)
    if case.support is None:
        assert examples is not None
        return _plan_from_examples(case, settings, volume, examples)
    label_map, notes = _read_labels(case, case.support, settings, volume)
    (run,) = plan(_request(case, settings, volume, [label_map]))
    notes += ignored_label_notes([label_map], run.support)
    if examples is None:
        return CasePlan(label_map=label_map, run=run, notes=notes)
    values = values_by_name(examples, label_map.segments, run.support.labels)
    matched = examples_of(examples, volume.geometry, run.support.axis, values)
    return CasePlan(label_map=label_map, run=run, examples=matched, notes=notes)


def _plan_with_task(case: Case, settings: BatchSettings, volume: Volume, task: Task, model: Path) -> CasePlan:
    layers: list[LabelMap] = []
    notes: list[Message] = []
    if case.support is not None:
        label_map, notes = _read_labels(case, case.support, settings, volume)
        layers = [label_map]
    request = _request(case, settings, volume, layers)
    planned = plan_with_task(request, task, required_model(task, model.name))
    notes += ignored_label_notes([planned.label_map], planned.run.support)
    return CasePlan(label_map=planned.label_map, run=planned.run, notes=notes, by_task=planned)


def _plan_from_examples(case: Case, settings: BatchSettings, volume: Volume, task: Task) -> CasePlan:
    """Plan for a volume without labelled slices, over all slices or a range."""
    geometry = volume.geometry
    axis = resolve_axis(case.axis, geometry) or axis_of_plane(task, geometry)
    label_map = LabelMap.empty(geometry, task.segments)
    layer = LabelledLayer(0, empty_support(task, geometry, axis), names_by_value(task.segments))
    (run,) = planned_runs([layer], volume, settings.slices, _engine_settings(case, settings))
    return CasePlan(label_map=label_map, run=run, examples=examples_of(task, geometry, axis))


def _read_labels(case: Case, path: Path, settings: BatchSettings, volume: Volume) -> tuple[LabelMap, list[Message]]:
    """The labels of a file as one label map on the volume's grid, and notes on what was changed."""
    regridded = read_on_grid(path, volume.geometry, settings.agreed)
    return _merged(named_from(regridded.layers, case.labels), path), label_notes(regridded, path, case.image)


def _merged(layers: Sequence[LabelMap], path: Path) -> LabelMap:
    """Merge the layers of a file into one label map."""
    if len(layers) == 1:
        return layers[0]
    try:
        return merge_layers(layers, "label.nii.gz")
    except InputError:
        raise InputError("case_overlaps", path=path) from None


def _request(case: Case, settings: BatchSettings, volume: Volume, layers: Sequence[LabelMap]) -> FillRequest:
    return FillRequest(
        volume=volume,
        layers=layers,
        axis=case.axis,
        labelled_slices=case.labelled_slices,
        slices=settings.slices,
        settings=_engine_settings(case, settings),
        complete=settings.complete,
        source=case.support or case.image,
    )


def _engine_settings(case: Case, settings: BatchSettings) -> EngineSettings:
    return EngineSettings(case.engine, dict(settings.options), settings.device, settings.budget)
