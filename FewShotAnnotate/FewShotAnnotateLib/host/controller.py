"""FillController: one run from the painted slices of a scene to the commit. No Qt; a timer calls `tick`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import slicer
from slicer.i18n import tr as _

from .. import __version__
from ..core.errors import InputError
from ..core.event import Event, Expected, Failed, Finished, Progress, SliceDone, Warned
from ..core.unforeseen import LOG_NAME, code_of, is_memory_short, keep
from ..run.folder import JobFolder
from ..run.legs import Leg, Whole, legs
from ..run.process import WorkerProcess
from .background import Background
from .commit import all_or_nothing, commit, mark_as_made
from .decide import EditRules
from .ending import Ending, work_out
from .preparation import FillSettings, prepare, read_input, read_unchanged
from .preview import Preview, PreviewSegment
from .record import PaintRecord
from .run_outcome import RunOutcome
from .run_plan import Prepared, RunPlan
from .run_store import RunFolder, RunStore, user_data_folder
from .scene import ImageSource, SegmentationGrid, labels_version
from .unfinished import RunMark, UnfinishedRun, unfinished_run

# A tick shows slices for no longer than this; the rest waits for the next tick.
TICK_SECONDS = 0.01
_GREY = (0.5, 0.5, 0.5)
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
    """One run. Nodes are held by id and looked up when needed: the user may remove them at any time.

    `replaces` is what the segmentation node said before of its run; `again` tells that the run was begun before.
    """

    plan: RunPlan
    segmentation_id: str
    volume_id: str
    folder: RunFolder
    replaces: RunMark
    again: bool
    shown_as: dict[str, PreviewSegment]
    prepared: Prepared | None = None
    preview: Preview | None = None
    to_show: deque[tuple[int, int]] = field(default_factory=deque)  # (layer, slice)
    legs: list[Leg] = field(default_factory=list)  # the first is under way, the rest ahead
    whole: Whole = field(default_factory=lambda: Whole(1))
    stopping: bool = False


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
    store : RunStore or None
        Where runs lie while they are not finished; None: in the user's data folder.

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
        store: RunStore | None = None,
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
        self._store = store or RunStore()
        self._run: _Run | None = None
        self._process: WorkerProcess | None = None
        self._preparing: Future[Prepared] | None = None
        self._deciding: Future[Ending] | None = None
        self._background = Background("FewShotAnnotate")
        closing = slicer.vtkMRMLScene.StartCloseEvent
        self._scene_observation = scene.AddObserver(closing, lambda caller, event: self.leave())

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
        folder = self._store.create()
        self._begin(segmentation_node, volume_node, given.plan, folder)
        self._preparing = self._background.submit(prepare, given, folder.path)
        self._background.submit(self._store.prune)
        self._change(State.PREPARING)

    def tick(self) -> None:
        """Take one bounded step. Called by a timer, some ten times a second, more often while `busy`."""
        try:
            self._step()
        except Exception as error:
            self._failed(error)

    def _step(self) -> None:
        self._background.give_turn()
        run = self._run
        if run is None or not self._nodes_there(run):
            return
        if self.state is State.PREPARING:
            self._finish_preparing(run)
        elif self.state is State.RUNNING:
            self._follow_worker(run)
        elif self.state is State.FINISHING:
            self._finish(run)

    def _failed(self, error: Exception) -> None:
        """End the run because of an error, once, whatever it is; what is finished stays in the run's folder."""
        try:
            if is_memory_short(error):
                self._give_up(InputError("host_memory"))
            elif isinstance(error, InputError):
                self._give_up(error)
            elif self._run is None or self._run.prepared is None:
                self._give_up(_unforeseen(error))
            else:
                self._stop(str(_unforeseen(error)))
        except Exception as another:  # of whoever is told of the change, or of taking the preview away
            listener, self._on_change = self._on_change, lambda: None
            with suppress(Exception):
                self.leave()
            self._on_change = listener
            self._run, self._process, self.state = None, None, State.IDLE
            self.error = _unforeseen(another)
            self.message = str(self.error)

    def cancel(self, keep: bool) -> None:
        """Stop the run. The finished slices are committed if `keep`, else the segmentation stays as it was."""
        run = self._run
        if run is None:
            return
        if self.state is State.PREPARING and keep and run.again:
            run.stopping = True
            self._on_change()
        elif not keep or self.state is State.PREPARING:
            self.discard()
            self.message = _("Cancelled; nothing was changed.")
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
        """End whatever is going on at once and forget it: cancelled or done."""
        run = self._run
        if run is not None:
            self._mark(run, run.replaces)
        self._end(RunFolder.delete)

    def leave(self) -> None:
        """End the run at once, but leave what is finished in its folder, so that the run can be continued."""
        run = self._run
        if run is not None and run.prepared is None and not run.again:
            self.discard()
        else:
            self._end(RunFolder.leave)

    def close(self) -> None:
        """Release everything; the controller cannot be used afterwards. A run is left."""
        self._on_change = lambda: None
        self._scene.RemoveObserver(self._scene_observation)
        self.leave()
        self._background.close()

    # --- runs that were left

    def unfinished(self, segmentation_node: Any) -> UnfinishedRun | None:
        """The run on a segmentation that was left: the application crashed or the scene was closed. Takes 1 ms."""
        mark = RunMark.of_node(segmentation_node)
        return unfinished_run(self._store, mark.run_id) if mark.run_id else None

    def resume_unfinished(self, segmentation_node: Any, volume_node: Any = None) -> None:
        """Continue a left run with the slices that are not finished.

        Parameters
        ----------
        segmentation_node : vtkMRMLSegmentationNode
        volume_node : vtkMRMLScalarVolumeNode or None
            The volume, in case the one that the run was about was loaded anew.

        Raises
        ------
        InputError
            It cannot be continued; nothing was started or changed.
        """
        self._take_up(segmentation_node, volume_node, keep=False)

    def keep_unfinished(self, segmentation_node: Any, volume_node: Any = None) -> None:
        """Commit the finished slices of a left run and forget the rest. Parameters and errors as for resuming."""
        self._take_up(segmentation_node, volume_node, keep=True)

    def discard_unfinished(self, segmentation_node: Any) -> None:
        """Forget a left run and what it finished."""
        unfinished = self.unfinished(segmentation_node)
        if unfinished is not None:
            RunMark().keep(segmentation_node)
            self._background.submit(self._store.delete, unfinished.run_id)
            self._on_change()

    def _take_up(self, segmentation_node: Any, volume_node: Any, keep: bool) -> None:
        if self.state is not State.IDLE:
            raise InputError("run_active")
        mark = RunMark.of_node(segmentation_node)
        volume_node = self._scene.GetNodeByID(mark.volume_id) or volume_node
        if volume_node is None:
            raise InputError("run_volume_missing")
        folder = self._store.take(mark.run_id)
        if folder is None:
            raise InputError("run_not_left")
        try:
            plan = Prepared.open(folder.path).plan
            read_unchanged(plan, segmentation_node, volume_node)
        except InputError:
            folder.leave()
            raise
        run = self._begin(segmentation_node, volume_node, plan, folder, again=True)
        run.stopping = keep
        self._preparing = self._background.submit(Prepared.open_free, folder.path)
        self._change(State.PREPARING)

    # --- steps of a run

    def _begin(
        self, segmentation_node: Any, volume_node: Any, plan: RunPlan, folder: RunFolder, again: bool = False
    ) -> _Run:
        segmentation = segmentation_node.GetSegmentation()
        shown_as = {}
        for name, text in plan.names.items():
            segment = segmentation.GetSegment(name)  # a run begun before may know segments that are gone
            shown_as[name] = (
                PreviewSegment(text, _GREY)
                if segment is None
                else PreviewSegment(segment.GetName(), tuple(segment.GetColor()))
            )
        replaces = RunMark() if again else RunMark.of_node(segmentation_node)
        ids = segmentation_node.GetID(), volume_node.GetID()
        self._run = run = _Run(plan, *ids, folder, replaces, again, shown_as)
        self._mark(run, RunMark(folder.run_id, run.volume_id))
        self.progress, self.expected = Progress(0, len(plan.to_fill), None), {}
        self.message, self.warnings, self.error = "", [], None
        return run

    def _mark(self, run: _Run, mark: RunMark) -> None:
        node = self._scene.GetNodeByID(run.segmentation_id)
        if node is not None:
            mark.keep(node)

    def _end(self, let_go: Callable[[RunFolder], None]) -> None:
        """End the worker and the preview at once; the folder is let go of once the worker is gone."""
        run, self._run = self._run, None
        process, self._process = self._process, None
        self._preparing = self._deciding = None
        if process is not None:
            process.cancel()  # read by a worker whose launcher alone could be killed
            process.kill()
        if run is not None:
            if run.preview is not None:
                run.preview.remove()
            self._background.submit(_let_go, process, run.folder, let_go)  # after preparing: there is one thread
        self.progress, self.expected = Progress(0, 0, None), {}
        if self.state is not State.IDLE:
            self._change(State.IDLE)

    def _finish_preparing(self, run: _Run) -> None:
        if self._preparing is None or not self._preparing.done():
            return
        run.prepared = self._preparing.result()
        self._preparing = None
        prepared = run.prepared
        node = self._unchanged_input(run)[0]
        layers = [[run.shown_as[name] for name in layer] for layer in prepared.layers]
        run.preview = Preview(node, run.plan.geometry, layers)
        run.legs, run.whole = legs(run.plan.job.engine, len(layers)), Whole(len(layers))
        if run.again:
            self._take_over_finished(run, prepared)
        if run.legs and not run.stopping:
            self._start_worker(run, prepared)
        else:
            self._change(State.FINISHING)

    def _take_over_finished(self, run: _Run, prepared: Prepared) -> None:
        """Show what an earlier process finished, and go on after it."""
        run.legs = [leg for leg in run.legs if not _is_done(prepared.folders[leg.layer], leg)]
        for number, (folder, layer) in enumerate(zip(prepared.folders, prepared.layers, strict=True)):
            done = folder.finished()
            run.to_show.extend((number, index) for index in run.plan.to_fill if done[index])
            for one in folder.expected():
                name = layer[one.label - 1]
                self.expected[name] = run.shown_as[name].name, Expected(one.label, one.dice, one.low, one.high)

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
            self.warnings.append(_(event.message))

    def _show_slices(self, run: _Run, prepared: Prepared, deadline: float) -> None:
        if run.preview is None:
            return
        while run.to_show and time.monotonic() < deadline:
            layer, index = run.to_show[0]
            labels = prepared.folders[layer].result_slice(index)
            run.preview.write(layer, run.plan.axis, index, labels)
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
        assert run.prepared is not None
        node, grid, image = self._unchanged_input(run)
        rules = EditRules.of_nodes(node, self._editor_node(), run.plan.may_overwrite)
        version = labels_version(node)
        found = decision.result() if decision is not None else None
        if found is None or found.version != version or found.rules != rules:
            self._deciding = self._background.submit(work_out, run.prepared, grid, image, rules, version)
            return
        began = time.monotonic()
        self.warnings += found.warnings({name: run.shown_as[name].name for name in run.plan.segment_ids})
        with all_or_nothing(node):
            if found.changes.add or found.changes.remove:
                self._save_undo(node)
                commit(node, self._scene.GetNodeByID(run.volume_id), grid, found.changes)
                mark_as_made(node, found.changes, run.plan.job)
            if found.filled:
                labelled = sorted({*run.plan.painted, *found.painted})
                ids = [name for name in run.plan.segment_ids if name in rules.segment_ids]
                known = {index: (checksum,) for index, checksum in found.kept.items()} | found.filled
                PaintRecord.of_node(node).after_run(run.plan.axis.index, labelled, ids, known).keep(node)
        if found.filled:
            self._tell_outcome(run, found)
        self.commit_seconds = time.monotonic() - began
        progress, expected, stopping = self.progress, self.expected, run.stopping
        if run.replaces.run_id:
            self._background.submit(self._store.delete, run.replaces.run_id)
            run.replaces = RunMark()
        self.discard()
        self.progress, self.expected = progress, expected
        self.message = found.told(stopping)
        self._on_change()

    def _tell_outcome(self, run: _Run, found: Ending) -> None:
        """Tell what was committed; that it is committed holds whatever comes of it."""
        dice = {name: one for name, (_name, one) in self.expected.items()}
        try:
            self._on_outcome(RunOutcome.of(run.plan, run.segmentation_id, run.volume_id, found, dice))
        except Exception as error:
            text = _("The slices are filled, but the review does not show them ({kind}, code {number}).")
            self.warnings.append(text.format(**_unforeseen(error).data))

    def _unchanged_input(self, run: _Run) -> tuple[Any, SegmentationGrid, ImageSource]:
        """Segmentation node, its grid and the image; InputError if they no longer are what the run started from."""
        node = self._scene.GetNodeByID(run.segmentation_id)
        volume_node = self._scene.GetNodeByID(run.volume_id)
        return node, *read_unchanged(run.plan, node, volume_node)

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
        self.message = _(reason)
        self._change(State.STOPPED)

    def _give_up(self, error: InputError) -> None:
        self.leave()
        self.error, self.message = error, str(error)
        self._on_change()

    def _change(self, state: State) -> None:
        self.state = state
        self._on_change()


def _unforeseen(error: Exception) -> InputError:
    """What is said of an error that nobody foresaw, after it was written to the log."""
    log = user_data_folder() / LOG_NAME
    keep(error, log, __version__)
    return InputError("run_unforeseen", kind=type(error).__name__, number=code_of(error), log=log)


def _is_done(folder: JobFolder, leg: Leg) -> bool:
    """Whether nothing is left of a leg of a run begun before."""
    done = folder.finished()
    return all(leg.drafts_only and done[index] for index in folder.pending())


def _let_go(process: WorkerProcess | None, folder: RunFolder, let_go: Callable[[RunFolder], None]) -> None:
    """Delete or leave a run's folder once the worker has let go of it."""
    if process is not None:
        process.wait(_WAIT_SECONDS)
    let_go(folder)
