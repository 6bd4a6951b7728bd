"""FillController: one run from the painted slices of a scene to the commit. No Qt; a timer calls `tick`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ..core.axis import SliceAxis, require_one_axis
from ..core.errors import InputError
from ..core.event import Event, Failed, Finished, Progress, SliceDone, Warned
from ..core.job import Device, Job
from ..core.support import Support
from ..core.volume import Volume
from ..engines import runnable_engine
from ..run.folder import JobFolder
from ..run.process import WorkerProcess
from .commit import EditRules, Filled, apply, decide
from .painted import slice_digests
from .preview import Preview, PreviewSegment
from .record import PaintRecord
from .scene import ImageSource, SegmentationGrid, is_locked, read_grid, read_image

# A tick shows slices for no longer than this; the rest waits for the next tick.
TICK_SECONDS = 0.02
# Every n-th voxel of the volume is compared to find out whether it changed.
_SAMPLE = 16


class State(Enum):
    """What the controller is doing."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPED = "stopped"  # the worker died or failed; finished slices can be kept, dropped or resumed


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
    complete : bool
        Whether a segment that is not on a painted slice is absent there.
    may_overwrite : bool
        Whether other segments may lose voxels.
    """

    segment_ids: Sequence[str]
    axis: SliceAxis
    labelled: Sequence[int]
    slices: range | None = None
    engine: str = "auto"
    device: Device = Device.AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    may_overwrite: bool = False


@dataclass
class _Run:
    """One run. Nodes are held by id and looked up when needed: the user may remove them at any time."""

    settings: FillSettings
    segmentation_id: str
    volume_id: str
    grid: SegmentationGrid
    image: ImageSource
    place: Path
    layers: list[list[str]]  # segment ids of each layer of segments that do not overlap
    names: dict[str, PreviewSegment]
    preview: Preview | None = None
    folders: list[JobFolder] = field(default_factory=list)
    digests: dict[int, int] = field(default_factory=dict)
    sample: bytes = b""
    slices: list[int] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)  # (layer, slice) still to be shown
    layer: int = 0
    keep: bool = True


class FillController:
    """Runs one fill at a time.

    Parameters
    ----------
    scene : vtkMRMLScene
    save_undo : function
        `save_undo(segmentation_node)` saves its state for undo, as the Segment Editor widget does.
    editor_node : function
        Gives the vtkMRMLSegmentEditorNode whose masking and overwrite mode count, or None.
    python : str
        Program that runs the worker.
    on_change : function
        Called after every change of `state`, `progress` or `message`.
    """

    def __init__(
        self,
        scene: Any,
        save_undo: Callable[[Any], object],
        editor_node: Callable[[], Any],
        python: str,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self.state = State.IDLE
        self.progress = Progress(0, 0, None)
        self.message = ""
        self.warnings: list[str] = []
        self.error: InputError | None = None
        self.commit_seconds: float | None = None
        self._scene = scene
        self._save_undo = save_undo
        self._editor_node = editor_node
        self._python = python
        self._on_change = on_change
        self._run: _Run | None = None
        self._process: WorkerProcess | None = None
        self._preparing: Future[None] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="FewShotAnnotate")

    # --- what the user does

    def start(self, volume_node: Any, segmentation_node: Any, settings: FillSettings) -> None:
        """Begin a run. Only looks at the input here; copying and checking voxels is done by a background thread.

        Raises
        ------
        InputError
            The input cannot be used; nothing was started or changed.
        """
        if self.state in (State.PREPARING, State.RUNNING):
            raise InputError("run_active")
        self.discard()
        engine = runnable_engine(settings.engine)
        engine(settings.device, settings.options)
        segmentation = segmentation_node.GetSegmentation()
        wanted = [name for name in settings.segment_ids if segmentation.GetSegment(name)]
        wanted = [name for name in wanted if not is_locked(segmentation.GetSegment(name))]
        grid = read_grid(segmentation_node, volume_node)
        image = read_image(volume_node, segmentation_node, grid.geometry)
        slices, labelled = _slices(settings, grid, segmentation_node.GetName())
        present = [name for name in wanted if _present(grid, name, settings.axis, labelled)]
        if not present:
            raise InputError("no_labelled_slice", path=f"Segmentation '{segmentation_node.GetName()}'")
        layers = _separate(grid, present, settings.axis, labelled)
        names = {
            name: PreviewSegment(
                segmentation.GetSegment(name).GetName(), tuple(segmentation.GetSegment(name).GetColor())
            )
            for name in present
        }
        job = Job(engine.name, slices.start, slices.stop, settings.device, dict(settings.options))
        run = _Run(
            settings,
            segmentation_node.GetID(),
            volume_node.GetID(),
            grid,
            image,
            Path(tempfile.mkdtemp(prefix="FewShotAnnotate-")),
            layers,
            names,
            slices=[index for index in slices if index not in set(labelled)],
        )
        supports = [_support(grid, layer, settings, labelled) for layer in layers]
        self._run = run
        self.progress = Progress(0, len(run.slices) * len(layers), None)
        self.message, self.warnings, self.error = "", [], None
        self._preparing = self._threads.submit(_prepare, run, job, supports, volume_node.GetName())
        self._change(State.PREPARING)

    def tick(self) -> None:
        """Take one bounded step. Called by a timer, some ten times a second."""
        run = self._run
        if run is None or self.state in (State.IDLE, State.STOPPED):
            return
        if not self._nodes_there(run):
            return
        if self.state is State.PREPARING:
            self._finish_preparing(run)
            return
        assert self._process is not None
        deadline = time.monotonic() + TICK_SECONDS
        for event in self._process.poll():
            self._take(run, event)
        self._show_slices(run, deadline)
        if not self._process.running and not run.shown:
            self._layer_ended(run, self._process.ending)
        self._on_change()

    def cancel(self, keep: bool) -> None:
        """Stop the run. The finished slices are committed if `keep`, else the segmentation stays as it was."""
        if self._run is None:
            return
        self._run.keep = keep
        if self.state is State.STOPPED or (self.state is State.PREPARING and not keep):
            if keep:
                self._commit(self._run, "Stopped.")
            else:
                self.discard()
                self.message = "Cancelled; nothing was changed."
                self._on_change()
        elif self._process is not None:
            if not keep:
                self._drop_preview(self._run)
            self._process.cancel()

    def resume(self) -> None:
        """Continue a stopped run with the slices that are not finished."""
        if self.state is State.STOPPED and self._run is not None and self._run.folders:
            self.message, self.error = "", None
            self._start_worker(self._run)

    def discard(self) -> None:
        """End whatever is going on at once and forget it: scene closed, module left, or nothing to keep."""
        run, self._run = self._run, None
        if self._process is not None:
            self._process.kill()
            self._process.wait(1.0)
            self._process = None
        if run is not None:
            self._drop_preview(run)
            preparing, self._preparing = self._preparing, None
            if preparing is not None and not preparing.done():
                preparing.add_done_callback(lambda _: shutil.rmtree(run.place, ignore_errors=True))
            else:
                shutil.rmtree(run.place, ignore_errors=True)
        if self.state is not State.IDLE:
            self._change(State.IDLE)

    def close(self) -> None:
        """Release everything; the controller cannot be used afterwards."""
        self._on_change = lambda: None
        self.discard()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- steps of a run

    def _finish_preparing(self, run: _Run) -> None:
        preparing = self._preparing
        assert preparing is not None
        if not preparing.done():
            return
        self._preparing = None
        try:
            preparing.result()
        except InputError as error:
            self._give_up(error)
            return
        except MemoryError:
            self._give_up(InputError("host_memory"))
            return
        if not run.keep:
            self.discard()
            return
        node = self._scene.GetNodeByID(run.segmentation_id)
        run.preview = Preview(node, run.grid.geometry, [[run.names[name] for name in layer] for layer in run.layers])
        self._start_worker(run)

    def _start_worker(self, run: _Run) -> None:
        self._process = WorkerProcess(run.folders[run.layer], self._python)
        self._process.start()
        self._change(State.RUNNING)

    def _take(self, run: _Run, event: Event) -> None:
        if isinstance(event, Progress):
            before = len(run.slices) * run.layer
            self.progress = Progress(before + event.done, len(run.slices) * len(run.layers), event.eta)
        elif isinstance(event, SliceDone):
            run.shown.append((run.layer, event.index))
        elif isinstance(event, Warned):
            self.warnings.append(event.message)

    def _show_slices(self, run: _Run, deadline: float) -> None:
        while run.shown and time.monotonic() < deadline:
            layer, index = run.shown.pop(0)
            if run.preview is not None:
                run.preview.write(layer, run.settings.axis, index, run.folders[layer].result_slice(index))
        if run.preview is not None:
            run.preview.redraw()

    def _layer_ended(self, run: _Run, ending: Event | None) -> None:
        if not run.keep:
            self.discard()
            self.message = "Cancelled; nothing was changed."
        elif isinstance(ending, Finished) and run.layer + 1 < len(run.layers):
            run.layer += 1
            self._start_worker(run)
        elif isinstance(ending, Finished):
            self._commit(run, "")
        elif isinstance(ending, Failed):
            self.message = ending.reason
            self._change(State.STOPPED)
        else:
            self._commit(run, "Stopped.")

    def _commit(self, run: _Run, prefix: str) -> None:
        """Write finished slices into the user's segmentation, as one undo step."""
        node = self._scene.GetNodeByID(run.segmentation_id)
        volume_node = self._scene.GetNodeByID(run.volume_id)
        began = time.monotonic()
        try:
            grid = read_grid(node, volume_node)
            image = read_image(volume_node, node, grid.geometry)
            if grid.geometry.difference(run.grid.geometry) or grid.first != run.grid.first:
                raise InputError("grid_changed", name=node.GetName())
            if _sample(image) != run.sample:
                raise InputError("volume_changed", name=volume_node.GetName())
        except InputError as error:
            self._give_up(error)
            return
        filled = self._filled(run, grid)
        self._warn_of_missing(run, node)
        editor_node = self._editor_node()
        rules = (
            EditRules.of_editor(editor_node, run.settings.may_overwrite)
            if editor_node is not None
            else EditRules(node.EditAllowedEverywhere, may_overwrite=run.settings.may_overwrite)
        )
        changes = decide(node, grid, image, filled, rules)
        if changes.add or changes.remove:
            self._save_undo(node)
            apply(node, volume_node, grid, changes)
        if filled.slices:
            labelled = run.folders[0].indices
            ids = [name for layer in run.layers for name in layer]
            PaintRecord.of_node(node).after_run(run.settings.axis.index, labelled, ids).keep(node)
        self.commit_seconds = time.monotonic() - began
        self.discard()
        self.message = f"{prefix} {len(filled.slices)} slices filled.".strip()
        self._on_change()

    def _filled(self, run: _Run, grid: SegmentationGrid) -> Filled:
        """Slices finished in every layer and not painted on since the start."""
        done = np.logical_and.reduce([folder.finished() for folder in run.folders])
        candidates = [index for index in run.slices if done[index]]
        ids = [name for layer in run.layers for name in layer]
        own = run.settings.axis
        painted = [
            index
            for index in candidates
            if slice_digests(grid, ids, own, range(index, index + 1))[index] != run.digests[index]
        ]
        if painted:
            listed = ", ".join(map(str, painted[:10]))
            self.warnings.append(f"Slices painted during the run were left as they are: {listed}.")

        def read(index: int) -> np.ndarray:
            masks: list[np.ndarray] = []
            for folder, layer in zip(run.folders, run.layers, strict=True):
                labels = folder.result_slice(index)
                masks.extend(labels == value for value in range(1, len(layer) + 1))
            return np.array(masks)

        return Filled(own, ids, [index for index in candidates if index not in set(painted)], read)

    def _warn_of_missing(self, run: _Run, node: Any) -> None:
        gone = [shown.name for name, shown in run.names.items() if not node.GetSegmentation().GetSegment(name)]
        if gone:
            self.warnings.append(f"Removed during the run and not filled: {', '.join(gone)}.")

    def _nodes_there(self, run: _Run) -> bool:
        for what, identifier in (("segmentation", run.segmentation_id), ("volume", run.volume_id)):
            if self._scene.GetNodeByID(identifier) is None:
                self._give_up(InputError("node_gone", what=what))
                return False
        return True

    def _give_up(self, error: InputError) -> None:
        self.discard()
        self.error, self.message = error, str(error)
        self._on_change()

    def _drop_preview(self, run: _Run) -> None:
        if run.preview is not None:
            run.preview.remove()
            run.preview = None

    def _change(self, state: State) -> None:
        self.state = state
        self._on_change()


def _slices(settings: FillSettings, grid: SegmentationGrid, name: str) -> tuple[range, list[int]]:
    """Range to fill and the labelled slices, checked."""
    count = settings.axis.count(grid.geometry)
    labelled = sorted(set(settings.labelled))
    if not labelled:
        raise InputError("no_labelled_slice", path=f"Segmentation '{name}'")
    slices = settings.slices if settings.slices is not None else range(labelled[0], labelled[-1] + 1)
    for index in (labelled[0], labelled[-1], slices.start, slices.stop - 1):
        if not 0 <= index < count:
            raise InputError("slice_out_of_range", index=index, axis=settings.axis.index, last=count - 1)
    if not set(slices) - set(labelled):
        if len(labelled) == 1 and settings.slices is None:
            raise InputError("one_labelled_slice_host", index=labelled[0])
        raise InputError("nothing_to_fill", path=f"Segmentation '{name}'")
    return slices, labelled


def _present(grid: SegmentationGrid, segment_id: str, axis: SliceAxis, labelled: Sequence[int]) -> bool:
    return any(grid.segment_slice(segment_id, axis, index).any() for index in labelled)


def _separate(
    grid: SegmentationGrid, segment_ids: Sequence[str], axis: SliceAxis, labelled: Sequence[int]
) -> list[list[str]]:
    """Segments in as few layers as keep painted segments of a layer from overlapping."""
    layers: list[tuple[list[str], np.ndarray]] = []
    for segment_id in segment_ids:
        mask = np.stack([grid.segment_slice(segment_id, axis, index) for index in labelled])
        for ids, taken in layers:
            if not (taken & mask).any():
                ids.append(segment_id)
                taken |= mask
                break
        else:
            layers.append(([segment_id], mask))
    return [ids for ids, _ in layers]


def _support(
    grid: SegmentationGrid, segment_ids: Sequence[str], settings: FillSettings, labelled: Sequence[int]
) -> Support:
    """Support of one layer; label 1 + n is its n-th segment."""
    axis = settings.axis
    kind = np.uint8 if len(segment_ids) <= 255 else np.uint16
    masks = np.zeros((len(labelled), *grid.slice_shape(axis)), dtype=kind)
    for value, segment_id in enumerate(segment_ids, start=1):
        for number, index in enumerate(labelled):
            masks[number][grid.segment_slice(segment_id, axis, index)] = value
    labels = tuple(range(1, len(segment_ids) + 1))
    painted = np.array([[bool((mask == value).any()) for value in labels] for mask in masks])
    known = np.ones_like(painted) if settings.complete else painted | ~painted.any(axis=1, keepdims=True)
    return Support(axis, tuple(labelled), masks, labels, known)


def _sample(image: ImageSource) -> bytes:
    return image.array[::_SAMPLE, ::_SAMPLE, ::_SAMPLE].tobytes()


def _prepare(run: _Run, job: Job, supports: Sequence[Support], volume_name: str) -> None:
    """Background part of `start`: everything that touches all voxels. Touches no node."""
    ids = [name for layer in run.layers for name in layer]
    painted = np.zeros(run.grid.geometry.shape, dtype=np.uint8)
    for index in range(painted.shape[0]):
        painted[index] = run.grid.union_slice(ids, SliceAxis(0), index)
    on_named_slices = run.settings.axis.slices(painted)[list(supports[0].indices)].sum()
    if on_named_slices == painted.sum():
        require_one_axis(painted, run.settings.axis, "The painted slices")
    del painted
    volume = Volume(run.image.on_grid(run.grid.geometry.shape), run.grid.geometry)
    volume.require_usable(f"Volume '{volume_name}'")
    run.sample = _sample(run.image)
    run.digests = slice_digests(run.grid, ids, run.settings.axis, job.slices)
    for number, support in enumerate(supports):
        run.folders.append(JobFolder.create(run.place / f"layer{number}", job, volume, support))
