"""Preparation of a run: from nodes and settings to job folders. Reading nodes is quick; the rest is for a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core.channels import with_further
from ...core.errors import InputError, Message
from ...core.job import Device
from ...core.regrid import NEGLIGIBLE_DEVIATION_VOXELS
from ...core.slice_axis import SliceAxis, require_one_axis
from ...core.volume import SAME_VOXEL_TOLERANCE, Volume
from ...jobs.labelled_layers import LabelledLayer, layers_of_segments
from ...jobs.planning import EngineSettings, jobs_of_layers, require_channels, slices_to_fill
from ...jobs.run_folder import JobFolder
from ..annotation.painted_slices import segment_digests
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import ImageSource, SegmentationGrid
from ..mrml.grid_reader import GridReader
from ..mrml.reading import is_locked, read_channel, read_image
from .run_plan import PreparedRun, RunPlan


@dataclass(frozen=True, kw_only=True)
class FillSettings:
    """Settings of a fill.

    Attributes
    ----------
    segment_ids : sequence of str
        Segments to fill.
    axis : SliceAxis
    labelled : sequence of int
        The painted slices, empty ones among them.
    slices : range or None
        None: from the first to the last painted slice.
    engine : str
        Name of the engine, or 'auto'.
    device : Device
    options : mapping of str to number, str or bool
        Options of the engine.
    budget : float or None
        Time limit of the whole run in seconds; None for no limit.
    complete : bool
        Whether a segment that is not on a painted slice is absent there.
    may_overwrite : bool
        Whether other segments may lose voxels.
    keep : frozenset of int
        Slices that are never changed and that the engine learns from, such as accepted ones, without counting as
        painted.
    live : bool
        Whether the run continues until it is applied or cancelled, and refills the slices next to those that change.
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
    live: bool = False


@dataclass(frozen=True, kw_only=True)
class PaintedInput:
    """A volume and the painted slices of a segmentation, free of nodes.

    Attributes
    ----------
    axis : SliceAxis
    names : mapping of str to str
        Segments: segment id -> name.
    labelled : tuple of int, ascending
        Slices that the engine learns from.
    keep : tuple of int
        Those of them on which all segments are annotated, even if `complete` is false.
    complete : bool
        Whether a segment that is not on a labelled slice is absent there.
    grid : SegmentationGrid
        Copy of the labels of the segments, so that painting from now on is not part of the run.
    image : ImageSource
    segmentation_name, volume_name : str
        Names of the nodes, for messages.
    further : tuple of (str, Volume)
        Names of the further volumes and their voxels, on grids of their own in the segmentation's coordinates.
    """

    axis: SliceAxis
    names: Mapping[str, str]
    labelled: tuple[int, ...]
    keep: tuple[int, ...] = ()
    complete: bool
    grid: SegmentationGrid
    image: ImageSource
    segmentation_name: str
    volume_name: str
    further: tuple[tuple[str, Volume], ...] = ()

    def volume(self) -> Volume:
        """The volume on the grid of the labels and further ones, all voxels checked. For a background thread.

        Raises
        ------
        InputError
            It cannot be used.
        """
        volume = Volume(self.image.on_grid(self.grid.geometry.shape), self.grid.geometry)
        volume.require_usable(f"Volume '{self.volume_name}'")
        names = [f"Volume '{name}'" for name, _ in self.further]
        for name, (_, channel) in zip(names, self.further, strict=True):
            channel.require_usable(name)
        return with_further(volume, [channel for _, channel in self.further], names)

    def layers(self) -> list[tuple[list[str], LabelledLayer]]:
        """Ids of the segments and labelled slices of each layer. For a background thread.

        Raises
        ------
        InputError
            No segment is painted on the labelled slices, or slices of two axes are painted.
        """
        masks = {index: self.grid.segment_slices(tuple(self.names), self.axis, index) for index in self.labelled}
        layers = layers_of_segments(
            self.axis,
            masks,
            self.names,
            complete=self.complete,
            annotated=self.keep,
            source=Message("segmentation_named", name=self.segmentation_name),
        )
        self._require_one_axis()
        return layers

    def _require_one_axis(self) -> None:
        """Refuse slices painted across the axis; unknown with slices to keep, as then every slice holds labels."""
        if self.keep:
            return
        painted = np.zeros(self.grid.geometry.shape, dtype=bool)
        for index, painted_slice in enumerate(painted):
            painted_slice[:] = self.grid.union_slice(tuple(self.names), SliceAxis(0), index)
        along = self.axis.slices(painted)
        if np.count_nonzero(along[list(self.labelled)]) == np.count_nonzero(along):
            require_one_axis(painted, self.axis, "The painted slices")


@dataclass(frozen=True)
class RunInput:
    """Input of a run, free of nodes."""

    plan: RunPlan
    painted: PaintedInput


def read_input(nodes: ChosenNodes, settings: FillSettings, grids: GridReader) -> RunInput:
    """Read the nodes and check what can be checked at once. Copies labels, touches no other voxels.

    Raises
    ------
    InputError
        The input cannot be used.
    """
    engine_settings = EngineSettings(settings.engine, settings.options, settings.device, settings.budget)
    engine = engine_settings.require_runnable()
    volume_node, segmentation_node = nodes.volume, nodes.segmentation
    name = segmentation_node.GetName()
    segmentation = segmentation_node.GetSegmentation()
    segments = {segment_id: segmentation.GetSegment(segment_id) for segment_id in settings.segment_ids}
    unlocked = tuple(key for key, segment in segments.items() if segment is not None and not is_locked(segment))
    grid = grids.read(nodes)
    image = read_image(volume_node, segmentation_node, grid.geometry)
    require_channels(engine.name, nodes.further)
    slices, labelled = _slices(settings, grid, name)
    (job,) = jobs_of_layers(engine_settings, slices, [{}])
    plan = RunPlan(
        axis=settings.axis,
        names={key: segments[key].GetName() for key in unlocked},
        labelled=labelled,
        painted=tuple(sorted(settings.labelled)),
        keep=tuple(sorted(settings.keep)),
        job=job,
        may_overwrite=settings.may_overwrite,
        geometry=grid.geometry,
        first=grid.first,
        grid_to_array=image.matrix,
        sample=image.sample(),
        live=settings.live,
    )
    painted = PaintedInput(
        axis=plan.axis,
        names=plan.names,
        labelled=plan.labelled,
        keep=plan.keep,
        complete=settings.complete,
        grid=grid.snapshot(unlocked),
        image=image,
        segmentation_name=name,
        volume_name=volume_node.GetName(),
        further=read_channels(nodes),
    )
    return RunInput(plan, painted)


def read_channels(nodes: ChosenNodes) -> tuple[tuple[str, Volume], ...]:
    """Names and voxels of the further volumes.

    Raises
    ------
    InputError
        One of them cannot be used.
    """
    return tuple((node.GetName(), read_channel(node, nodes.segmentation)) for node in nodes.further)


def read_unchanged(plan: RunPlan, nodes: ChosenNodes, grids: GridReader) -> tuple[SegmentationGrid, ImageSource]:
    """Read the nodes of a run again.

    Raises
    ------
    InputError
        They have changed since the run began.
    """
    grid = grids.read(nodes)
    image = read_image(nodes.volume, nodes.segmentation, grid.geometry)
    if grid.geometry.difference(plan.geometry, SAME_VOXEL_TOLERANCE) or grid.first != plan.first:
        raise InputError("grid_changed", name=nodes.segmentation.GetName())
    if not _same_matrix(image.matrix, plan.grid_to_array):
        raise InputError("volume_moved", name=nodes.volume.GetName())
    if image.sample() != plan.sample:
        raise InputError("volume_changed", name=nodes.volume.GetName())
    return grid, image


def prepare(run_input: RunInput, run_folder: Path) -> PreparedRun:
    """Check all voxels and write the run folder. Touches no node: for a background thread.

    Raises
    ------
    InputError
        The input cannot be used, or the folders cannot be written.
    """
    plan = run_input.plan
    layers, volume = run_input.painted.layers(), run_input.painted.volume()
    settings = EngineSettings(plan.job.engine, plan.job.options, plan.job.device, plan.job.budget)
    jobs = jobs_of_layers(settings, plan.job.slices, [layer.names for _, layer in layers])
    folders = JobFolder.create_layers(run_folder, jobs, volume, [layer.support for _, layer in layers])
    digests = segment_digests(run_input.painted.grid, plan.segment_ids, plan.axis, plan.query_slices)
    prepared = PreparedRun(plan, [ids for ids, _ in layers], folders, digests)
    prepared.save(run_folder)
    return prepared


def _same_matrix(first: tuple[float, ...] | None, second: tuple[float, ...] | None) -> bool:
    if first is None or second is None:
        return first is second
    return bool(np.allclose(first, second, rtol=0.0, atol=NEGLIGIBLE_DEVIATION_VOXELS))


def _slices(settings: FillSettings, grid: SegmentationGrid, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Slices to fill and the labelled slices, checked."""
    labelled, source = tuple(sorted({*settings.labelled, *settings.keep})), f"Segmentation '{name}'"
    if not settings.labelled:
        raise InputError("no_labelled_slice", path=source)
    slices = "between" if settings.slices is None else (settings.slices.start, settings.slices.stop)
    query = slices_to_fill(slices, labelled, settings.axis, settings.axis.count(grid.geometry), source)
    return query, labelled
