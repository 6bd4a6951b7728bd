"""Plan of a fill by the model of a task: with painted slices, or with none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...core.errors import InputError
from ...core.slice_axis import resolve_axis, thickest_axis
from ...core.support import Support
from ...core.volume import LabelMap, names_by_value
from ...engines.registry import engine_class, engine_names
from ...jobs.labelled_layers import LabelledLayer
from ...jobs.planning import FillRequest, PlannedRun, planned_runs
from .models import TaskModel, require_model
from .segments import TaskLabels
from .task import Task

# What `auto` is: the networks of the task alone, or as a candidate beside those of the labelled slices.
_UNPAINTED_ENGINE, _PAINTED_ENGINE = "specialist", "adapt"


@dataclass(frozen=True)
class TaskPlan:
    """A run by the model of a task.

    Attributes
    ----------
    run : PlannedRun
    label_map : LabelMap
        The painted labels with the values of the task; empty if nothing is painted.
    labels : TaskLabels
    """

    run: PlannedRun
    label_map: LabelMap
    labels: TaskLabels

    def filled(self, array: np.ndarray) -> LabelMap:
        """Filled labels [k, j, i] of the task with the values of the case; painted voxels are as they were."""
        return self.labels.of_case(self.label_map.with_array(array))


def require_task_engine(engine: str, painted: bool) -> str:
    """Name of the engine that uses the model of a task; for 'auto', by whether slices are painted.

    Raises
    ------
    InputError
        The engine uses no model.
    """
    if engine == "auto":
        return _PAINTED_ENGINE if painted else _UNPAINTED_ENGINE
    chosen = engine_class(engine)
    if not chosen.uses_model or (not painted and chosen.name != _UNPAINTED_ENGINE):
        able = [name for name in engine_names() if engine_class(name).uses_model]
        engines = ", ".join(able if painted else [_UNPAINTED_ENGINE])
        raise InputError("task_engine", engine=chosen.name, known=engines)
    return chosen.name


def plan_with_task(request: FillRequest, task: Task, model: TaskModel | None = None) -> TaskPlan:
    """Plan a fill by the model of a task. With painted slices these are kept as they are.

    Parameters
    ----------
    request : FillRequest
        At most one layer; without one, or without labels, nothing is painted.
    task : Task
    model : TaskModel, optional
        Default: the newest one of the task.

    Raises
    ------
    InputError
        The task has no model of its segments; a painted segment is none of the task's; the engine uses no model; as
        `plan` for labelled slices.
    """
    model = require_model(task) if model is None else model
    painted = request.layers[0] if request.layers and request.layers[0].array.any() else None
    labels = TaskLabels(task.segments, painted, name=task.name, path=request.source)
    grid = request.volume.geometry
    label_map = LabelMap.empty(grid, task.segments) if painted is None else labels.of_task(painted)
    support = _empty_support(request, task) if painted is None else _support(request, task, label_map)
    engine_name = require_task_engine(request.settings.engine, bool(support.indices))
    engine = replace(request.settings, engine=engine_name, model=model.folder)
    names = names_by_value(label_map.segments)
    layer = LabelledLayer(0, support, names)
    (run,) = planned_runs([layer], request.volume, request.slices, engine, request.source)
    return TaskPlan(run, label_map, labels)


def _empty_support(request: FillRequest, task: Task) -> Support:
    """Support without labelled slices, but with those that are named: nothing is on them."""
    geometry = request.volume.geometry
    axis = resolve_axis(request.axis, geometry) or thickest_axis(geometry)
    labelled = tuple(sorted(set(request.labelled_slices or ())))
    axis.require_slices(labelled, axis.count(geometry))
    values = tuple(segment.value for segment in task.segments)
    _, height, width = axis.shape(geometry)
    masks = np.zeros((len(labelled), height, width), dtype=np.min_scalar_type(len(values)))
    return Support(axis, labelled, masks, values, np.ones((len(labelled), len(values)), dtype=bool))


def _support(request: FillRequest, task: Task, label_map: LabelMap) -> Support:
    """The painted slices, with all labels of the task."""
    support = Support.from_label_map(label_map, request.axis, request.labelled_slices, path=request.source)
    values = tuple(segment.value for segment in task.segments)
    every = replace(support, labels=values, annotated=np.ones((len(support.indices), len(values)), dtype=bool))
    return every if request.complete else every.partial(every.empty)
