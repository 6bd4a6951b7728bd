"""Planning of runs: from labelled slices and settings to the support and the job of each layer.

Panel, command line, Python API, `batch`, `compare` and `suggest` use these functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.job import Device, Job, is_time_limit
from ..core.slice_axis import AxisChoice, SliceAxis, slice_indices
from ..core.support import Support
from ..core.volume import LabelMap, Volume
from ..engines.base import Engine
from ..engines.registry import engine_class, engine_names, runnable_engine
from .labelled_layers import LabelledLayer, layers_of_label_maps

# Slices to fill: 'between' the labelled ones, 'all', or (start, stop).
SliceRange = str | tuple[int, int]


@dataclass(frozen=True)
class EngineSettings:
    """An engine with its settings.

    Attributes
    ----------
    engine : str
        Name of the engine, or 'auto' for the most accurate one that can run on this machine.
    options : mapping
        Options of the engine.
    device : Device
    budget : float or None
        Time limit per fill, in seconds (ignored by engines without one).
    model : Path or None
        Folder of a model of a task, for engines that use one.
    """

    engine: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: Device = Device.AUTO
    budget: float | None = None
    model: Path | None = None

    def require_runnable(self) -> type[Engine]:
        """Class of the engine.

        Raises
        ------
        InputError
            Engine, device or option are unknown, the engine cannot run here, or the time limit is invalid.
        """
        if not is_time_limit(self.budget):
            raise InputError("budget_invalid", budget=self.budget)
        engine = runnable_engine(self.engine)
        engine(self.device, self.options)
        return engine


@dataclass(frozen=True, kw_only=True)
class FillRequest:
    """Request of a fill: volume, labelled slices and settings.

    Attributes
    ----------
    volume : Volume
    layers : sequence of LabelMap
        With the labelled slices; overlapping segments are in different layers, which are filled separately.
    axis : SliceAxis, Plane or None
        None: detected from the labels.
    labelled_slices : sequence of int or None
        None: the slices that hold a label of any layer.
    slices : 'between', 'all' or (start, stop)
    settings : EngineSettings
        Its time limit is for all layers together.
    complete : bool
        Whether a label that is not on a labelled slice is absent there; otherwise it may just not be painted there.
    source : object
        Name of the labels in errors.
    """

    volume: Volume
    layers: Sequence[LabelMap]
    axis: AxisChoice | None = None
    labelled_slices: Sequence[int] | None = None
    slices: SliceRange = "between"
    settings: EngineSettings = field(default_factory=lambda: EngineSettings("auto"))
    complete: bool = True
    source: object = "The labels"

    def labelled_layers(self) -> list[LabelledLayer]:
        """Labelled slices of the layers that hold labels on them.

        Raises
        ------
        InputError
            There is no labelled slice, slices of two axes are painted, or a slice does not exist.
        """
        return layers_of_label_maps(
            self.layers, self.axis, self.labelled_slices, complete=self.complete, source=self.source
        )


@dataclass(frozen=True)
class PlannedRun:
    """A planned run of one layer.

    Attributes
    ----------
    layer : int
        Position of the layer in the request.
    job : Job
    support : Support
    """

    layer: int
    job: Job
    support: Support


def plan(request: FillRequest) -> list[PlannedRun]:
    """One run for each layer that holds labels, with the same axis, labelled slices and time limit.

    Raises
    ------
    InputError
        There are too few labelled slices, slices of two axes are painted, the engine, an option or the time limit is
        invalid, or there is no slice to fill.
    """
    request.settings.require_runnable()
    return planned_runs(request.labelled_layers(), request.volume, request.slices, request.settings, request.source)


def planned_runs(
    layers: Sequence[LabelledLayer],
    volume: Volume,
    slices: SliceRange,
    settings: EngineSettings,
    source: object = "The labels",
) -> list[PlannedRun]:
    """One run for each layer, with equal time limits.

    Raises
    ------
    InputError
        As `slices_to_fill`, or the engine cannot run or cannot use the further channels of the volume.
    """
    require_channels(settings.engine, volume.further)
    first = layers[0].support
    query = slices_to_fill(slices, first.indices, first.axis, first.axis.count(volume.geometry), source)
    jobs = jobs_of_layers(settings, query, [layer.names for layer in layers])
    return [PlannedRun(layer.number, job, layer.support) for layer, job in zip(layers, jobs, strict=True)]


def require_channels(engine: str, further: Sequence[object]) -> None:
    """Raise `InputError` if there are further channels and the engine uses none."""
    chosen = engine_class(engine)
    if further and not chosen.uses_channels:
        able = [name for name in engine_names() if engine_class(name).uses_channels]
        raise InputError("channels_unsupported", engine=chosen.name, known=", ".join(able))


def slices_to_fill(
    slices: SliceRange, labelled: Sequence[int], axis: SliceAxis, count: int, source: object = "The labels"
) -> tuple[int, ...]:
    """The slices of the requested range that are not labelled.

    Parameters
    ----------
    slices : 'between', 'all' or (start, stop)
        Without labelled slices, 'between' means all.
    labelled : sequence of int, ascending
    axis : SliceAxis
    count : int
        Number of slices along the axis.
    source : object
        Name of the labels in errors.

    Raises
    ------
    InputError
        A slice does not exist, the range is no range, or all requested slices are labelled.
    """
    axis.require_slices(labelled, count)
    named = slices if isinstance(slices, str) else ""
    if named == "all" or (named == "between" and not labelled):
        requested = range(count)
    elif named == "between":
        requested = range(labelled[0], labelled[-1] + 1)
    else:
        requested = _requested_range(slices)
        axis.require_slices((requested.start, requested.stop - 1), count)
    labelled_set = set(labelled)
    query = tuple(index for index in requested if index not in labelled_set)
    if not query:
        if len(labelled) == 1 and slices == "between":
            raise InputError("one_labelled_slice", path=source, index=labelled[0])
        raise InputError("nothing_to_fill", path=source, axis=axis.index)
    return query


def _requested_range(slices: Any) -> range:
    """Slices of a half-open range that is not empty."""
    pair = (slices.start, slices.stop) if isinstance(slices, range) and slices.step == 1 else slices
    indices = slice_indices(pair) if isinstance(pair, (tuple, list, np.ndarray)) else None
    if indices is None or len(indices) != 2 or indices[0] >= indices[1]:
        raise InputError("slice_range_invalid", text=slices)
    return range(*indices)


def jobs_of_layers(
    settings: EngineSettings, slices: tuple[int, ...], names: Sequence[Mapping[int, str]]
) -> list[Job]:
    """The jobs of the layers of one fill; its time limit is divided among them.

    Parameters
    ----------
    settings : EngineSettings
    slices : tuple of int, ascending
        The slices to fill.
    names : sequence of mapping of int to str
        Segment names by label value for each layer; only passed to engines that use names.

    Raises
    ------
    InputError
        The engine cannot run.
    """
    engine = runnable_engine(settings.engine)
    model = str(settings.model.absolute()) if settings.model is not None and engine.uses_model else None
    job = Job(
        engine=engine.name,
        slices=slices,
        device=settings.device,
        options=dict(settings.options),
        budget=settings.budget,
        model=model,
    )
    job = job.with_share(len(names))
    return [replace(job, names=dict(layer_names)) if engine.uses_names else job for layer_names in names]
