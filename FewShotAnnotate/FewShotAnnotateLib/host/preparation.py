"""Preparation: from what the user asked for to job folders. Reading the nodes is quick; the rest is for a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.axis import SliceAxis, require_one_axis
from ..core.errors import InputError
from ..core.job import Device, Job, is_budget
from ..core.regrid import HEADER_DIGITS
from ..core.support import Support
from ..core.volume import SAME_VOXEL_TOLERANCE, Volume
from ..engines import runnable_engine
from ..run.folder import JobFolder
from .painted import segment_digests
from .run_plan import Prepared, RunPlan
from .scene import ImageSource, SegmentationGrid, is_locked, read_grid, read_image


@dataclass(frozen=True)
class FillSettings:
    """What the user asked for.

    Attributes
    ----------
    segment_ids : sequence of str
        Segments to fill.
    labelled : sequence of int
        The painted slices, empty ones among them.
    slices : range or None
        None: from the first to the last painted slice.
    budget : float or None
        Seconds for the whole run, None for as long as it takes.
    complete : bool
        Whether a segment that is not on a painted slice is absent there.
    may_overwrite : bool
        Whether other segments may lose voxels.
    keep : frozenset of int
        Slices that are never changed and that the engine learns from, such as accepted ones, without counting as
        painted.
    """

    segment_ids: Sequence[str]
    axis: SliceAxis
    labelled: Sequence[int]
    slices: range | None = None
    engine: str = "auto"
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    complete: bool = True
    may_overwrite: bool = False
    keep: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RunInput:
    """What a run starts from, free of nodes.

    Attributes
    ----------
    plan : RunPlan
    complete : bool
        As in FillSettings.
    grid : SegmentationGrid
        Copy of the labels of the plan's segments, so that painting from now on is not part of the run.
    image : ImageSource
    uses_names : bool
        Whether the engine goes by the names of the segments.
    """

    plan: RunPlan
    complete: bool
    grid: SegmentationGrid
    image: ImageSource
    segmentation_name: str
    volume_name: str
    uses_names: bool = False


def read_input(volume_node: Any, segmentation_node: Any, settings: FillSettings) -> RunInput:
    """Read the nodes and check what can be checked at once. Copies labels, touches no other voxels.

    Raises
    ------
    InputError
        The input cannot be used.
    """
    if not is_budget(settings.budget):
        raise InputError("budget_invalid", budget=settings.budget)
    engine = runnable_engine(settings.engine)
    engine(settings.device, settings.options)
    name = segmentation_node.GetName()
    segmentation = segmentation_node.GetSegmentation()
    segments = {segment_id: segmentation.GetSegment(segment_id) for segment_id in settings.segment_ids}
    wanted = tuple(key for key, segment in segments.items() if segment is not None and not is_locked(segment))
    grid = read_grid(segmentation_node, volume_node)
    image = read_image(volume_node, segmentation_node, grid.geometry)
    slices, labelled = _slices(settings, grid, name)
    job = Job(engine.name, slices.start, slices.stop, settings.device, dict(settings.options), settings.budget)
    plan = RunPlan(
        settings.axis,
        {key: segments[key].GetName() for key in wanted},
        labelled,
        tuple(sorted(settings.labelled)),
        tuple(sorted(settings.keep)),
        job,
        settings.may_overwrite,
        grid.geometry,
        grid.first,
        image.matrix,
        image.sample(),
    )
    snapshot = grid.snapshot(wanted)
    return RunInput(plan, settings.complete, snapshot, image, name, volume_node.GetName(), engine.uses_names)


def read_unchanged(plan: RunPlan, node: Any, volume_node: Any) -> tuple[SegmentationGrid, ImageSource]:
    """Read the nodes of a run again.

    Raises
    ------
    InputError
        They no longer are what the run started from.
    """
    grid = read_grid(node, volume_node)
    image = read_image(volume_node, node, grid.geometry)
    if grid.geometry.difference(plan.geometry, SAME_VOXEL_TOLERANCE) or grid.first != plan.first:
        raise InputError("grid_changed", name=node.GetName())
    if not _same_matrix(image.matrix, plan.grid_to_array):
        raise InputError("grid_changed", name=node.GetName())
    if image.sample() != plan.sample:
        raise InputError("volume_changed", name=volume_node.GetName())
    return grid, image


def prepare(given: RunInput, place: Path) -> Prepared:
    """Check all voxels and write the job folders below `place`. Touches no node: for a background thread.

    Raises
    ------
    InputError
        The input cannot be used, or the folders cannot be written.
    """
    plan = given.plan
    layers = support_layers(given)
    volume = Volume(given.image.on_grid(given.grid.geometry.shape), given.grid.geometry)
    volume.require_usable(f"Volume '{given.volume_name}'")
    job = plan.job.with_share(len(layers))
    folders = [
        JobFolder.create(Prepared.layer_path(place, number), _named(job, given, layer), volume, support)
        for number, (layer, support) in enumerate(layers)
    ]
    digests = segment_digests(given.grid, plan.segment_ids, plan.axis, plan.to_fill)
    prepared = Prepared(plan, [layer for layer, _ in layers], folders, digests)
    prepared.save(place)
    return prepared


def support_layers(given: RunInput) -> list[tuple[list[str], Support]]:
    """Segments and support of each layer, checked. Touches no node: for a background thread.

    Raises
    ------
    InputError
        No segment is painted on the labelled slices, or slices of two axes are painted.
    """
    plan = given.plan
    masks = {index: given.grid.segment_slices(plan.segment_ids, plan.axis, index) for index in plan.labelled}
    present = [name for name in plan.segment_ids if any(name in found for found in masks.values())]
    if not present:
        raise InputError("no_labelled_slice", path=f"Segmentation '{given.segmentation_name}'")
    _require_one_axis(given)
    return [(layer, _support(given, layer, masks)) for layer in _separate(masks, present)]


def _named(job: Job, given: RunInput, layer: Sequence[str]) -> Job:
    """The job of one layer: label 1 + n is its n-th segment. Names go to engines that go by them, to no other."""
    names = {value: given.plan.names[name] for value, name in enumerate(layer, start=1)}
    return replace(job, names=names if given.uses_names else {})


def _same_matrix(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=0.0, atol=HEADER_DIGITS))


def _slices(settings: FillSettings, grid: SegmentationGrid, name: str) -> tuple[range, tuple[int, ...]]:
    """Range to fill and the labelled slices, checked."""
    count = settings.axis.count(grid.geometry)
    labelled = tuple(sorted({*settings.labelled, *settings.keep}))
    if not settings.labelled:
        raise InputError("no_labelled_slice", path=f"Segmentation '{name}'")
    slices = settings.slices if settings.slices is not None else range(labelled[0], labelled[-1] + 1)
    for index in (labelled[0], labelled[-1], slices.start, slices.stop - 1):
        if not 0 <= index < count:
            raise InputError("slice_out_of_range", index=index, axis=settings.axis.index, last=count - 1)
    if not set(slices) - set(labelled):
        if len(labelled) == 1 and settings.slices is None:
            raise InputError("one_labelled_slice_host", index=labelled[0])
        raise InputError("nothing_to_fill", path=f"Segmentation '{name}'", axis=settings.axis.index)
    return slices, labelled


def _require_one_axis(given: RunInput) -> None:
    """Refuse slices painted across the axis. After an earlier run every slice holds labels: nothing can be told."""
    plan = given.plan
    if plan.keep:
        return
    painted = np.zeros(given.grid.geometry.shape, dtype=bool)
    for index, part in enumerate(painted):
        part[:] = given.grid.union_slice(plan.segment_ids, SliceAxis(0), index)
    along = plan.axis.slices(painted)
    if np.count_nonzero(along[list(plan.labelled)]) == np.count_nonzero(along):
        require_one_axis(painted, plan.axis, "The painted slices")


def _separate(masks: Mapping[int, Mapping[str, np.ndarray]], segment_ids: Sequence[str]) -> list[list[str]]:
    """Segments in as few layers as keep painted segments of a layer from overlapping."""
    layers: list[tuple[list[str], dict[int, np.ndarray]]] = []
    for name in segment_ids:
        own = {index: found[name] for index, found in masks.items() if name in found}
        for names, taken in layers:
            if not any((mask & taken[index]).any() for index, mask in own.items() if index in taken):
                names.append(name)
                taken.update({index: mask | taken[index] if index in taken else mask for index, mask in own.items()})
                break
        else:
            layers.append(([name], own))
    return [names for names, _ in layers]


def _support(given: RunInput, segment_ids: Sequence[str], painted: Mapping[int, Mapping[str, np.ndarray]]) -> Support:
    """Support of one layer; label 1 + n is its n-th segment."""
    plan = given.plan
    kind = np.uint8 if len(segment_ids) <= 255 else np.uint16
    masks = np.zeros((len(plan.labelled), *given.grid.slice_shape(plan.axis)), dtype=kind)
    for labels, index in zip(masks, plan.labelled, strict=True):
        for value, name in enumerate(segment_ids, start=1):
            if name in painted[index]:
                labels[painted[index][name]] = value
    present = np.array([[name in painted[index] for name in segment_ids] for index in plan.labelled])
    whole = np.isin(plan.labelled, plan.keep)[:, None] | given.complete
    empty = np.array([[not painted[index]] for index in plan.labelled])  # of all layers
    known = present | whole | empty
    return Support(plan.axis, plan.labelled, masks, tuple(range(1, len(segment_ids) + 1)), known)
