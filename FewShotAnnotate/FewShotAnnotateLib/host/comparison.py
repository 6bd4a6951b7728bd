"""CompareController: engines compared on the painted slices of a segmentation, in a process. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from ..comparison.design import Wish
from ..comparison.folder import ComparisonFolder, Request
from ..comparison.process import ComparisonProcess
from ..comparison.summary import Summary, read_summary
from ..comparison.trial import Contender
from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.event import Cancelled, Failed, Finished, Progress
from ..core.job import Device, Job
from ..core.volume import Segment
from ..engines import engine_class
from .background import Background
from .comparison_nodes import show_in_scene
from .preparation import RunInput, prepare
from .record import PaintRecord, select
from .run_plan import RunPlan
from .run_store import RunFolder, RunStore, user_data_folder
from .scene import ImageSource, SegmentationGrid, is_locked, read_grid, read_image
from .survey import look

# The worker looks for a wish to stop many times a second; one that does not within this time is killed.
_STOP_SECONDS = 3.0
# A comparison copies the slices as a fill does, whose engine must be one that is always there.
_ANY_ENGINE = "propagate"
_NO_PROGRESS = Progress(0, 0, None)


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
    """What the user asked for.

    Attributes
    ----------
    engines : tuple of str
        At least one.
    wish : Wish
        Support sizes and how often.
    complete : bool
        Whether a segment that is not on a painted slice is absent there.
    """

    engines: tuple[str, ...]
    wish: Wish = field(default_factory=Wish)
    complete: bool = True


@dataclass(frozen=True)
class _Given:
    """What a comparison starts from, free of nodes."""

    contenders: tuple[Contender, ...]
    settings: CompareSettings
    grid: SegmentationGrid
    image: ImageSource
    record: PaintRecord
    segments: Mapping[str, Segment]
    segmentation_name: str
    volume_name: str


class CompareController:
    """Runs one comparison at a time.

    Parameters
    ----------
    scene : vtkMRMLScene
    python : str
        Program that runs the worker.
    device : function
        Gives the device on which an engine of this name is to compute.
    on_change : function
        Called after every change of `state` or `progress`.

    Attributes
    ----------
    progress : Progress
        In trials.
    message : str
        Why the last comparison failed, in a sentence.
    error : InputError or None
        The same where it is one of ours.
    found : Summary or None
        What the last comparison found.
    """

    def __init__(
        self,
        scene: Any,
        python: str,
        device: Callable[[str], Device] = lambda engine: Device.AUTO,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self.state = CompareState.IDLE
        self.progress = _NO_PROGRESS
        self.message = ""
        self.error: InputError | None = None
        self.found: Summary | None = None
        self.on_change = on_change
        self._scene = scene
        self._chart_id = ""
        self._python = python
        self._device = device
        self._held: RunFolder | None = None
        self._folder: ComparisonFolder | None = None
        self._process: ComparisonProcess | None = None
        self._preparing: Future[None] | None = None
        self._background = Background("FewShotAnnotateCompare")

    @property
    def busy(self) -> bool:
        """Whether a comparison is under way."""
        return self.state in (CompareState.PREPARING, CompareState.RUNNING)

    @property
    def report_path(self) -> Path | None:
        """The report of the last comparison, None if there is none."""
        path = self._folder.report_path if self._folder is not None and self.found is not None else None
        return path if path is not None and path.is_file() else None

    @property
    def chart_node(self) -> Any:
        """Plot of the last comparison; None if there is none or the user removed it."""
        return self._scene.GetNodeByID(self._chart_id) if self.found is not None else None

    # --- what the user does

    def start(self, volume_node: Any, segmentation_node: Any, settings: CompareSettings) -> None:
        """Begin a comparison. Reads the nodes; copying and checking voxels is done by a background thread.

        Raises
        ------
        InputError
            The input cannot be used, or a comparison is under way.
        """
        if self.busy:
            raise InputError("run_active")
        given = self._read(volume_node, segmentation_node, settings)
        store = RunStore(user_data_folder() / "comparisons")
        held = store.create()
        self.discard()
        self._held, self._folder = held, ComparisonFolder(held.path)
        self._background.submit(_sweep, store)
        self._preparing = self._background.submit(_prepare, given, self._folder)
        self._change(CompareState.PREPARING)

    def write_report(self) -> None:
        """Begin to write the report of a comparison that is done; finished trials are not run again."""
        if self.state is CompareState.DONE and self._folder is not None:
            self._start_worker(self._folder)

    def tick(self) -> None:
        """Take one bounded step; the panel's timer calls it."""
        self._background.give_turn()
        folder = self._folder
        if folder is None:
            return
        try:
            if self._preparing is not None and self._preparing.done():
                self._preparing.result()
                self._preparing = None
                self._start_worker(folder)
            elif self._process is not None and self._process.running:
                self._follow(folder, self._process)
        except InputError as error:
            self._fail(str(error), error)
        except MemoryError:
            self._fail("", InputError("host_memory"))

    def cancel(self) -> None:
        """Stop; nothing is kept."""
        if self.busy:
            self.discard()
            self._change(CompareState.CANCELLED)

    def discard(self) -> None:
        """End what is going on at once and forget what was found."""
        process, self._process = self._process, None
        held, self._held, self._folder = self._held, None, None
        self._preparing = None
        if held is not None:
            if process is not None:
                process.cancel()
            self._background.submit(_dispose, process, held)  # comes after preparing: there is one thread
        self.found, self.error, self.message, self.progress = None, None, "", _NO_PROGRESS
        if self.state is not CompareState.IDLE:
            self._change(CompareState.IDLE)

    def close(self) -> None:
        """Release everything; the controller cannot be used afterwards."""
        self.on_change = lambda: None
        self.discard()
        self._background.close()

    # --- steps

    def _read(self, volume_node: Any, segmentation_node: Any, settings: CompareSettings) -> _Given:
        contenders = tuple(Contender(name, device=self._device(name)) for name in settings.engines)
        for one in contenders:
            engine_class(one.engine)(one.device, one.options)
        segmentation = segmentation_node.GetSegmentation()
        grid = read_grid(segmentation_node, volume_node)
        image = read_image(volume_node, segmentation_node, grid.geometry)
        free = {name: segmentation.GetSegment(name) for name in segmentation.GetSegmentIDs()}
        segments = {
            name: Segment(1, segment.GetName(), tuple(segment.GetColor()))
            for name, segment in free.items()
            if not is_locked(segment)
        }
        record = PaintRecord.of_node(segmentation_node)
        names = segmentation_node.GetName(), volume_node.GetName()
        return _Given(contenders, settings, grid.snapshot(list(segments)), image, record, segments, *names)

    def _start_worker(self, folder: ComparisonFolder) -> None:
        self._process = ComparisonProcess(folder, self._python)
        self._process.start()
        self._change(CompareState.RUNNING)

    def _follow(self, folder: ComparisonFolder, process: ComparisonProcess) -> None:
        for event in process.poll():
            if isinstance(event, Progress):
                self.progress = event
        ending = process.ending
        if isinstance(ending, Finished):
            self.found = read_summary(folder.result_path)
            self._chart_id = show_in_scene(self._scene, self.found).GetID()
            self._change(CompareState.DONE)
        elif isinstance(ending, Failed):
            self._fail(ending.reason)
        elif isinstance(ending, Cancelled):
            self.cancel()
        else:
            self.on_change()

    def _fail(self, message: str, error: InputError | None = None) -> None:
        self.discard()
        self.message, self.error = message, error
        self._change(CompareState.FAILED)

    def _change(self, state: CompareState) -> None:
        self.state = state
        self.on_change()


def _prepare(given: _Given, folder: ComparisonFolder) -> None:
    """Find the painted slices, check all voxels and write the folder. Touches no node."""
    extents, digests = look(given.grid, given.record)
    shape = given.grid.geometry.shape
    selection = select(extents, given.record, shape, digests=digests)
    if selection.axis is None or not selection.labelled:
        raise InputError("no_labelled_slice", path=f"Segmentation '{given.segmentation_name}'")
    axis, labelled = SliceAxis(selection.axis), selection.labelled
    plan = RunPlan(
        axis=axis,
        names={name: given.segments[name].name for name in selection.segment_ids},
        labelled=labelled,
        painted=labelled,
        keep=(),
        job=Job(_ANY_ENGINE, labelled[0], labelled[-1] + 1),
        may_overwrite=False,
        geometry=given.grid.geometry,
        first=given.grid.first,
        grid_to_array=None,
        sample="",
    )
    run_input = RunInput(
        plan, given.settings.complete, given.grid, given.image, given.segmentation_name, given.volume_name
    )
    prepared = prepare(run_input, folder.path)
    layers = tuple(tuple(_valued(given, layer)) for layer in prepared.layers)
    folder.write(Request(given.contenders, given.settings.wish, layers))


def _valued(given: _Given, segment_ids: Sequence[str]) -> list[Segment]:
    """Segments of a layer; label 1 + n is its n-th."""
    found = (given.segments[name] for name in segment_ids)
    return [Segment(value, one.name, one.colour) for value, one in enumerate(found, start=1)]


def _sweep(store: RunStore) -> None:
    """Delete what an application that crashed left: copies of a patient's images."""
    for left in store.left():
        store.delete(left.run_id)


def _dispose(process: ComparisonProcess | None, held: RunFolder) -> None:
    """Delete the folder once the worker has let go of it."""
    if process is not None and not process.wait(_STOP_SECONDS):
        process.kill()
        process.wait(_STOP_SECONDS)
    held.delete()
