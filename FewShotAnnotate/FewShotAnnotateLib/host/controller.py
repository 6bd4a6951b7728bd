"""FillController: one run from the painted slices of a scene to the commit. No Qt; a timer calls `tick`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.event import Event, Expected, Failed, Finished, Progress, SliceDone, Warned
from ..core.expected import ExpectedDice
from ..run.legs import Leg, Whole, legs
from ..run.process import WorkerProcess
from .background import Background
from .commit import commit, mark_as_made
from .decide import Changes, EditRules, Filled, decide
from .painted import masks_digest, slice_digests
from .preparation import FillSettings, Prepared, RunInput, prepare, read_input
from .preview import Preview, PreviewSegment
from .record import PaintRecord
from .run_outcome import RunOutcome, confidence_of
from .scene import ImageSource, SegmentationGrid, labels_version, read_grid, read_image

# A tick shows slices for no longer than this; the rest waits for the next tick.
TICK_SECONDS = 0.01
_LISTED = 10
_WAIT_SECONDS = 5.0


class State(Enum):
    """What the controller is doing."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPED = "stopped"  # the worker died or failed; finished slices can be kept, dropped or resumed
    FINISHING = "finishing"  # what may be written is being worked out; then it is written


@dataclass
class _Run:
    """One run. Nodes are held by id and looked up when needed: the user may remove them at any time."""

    given: RunInput
    segmentation_id: str
    volume_id: str
    place: Path
    shown_as: dict[str, PreviewSegment]
    prepared: Prepared | None = None
    preview: Preview | None = None
    to_show: deque[tuple[int, int]] = field(default_factory=deque)  # (layer, slice)
    legs: list[Leg] = field(default_factory=list)  # the first is under way, the rest ahead
    whole: Whole = field(default_factory=lambda: Whole(1))
    stopping: bool = False


@dataclass(frozen=True)
class _Decision:
    """What the background thread found at the end of a run, and the labels and rules it looked at."""

    grid: SegmentationGrid
    rules: EditRules
    version: tuple[object, ...]
    changes: Changes
    filled: dict[int, tuple[int, int]]  # slice -> its checksum after and before
    kept: dict[int, int]  # slice to keep -> its checksum
    confidence: dict[int, float]
    painted: list[int]
    drafts: int


class FillController:
    """Runs one fill at a time.

    Parameters
    ----------
    scene : vtkMRMLScene
    save_undo : function
        `save_undo(segmentation_node)` saves its state for undo, as the Segment Editor widget does.
    editor_node : function
        Gives the vtkMRMLSegmentEditorNode whose masking and overwrite mode count.
    python : str
        Program that runs the worker.
    on_change : function
        Called after every change of `state`, `progress` or `message`.
    on_outcome : function
        Called with the RunOutcome of a run whose slices were committed, before `on_change`.

    Attributes
    ----------
    message : str
        How the last run ended, in a sentence.
    warnings : list of str
    expected : dict of str to (str, Expected)
        Segment id -> its name, and the Dice that the engine expects of it: of its drafts, then of its final slices.
    error : InputError or None
        Why the last run was given up.
    commit_seconds : float or None
        How long the last commit held up the application.
    """

    def __init__(
        self,
        scene: Any,
        save_undo: Callable[[Any], object],
        editor_node: Callable[[], Any],
        python: str,
        on_change: Callable[[], object] = lambda: None,
        on_outcome: Callable[[RunOutcome], object] = lambda outcome: None,
    ) -> None:
        self.state = State.IDLE
        self.progress = Progress(0, 0, None)
        self.message = ""
        self.warnings: list[str] = []
        self.expected: dict[str, tuple[str, Expected]] = {}
        self.error: InputError | None = None
        self.commit_seconds: float | None = None
        self._scene = scene
        self._save_undo = save_undo
        self._editor_node = editor_node
        self._python = python
        self._on_change = on_change
        self._on_outcome = on_outcome
        self._run: _Run | None = None
        self._process: WorkerProcess | None = None
        self._preparing: Future[Prepared] | None = None
        self._deciding: Future[_Decision] | None = None
        self._background = Background("FewShotAnnotate")

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop and keep what is finished."""
        return self._run is not None and self._run.stopping

    @property
    def busy(self) -> bool:
        """Whether background work is under way, which short ticks bring to its end sooner."""
        return self._background.busy

    # --- what the user does

    def start(self, volume_node: Any, segmentation_node: Any, settings: FillSettings) -> None:
        """Begin a run. Reads the nodes; copying and checking voxels is done by a background thread.

        Raises
        ------
        InputError
            The input cannot be used; nothing was started or changed.
        """
        if self.state is not State.IDLE:
            raise InputError("run_active")
        given = read_input(volume_node, segmentation_node, settings)
        segmentation = segmentation_node.GetSegmentation()
        segments = {name: segmentation.GetSegment(name) for name in given.segment_ids}
        shown_as = {
            name: PreviewSegment(segment.GetName(), tuple(segment.GetColor())) for name, segment in segments.items()
        }
        try:
            place = Path(tempfile.mkdtemp(prefix="FewShotAnnotate-"))
        except OSError as error:
            raise InputError("output_unwritable", path=tempfile.gettempdir(), detail=error.strerror) from None
        self._run = _Run(given, segmentation_node.GetID(), volume_node.GetID(), place, shown_as)
        self.progress, self.expected = Progress(0, len(given.to_fill), None), {}
        self.message, self.warnings, self.error = "", [], None
        self._preparing = self._background.submit(prepare, given, place)
        self._change(State.PREPARING)

    def tick(self) -> None:
        """Take one bounded step. Called by a timer, some ten times a second, more often while `busy`."""
        self._background.give_turn()
        run = self._run
        if run is None or not self._nodes_there(run):
            return
        try:
            if self.state is State.PREPARING:
                self._finish_preparing(run)
            elif self.state is State.RUNNING:
                self._follow_worker(run)
            elif self.state is State.FINISHING:
                self._finish(run)
        except InputError as error:
            self._give_up(error)
        except MemoryError:
            self._give_up(InputError("host_memory"))
        except (OSError, RuntimeError, ValueError, IndexError) as error:  # job folder unreadable, or not written
            self._stop(f"{type(error).__name__}: {error}")

    def cancel(self, keep: bool) -> None:
        """Stop the run. The finished slices are committed if `keep`, else the segmentation stays as it was."""
        run = self._run
        if run is None:
            return
        if not keep or self.state is State.PREPARING:
            self.discard()
            self.message = "Cancelled; nothing was changed."
            self._on_change()
        elif self.state is State.STOPPED:
            run.stopping = True
            self._change(State.FINISHING)
        elif self.state is State.RUNNING and self._process is not None:
            run.stopping = True
            self._process.cancel()
            self._on_change()

    def resume(self) -> None:
        """Continue a stopped run with the slices that are not finished."""
        run = self._run
        if self.state is State.STOPPED and run is not None and run.prepared is not None:
            self.message = ""
            run.stopping = False
            self._start_worker(run, run.prepared)

    def discard(self) -> None:
        """End whatever is going on at once and forget it: cancelled, scene closed, or done."""
        run, self._run = self._run, None
        process, self._process = self._process, None
        self._preparing = self._deciding = None
        if process is not None:
            process.cancel()  # read by a worker whose launcher alone could be killed
            process.kill()
        if run is not None:
            if run.preview is not None:
                run.preview.remove()
            self._background.submit(_dispose, process, run.place)  # comes after preparing: there is one thread
        self.progress, self.expected = Progress(0, 0, None), {}
        if self.state is not State.IDLE:
            self._change(State.IDLE)

    def close(self) -> None:
        """Release everything; the controller cannot be used afterwards."""
        self._on_change = lambda: None
        self.discard()
        self._background.close()

    # --- steps of a run

    def _finish_preparing(self, run: _Run) -> None:
        if self._preparing is None or not self._preparing.done():
            return
        run.prepared = self._preparing.result()
        self._preparing = None
        node, _, _ = self._unchanged_input(run)
        layers = [[run.shown_as[name] for name in layer] for layer in run.prepared.layers]
        run.preview = Preview(node, run.given.grid.geometry, layers)
        run.legs, run.whole = legs(run.given.job.engine, len(layers)), Whole(len(layers))
        self._start_worker(run, run.prepared)

    def _start_worker(self, run: _Run, prepared: Prepared) -> None:
        if self._process is not None:
            self._process.wait(_WAIT_SECONDS)  # it has ended or was killed
        leg = run.legs[0]
        self._process = WorkerProcess(prepared.folders[leg.layer], self._python, leg.drafts_only)
        self._process.start()
        self._change(State.RUNNING)

    def _follow_worker(self, run: _Run) -> None:
        assert self._process is not None and run.prepared is not None
        deadline = time.monotonic() + TICK_SECONDS
        for event in self._process.poll():
            self._take(run, run.prepared, event)
        self._show_slices(run, run.prepared, deadline)
        if not self._process.running and not run.to_show:
            self._worker_ended(run, run.prepared, self._process.ending)
        self._on_change()

    def _take(self, run: _Run, prepared: Prepared, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress = run.whole.with_part(run.legs[0], event)
        elif isinstance(event, SliceDone):
            run.to_show.append((run.legs[0].layer, event.index))
        elif isinstance(event, Expected):
            name = prepared.layers[run.legs[0].layer][event.label - 1]
            self.expected[name] = run.shown_as[name].name, event
        elif isinstance(event, Warned):
            self.warnings.append(event.message)

    def _show_slices(self, run: _Run, prepared: Prepared, deadline: float) -> None:
        if run.preview is None:
            return
        while run.to_show and time.monotonic() < deadline:
            layer, index = run.to_show[0]
            labels = prepared.folders[layer].result_slice(index)
            run.preview.write(layer, run.given.settings.axis, index, labels)
            run.to_show.popleft()
        run.preview.follow(self._scene.GetNodeByID(run.segmentation_id))
        run.preview.redraw()

    def _worker_ended(self, run: _Run, prepared: Prepared, ending: Event | None) -> None:
        if isinstance(ending, Failed):
            self._stop(ending.reason)
        elif isinstance(ending, Finished) and len(run.legs) > 1 and not run.stopping:
            del run.legs[0]
            self._start_worker(run, prepared)
        else:
            run.stopping = not isinstance(ending, Finished) or len(run.legs) > 1
            self._change(State.FINISHING)

    def _finish(self, run: _Run) -> None:
        """Have the changes worked out in the background; write them if nothing was changed meanwhile."""
        if self._deciding is not None and not self._deciding.done():
            return
        decision, self._deciding = self._deciding, None
        node, grid, image = self._unchanged_input(run)
        rules = EditRules.of_nodes(node, self._editor_node(), run.given.settings.may_overwrite)
        version = labels_version(node)
        found = decision.result() if decision is not None else None
        if found is None or found.version != version or found.rules != rules:
            self._deciding = self._background.submit(_decide, run, grid, image, rules, version)
            return
        began = time.monotonic()
        self._warn(run, found)
        if found.changes.add or found.changes.remove:
            self._save_undo(node)
            commit(node, self._scene.GetNodeByID(run.volume_id), grid, found.changes)
            mark_as_made(node, found.changes, run.given.job)
        if found.filled:
            axis = run.given.settings.axis
            labelled = sorted({*run.given.settings.labelled, *found.painted})
            ids = [name for name in run.given.segment_ids if name in rules.segment_ids]
            known = {index: (checksum,) for index, checksum in found.kept.items()} | found.filled
            PaintRecord.of_node(node).after_run(axis.index, labelled, ids, known).keep(node)
            self._on_outcome(self._outcome(run, found))
        self.commit_seconds = time.monotonic() - began
        text = f"{len(found.filled)} slices filled" + (f", {found.drafts} of them drafts." if found.drafts else ".")
        progress, expected, stopping = self.progress, self.expected, run.stopping
        self.discard()
        self.progress, self.expected = progress, expected
        self.message = f"Stopped; {text}" if stopping else text
        self._on_change()

    def _outcome(self, run: _Run, found: _Decision) -> RunOutcome:
        given = run.given
        expected = {
            name: ExpectedDice(one.label, one.dice, one.low, one.high)
            for name, (_, one) in self.expected.items()
            if name in found.rules.segment_ids
        }
        return RunOutcome(
            run.segmentation_id,
            run.volume_id,
            given.settings.axis,
            tuple(name for name in given.segment_ids if name in found.rules.segment_ids),
            given.job.engine,
            given.labelled,
            {index: after for index, (after, _) in found.filled.items()},
            found.kept,
            found.confidence,
            found.changes,
            expected,
        )

    def _warn(self, run: _Run, found: _Decision) -> None:
        if found.painted:
            listed = ", ".join(map(str, found.painted[:_LISTED])) + (" ..." if len(found.painted) > _LISTED else "")
            self.warnings.append(f"Slices painted during the run were left as they are: {listed}.")
        gone = [run.shown_as[name].name for name in run.given.segment_ids if name not in found.rules.segment_ids]
        if gone:
            self.warnings.append(f"Removed during the run and not filled: {', '.join(gone)}.")
        if found.filled and not (found.changes.add or found.changes.remove):
            self.warnings.append("Nothing was written: the mask, locks and other segments left no room.")

    def _unchanged_input(self, run: _Run) -> tuple[Any, SegmentationGrid, ImageSource]:
        """Segmentation node, its grid and the image; InputError if they no longer are what the run started from."""
        node = self._scene.GetNodeByID(run.segmentation_id)
        volume_node = self._scene.GetNodeByID(run.volume_id)
        grid = read_grid(node, volume_node)
        image = read_image(volume_node, node, grid.geometry)
        given = run.given
        if grid.geometry.difference(given.grid.geometry) or grid.first != given.grid.first:
            raise InputError("grid_changed", name=node.GetName())
        if not _same_matrix(image.grid_to_array, given.image.grid_to_array):
            raise InputError("grid_changed", name=node.GetName())
        if image.sample() != given.sample:
            raise InputError("volume_changed", name=volume_node.GetName())
        return node, grid, image

    def _nodes_there(self, run: _Run) -> bool:
        for what, identifier in (("segmentation", run.segmentation_id), ("volume", run.volume_id)):
            if self._scene.GetNodeByID(identifier) is None:
                self._give_up(InputError("node_gone", what=what))
                return False
        return True

    def _stop(self, reason: str) -> None:
        """Wait for the user's word on what is finished."""
        if self._process is not None:
            self._process.kill()
        self._deciding = None
        self.message = reason
        self._change(State.STOPPED)

    def _give_up(self, error: InputError) -> None:
        self.discard()
        self.error, self.message = error, str(error)
        self._on_change()

    def _change(self, state: State) -> None:
        self.state = state
        self._on_change()


def _decide(
    run: _Run, grid: SegmentationGrid, image: ImageSource, rules: EditRules, version: tuple[object, ...]
) -> _Decision:
    """Background part of the end: which slices are filled, which the user painted meanwhile, and what may change."""
    given, prepared = run.given, run.prepared
    assert prepared is not None
    axis = given.settings.axis
    ids = [name for name in given.segment_ids if name in rules.segment_ids]
    digests = slice_digests(grid, ids, axis, given.to_fill)
    at_start = slice_digests(given.grid, ids, axis, given.to_fill)
    painted = [index for index in given.to_fill if digests[index] != at_start[index]]
    done = np.logical_and.reduce([folder.finished() for folder in prepared.folders])
    slices = [index for index in given.to_fill if done[index] and index not in painted]

    def read(index: int) -> dict[str, np.ndarray]:
        masks = {}
        for folder, layer in zip(prepared.folders, prepared.layers, strict=True):
            labels = folder.result_slice(index)
            if labels.any():
                masks.update({name: labels == value for value, name in enumerate(layer, start=1)})
        return {name: mask for name, mask in masks.items() if mask.any()}

    changes = decide(grid, image, Filled(axis, given.segment_ids, slices, read), rules)
    shape = grid.slice_shape(axis)
    filled = {}
    for index in slices:
        after = changes.applied(grid.segment_slices(ids, axis, index), axis, index, shape)
        filled[index] = (masks_digest(after, ids), digests[index])
    drafts = np.logical_or.reduce([folder.drafts() for folder in prepared.folders])
    kept = slice_digests(grid, ids, axis, sorted(given.settings.keep))
    confidence = {index: confidence_of(prepared.folders, index) for index in slices}
    return _Decision(grid, rules, version, changes, filled, kept, confidence, painted, int(drafts[slices].sum()))


def _same_matrix(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, atol=1e-6))


def _dispose(process: WorkerProcess | None, place: Path) -> None:
    """Delete the job folders once the worker has let go of them."""
    if process is not None:
        process.wait(_WAIT_SECONDS)
    shutil.rmtree(place, ignore_errors=True)
