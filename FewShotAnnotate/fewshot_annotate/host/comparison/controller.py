"""CompareController: engines compared on the painted slices of a segmentation, in a process. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from ...core.data_folder import data_folder
from ...core.errors import InputError
from ...core.events import Cancelled, Failed, Finished, Progress
from ...core.job import Device
from ...core.slice_axis import SliceAxis
from ...core.volume import Segment, Volume
from ...engines.registry import engine_class
from ...evaluation.comparison_folder import ComparisonFolder, ComparisonProcess, ComparisonRequest
from ...evaluation.design import TrialDesign
from ...evaluation.summary import Summary, read_summary
from ...jobs.planning import EngineSettings
from ..annotation.record import AnnotationRecord
from ..annotation.record_store import read_record
from ..annotation.snapshot import select
from ..annotation.survey import survey_segmentation
from ..diagnostics.unexpected_errors import as_input_error
from ..fill.preparation import PaintedInput, read_channels
from ..fill.run_store import RunFolder, RunStore, delete_in_background, delete_orphaned_runs
from ..messages import error_text
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import ImageSource, SegmentationGrid
from ..mrml.grid_reader import GridReader, grid_version
from ..mrml.node_types import Scene
from ..mrml.reading import read_image, segments_left_out
from ..tasks import BackgroundTasks, Signal
from .nodes import show_in_scene

_NO_PROGRESS = Progress(done=0, total=0, eta=None)


class CompareState(Enum):
    """What the controller is doing."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"  # see `message`


@dataclass(frozen=True)
class CompareSettings:
    """Settings of a comparison.

    Attributes
    ----------
    engines : tuple of str
        At least one.
    design : TrialDesign
        Support sizes and how often.
    complete : bool
        Whether a segment that is not on a painted slice is absent there.
    """

    engines: tuple[str, ...]
    design: TrialDesign = field(default_factory=TrialDesign)
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class _ComparisonInput:
    """Input of a comparison, free of nodes.

    Of `segments`, which are all of the segmentation, those of `left_out` are not compared. The grid holds them where
    the last run filled them, because the checksums that show which slices were corrected are of all its segments.
    """

    engines: tuple[EngineSettings, ...]
    settings: CompareSettings
    grid: SegmentationGrid  # a view of the nodes' voxels until `copied`
    image: ImageSource
    record: AnnotationRecord
    segments: Mapping[str, Segment]
    left_out: tuple[str, ...]
    segmentation_name: str
    volume_name: str
    further: tuple[tuple[str, Volume], ...]

    def copied(self) -> _ComparisonInput:
        """The input with a copy of the labels, so that the user can continue to paint. For a background thread."""
        segment_ids = {*self.segments} - {*self.left_out} | {*self.record.present.segment_ids}
        return replace(self, grid=self.grid.snapshot(segment_ids))


class CompareController:
    """Runs one comparison at a time.

    Parameters
    ----------
    scene : vtkMRMLScene
    python : str
        Program that runs the worker.
    device : function
        Gives the device on which an engine of this name is to compute.
    grids : GridReader or None
        Reads the voxels of the segmentation.

    Attributes
    ----------
    changed : Signal
        Emitted after every change of `state` or `progress`.
    progress : Progress
        In trials.
    message : str
        Why the last comparison failed, in a sentence.
    error : InputError or None
        The same where it is one of ours.
    summary : Summary or None
        What the last comparison found.
    """

    def __init__(
        self,
        scene: Scene,
        python: str,
        device: Callable[[str], Device] = lambda engine: Device.AUTO,
        grids: GridReader | None = None,
    ) -> None:
        self.state = CompareState.IDLE
        self.changed: Signal[[]] = Signal()
        self.progress = _NO_PROGRESS
        self.message = ""
        self.error: InputError | None = None
        self.summary: Summary | None = None
        self._scene = scene
        self._chart_id = ""
        self.python = python
        self._device = device
        self._held: RunFolder | None = None
        self.folder: ComparisonFolder | None = None
        self._process: ComparisonProcess | None = None
        self._grids = grids or GridReader()
        self._tasks = BackgroundTasks("Compare")

    @property
    def busy(self) -> bool:
        """Whether a comparison is under way."""
        return self.state in (CompareState.PREPARING, CompareState.RUNNING)

    @property
    def report_path(self) -> Path | None:
        """The report of the last comparison, None if there is none."""
        path = self.folder.report_path if self.folder is not None and self.summary is not None else None
        return path if path is not None and path.is_file() else None

    @property
    def chart_node(self) -> Any:
        """Plot of the last comparison; None if there is none or the user removed it."""
        return self._scene.GetNodeByID(self._chart_id) if self.summary is not None else None

    # --- what the user does

    def start(self, nodes: ChosenNodes, settings: CompareSettings) -> None:
        """Begin a comparison. Reads the nodes; copying and checking voxels is done by a background thread.

        What is painted while the labels are copied is compared, too.

        Raises
        ------
        InputError
            The input cannot be used, or a comparison is under way.
        """
        if self.busy:
            raise InputError("run_active")
        self._read(nodes, settings)  # refuses before the last result is cleared
        store = RunStore(data_folder() / "comparisons")
        held = store.create()
        self.reset()
        folder = ComparisonFolder(held.path)
        self._held, self.folder = held, folder
        self._tasks.start(partial(delete_orphaned_runs, store))
        self._tasks.start_copy(
            lambda: self._read(nodes, settings).copied,
            partial(grid_version, nodes),
            lambda copied: self._tasks.start(
                partial(prepare_comparison, copied, folder), lambda _: self._start_worker(folder)
            ),
        )
        self._change(CompareState.PREPARING)

    def write_report(self) -> None:
        """Begin to write the report of a comparison that is done; finished trials are not run again."""
        if self.state is CompareState.DONE and self.folder is not None:
            self._start_worker(self.folder)

    def poll(self) -> None:
        """Take one bounded step; the panel's timer calls it."""
        try:
            delivered, folder = self._tasks.poll(), self.folder
            if not delivered and folder is not None and self._process is not None and self._process.running:
                self._follow(folder, self._process)
        except Exception as error:
            refusal = as_input_error(error)
            self._fail(error_text(refusal), refusal)

    def cancel(self) -> None:
        """Stop; nothing is kept."""
        if self.busy:
            self.reset()
            self._change(CompareState.CANCELLED)

    def reset(self) -> None:
        """End the comparison at once and clear its result."""
        process, self._process = self._process, None
        held, self._held, self.folder = self._held, None, None
        self._tasks.cancel()
        delete_in_background(self._tasks, process, held)
        self.summary, self.error, self.message, self.progress = None, None, "", _NO_PROGRESS
        if self.state is not CompareState.IDLE:
            self._change(CompareState.IDLE)

    def close(self) -> None:
        """Release everything; the controller cannot be used afterwards."""
        self.changed.disconnect_all()
        self.reset()
        self._tasks.close()

    # --- steps

    def _read(self, nodes: ChosenNodes, settings: CompareSettings) -> _ComparisonInput:
        engines = tuple(EngineSettings(name, device=self._device(name)) for name in settings.engines)
        for engine in engines:
            engine_class(engine.engine)(engine.device, engine.options)
        segmentation = nodes.segmentation.GetSegmentation()
        grid = self._grids.read(nodes)
        image = read_image(nodes.volume, nodes.segmentation, grid.geometry)
        record, left_out, segments = read_record(nodes.segmentation), segments_left_out(nodes.segmentation), {}
        for name in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(name)
            segments[name] = Segment(value=1, name=segment.GetName(), colour=tuple(segment.GetColor()))
        return _ComparisonInput(
            engines=engines,
            settings=settings,
            grid=grid,
            image=image,
            record=record,
            segments=segments,
            left_out=left_out,
            segmentation_name=nodes.segmentation.GetName(),
            volume_name=nodes.volume.GetName(),
            further=read_channels(nodes),
        )

    def _start_worker(self, folder: ComparisonFolder) -> None:
        self._process = ComparisonProcess(folder, self.python)
        self._process.start()
        self._change(CompareState.RUNNING)

    def _follow(self, folder: ComparisonFolder, process: ComparisonProcess) -> None:
        for event in process.poll():
            if isinstance(event, Progress):
                self.progress = event
        ending = process.ending
        if isinstance(ending, Finished):
            self.summary = read_summary(folder.result_path)
            self._chart_id = show_in_scene(self._scene, self.summary).GetID()
            self._change(CompareState.DONE)
        elif isinstance(ending, Failed):
            self._fail(error_text(ending.content))
        elif isinstance(ending, Cancelled):
            self.cancel()
        else:
            self.changed.emit()

    def _fail(self, message: str, error: InputError | None = None) -> None:
        self.reset()
        self.message, self.error = message, error
        self._change(CompareState.FAILED)

    def _change(self, state: CompareState) -> None:
        self.state = state
        self.changed.emit()


def prepare_comparison(source: _ComparisonInput, folder: ComparisonFolder) -> None:
    """Find the painted slices, check all voxels and write the folder. Touches no node."""
    survey = survey_segmentation(source.grid, source.record, source.segments)
    shape = source.grid.geometry.shape
    selection = select(survey.extents, source.record, shape, source.left_out, survey.checksums)
    if selection.axis is None or not selection.labelled:
        raise InputError("no_labelled_slice", path=f"Segmentation '{source.segmentation_name}'")
    axis, labelled = SliceAxis(selection.axis), selection.labelled
    painted = PaintedInput(
        axis=axis,
        names={name: source.segments[name].name for name in selection.segment_ids},
        labelled=labelled,
        complete=source.settings.complete,
        grid=source.grid,
        image=source.image,
        segmentation_name=source.segmentation_name,
        volume_name=source.volume_name,
        further=source.further,
    )
    layers = painted.layers()
    segments = tuple(tuple(_segments_of_layer(source, ids)) for ids, _ in layers)
    request = ComparisonRequest(source.engines, source.settings.design, segments)
    folder.write(request, painted.volume(), [layer.support for _, layer in layers])


def _segments_of_layer(source: _ComparisonInput, segment_ids: Sequence[str]) -> list[Segment]:
    """Segments of a layer; label 1 + n is its n-th."""
    segments = (source.segments[name] for name in segment_ids)
    return [
        Segment(value=value, name=segment.name, colour=segment.colour)
        for value, segment in enumerate(segments, start=1)
    ]
