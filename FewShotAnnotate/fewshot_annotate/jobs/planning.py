"""Planning of runs: from labelled slices and settings to the support and the job of each layer.

Panel, command line, Python API, `batch`, `compare` and `suggest` plan by these functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.job import Device, Job, is_time_limit
from ..core.layers import group_disjoint, labelled_anywhere
from ..core.slice_axis import AxisChoice, SliceAxis
from ..core.support import Support
from ..core.volume import LabelMap, Volume
from ..engines.base import Engine
from ..engines.registry import engine_class, engine_names, runnable_engine

# Which slices to fill: 'between' the labelled ones, 'all', or (start, stop).
SliceRange = str | tuple[int, int]


@dataclass(frozen=True)
class EngineSettings:
    """An engine with its settings.

    Attributes
    ----------
    engine : str
        Its name, or 'auto' where the plan may choose.
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
            No such engine, device or option, the engine cannot run here, or the time limit is none.
        """
        if not is_time_limit(self.budget):
            raise InputError("budget_invalid", budget=self.budget)
        engine = runnable_engine(self.engine)
        engine(self.device, self.options)
        return engine


@dataclass(frozen=True)
class LabelledLayer:
    """Labelled slices of one layer; overlapping segments lie in different layers.

    Attributes
    ----------
    number : int
        Position of the layer among those given.
    support : Support
        All layers have the same axis and labelled slices.
    names : mapping of int to str
        Name of the segment of each label value.
    """

    number: int
    support: Support
    names: Mapping[int, str]


@dataclass(frozen=True, kw_only=True)
class FillRequest:
    """What to fill and how.

    Attributes
    ----------
    layers : sequence of LabelMap
        With the labelled slices; overlapping segments lie in several layers, each filled on its own.
    axis : SliceAxis, Plane or None
        None: found from the labels.
    labelled_slices : sequence of int or None
        None: the slices that hold any label of any layer.
    slices : 'between', 'all' or (start, stop)
    settings : EngineSettings
        The time limit is that of all layers together.
    complete : bool
        Whether a label that is not on a labelled slice is absent there; else it may just not be painted there.
    source : object
        Names the labels in errors.
    """

    volume: Volume
    layers: Sequence[LabelMap]
    axis: AxisChoice | None = None
    labelled_slices: Sequence[int] | None = None
    slices: SliceRange = "between"
    settings: EngineSettings = field(default_factory=lambda: EngineSettings("auto"))
    complete: bool = True
    source: object = "The labels"


@dataclass(frozen=True)
class PlannedRun:
    """One layer's labels, ready to run.

    Attributes
    ----------
    layer : int
        Position of the layer in the request.
    job : Job
    support : Support
    asked : range
        The slices asked for, labelled ones among them.
    """

    layer: int
    job: Job
    support: Support
    asked: range


def plan(request: FillRequest) -> list[PlannedRun]:
    """One run for each layer that holds labels, all along the same axis and labelled slices, with equal time limits.

    Raises
    ------
    InputError
        No or one labelled slice, crossing axes, unknown engine or option, no time, nothing to fill.
    """
    request.settings.require_runnable()
    layers = layers_of_label_maps(
        request.layers,
        request.axis,
        request.labelled_slices,
        complete=request.complete,
        source=request.source,
    )
    return planned_runs(layers, request.volume, request.slices, request.settings, request.source)


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
        As `slices_to_fill`; the engine cannot run, or cannot use the further channels of the volume.
    """
    require_channels(settings.engine, volume.further)
    first = layers[0].support
    asked, query = slices_to_fill(slices, first.indices, first.axis, first.axis.count(volume.geometry), source)
    jobs = jobs_of_layers(settings, query, [layer.names for layer in layers])
    return [PlannedRun(layer.number, job, layer.support, asked) for layer, job in zip(layers, jobs, strict=True)]


def require_channels(engine: str, further: Sequence[object]) -> None:
    """Raise `InputError` if there are further channels and the engine uses none."""
    chosen = engine_class(engine)
    if further and not chosen.uses_channels:
        able = [name for name in engine_names() if engine_class(name).uses_channels]
        raise InputError("channels_unsupported", engine=chosen.name, known=", ".join(able))


def slices_to_fill(
    slices: SliceRange, labelled: Sequence[int], axis: SliceAxis, count: int, source: object = "The labels"
) -> tuple[range, tuple[int, ...]]:
    """The range of slices that is asked for, and those of it that are to be filled.

    Parameters
    ----------
    slices : 'between', 'all' or (start, stop)
        Without labelled slices 'between' is all.
    labelled : sequence of int, ascending
    axis : SliceAxis
    count : int
        Number of slices along the axis.
    source : object
        Names the labels in errors.

    Raises
    ------
    InputError
        A slice does not exist, or every slice asked for is labelled.
    """
    axis.require_slices(labelled, count)
    if slices == "all" or (slices == "between" and not labelled):
        asked = range(count)
    elif slices == "between":
        asked = range(labelled[0], labelled[-1] + 1)
    else:
        assert not isinstance(slices, str)
        asked = range(*slices)
        axis.require_slices((asked.start, asked.stop - 1), count)
    labelled_set = set(labelled)
    query = tuple(index for index in asked if index not in labelled_set)
    if not query:
        if len(labelled) == 1 and slices == "between":
            raise InputError("one_labelled_slice", path=source, index=labelled[0])
        raise InputError("nothing_to_fill", path=source, axis=axis.index)
    return asked, query


def jobs_of_layers(
    settings: EngineSettings, slices: tuple[int, ...], names: Sequence[Mapping[int, str]]
) -> list[Job]:
    """The jobs of the layers of one fill, which share its time limit.

    Parameters
    ----------
    slices : tuple of int, ascending
        The slices to fill.
    names : sequence of mapping of int to str
        For each layer the name of the segment of each label value; only engines that go by names get them.

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


def layers_of_label_maps(
    label_maps: Sequence[LabelMap],
    axis: AxisChoice | None = None,
    labelled_slices: Sequence[int] | None = None,
    *,
    complete: bool = True,
    source: object = "The labels",
) -> list[LabelledLayer]:
    """Labelled slices of the label maps that hold labels on them.

    Parameters
    ----------
    label_maps : sequence of LabelMap
        On one grid; overlapping segments lie in different ones.
    axis : SliceAxis or Plane, optional
        Detected from the labels of all label maps by default.
    labelled_slices : sequence of int, optional
        By default the slices that hold a label of any label map.
    complete : bool
        Whether a label that is not on a labelled slice is absent there; else it may just not be painted there.
    source : object
        Names the labels in errors.

    Raises
    ------
    InputError
        No labelled slice, crossing axes, a slice that does not exist.
    """
    anything = labelled_anywhere(label_maps).view(np.uint8)
    union = Support.from_label_map(LabelMap(anything, label_maps[0].geometry), axis, labelled_slices, path=source)
    labelled_layers = []
    for number, label_map in enumerate(label_maps):
        if union.axis.slices(label_map.array)[list(union.indices)].any():
            support = Support.from_label_map(label_map, union.axis, union.indices, path=source)
            names = {segment.value: segment.name for segment in label_map.segments}
            labelled_layers.append(
                LabelledLayer(number, support if complete else support.partial(union.empty), names)
            )
    return labelled_layers


def layers_of_segments(
    axis: SliceAxis,
    masks: Mapping[int, Mapping[str, np.ndarray]],
    names: Mapping[str, str],
    *,
    complete: bool = True,
    annotated: Collection[int] = (),
    source: object = "The labels",
) -> list[tuple[list[str], LabelledLayer]]:
    """Segments in as few layers as keep the segments of a layer from overlapping on the labelled slices.

    Parameters
    ----------
    axis : SliceAxis
    masks : mapping of int to mapping of str to bool ndarray [h, w]
        Labelled slice -> id of each segment that is on it -> its pixels.
    names : mapping of str to str
        Id of each segment -> its name.
    complete : bool
        As of `layers_of_label_maps`.
    annotated : collection of int
        Labelled slices on which all segments are annotated, even if `complete` is false.
    source : object
        Names the labels in errors.

    Returns
    -------
    list of (list of str, LabelledLayer)
        Ids of the segments of each layer, of which label value 1 + n is the n-th. Segments on no slice are left out.

    Raises
    ------
    InputError
        No segment is on any slice.
    """
    present = [name for name in names if any(name in by_name for by_name in masks.values())]
    if not present:
        raise InputError("no_labelled_slice", path=source)
    masks_by_label = [
        {index: by_name[name] for index, by_name in masks.items() if name in by_name} for name in present
    ]
    layers = []
    for number, members in enumerate(group_disjoint(masks_by_label)):
        support = _support_of_segments(axis, sorted(masks), [masks_by_label[member] for member in members])
        if not complete:
            is_complete = [not masks[index] or index in annotated for index in support.indices]
            support = support.partial(np.array(is_complete))
        ids = [present[member] for member in members]
        layers.append(
            (ids, LabelledLayer(number, support, {1 + n: names[segment_id] for n, segment_id in enumerate(ids)}))
        )
    return layers


def _support_of_segments(
    axis: SliceAxis, indices: Sequence[int], segments: Sequence[Mapping[int, np.ndarray]]
) -> Support:
    """Support with label value 1 + n for the n-th segment, by slice; at least one is on a slice."""
    shape = next(mask.shape for segment in segments for mask in segment.values())
    masks = np.zeros((len(indices), *shape), dtype=np.uint8 if len(segments) <= 255 else np.uint16)
    for labels, index in zip(masks, indices, strict=True):
        for value, segment in enumerate(segments, start=1):
            if index in segment:
                labels[segment[index]] = value
    labels = tuple(range(1, len(segments) + 1))
    return Support(axis, tuple(indices), masks, labels, np.ones((len(indices), len(labels)), dtype=bool))
