"""FillController: one run from the painted slices of a scene to the commit. No Qt; a timer calls `poll`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ...core.errors import InputError
from ...core.events import Event, Expected, Failed, Finished, Progress
from ..diagnostics.unexpected_errors import error_of_run
from ..i18n import tr as _
from ..messages import error_text
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid_reader import GridReader
from ..mrml.node_types import Scene
from ..tasks import BackgroundTasks, Signal
from .active_run import ActiveRun
from .commit import step_after_commit
from .fill_result import FillResult
from .live_updates import LiveUpdates
from .preparation import FillSettings, prepare, read_input, read_unchanged
from .run_commit import RunCommit
from .run_editor import RunEditor
from .run_outcome import RunOutcome
from .run_plan import PreparedRun, RunPlan
from .run_state import State
from .run_store import RunFolder, RunStore
from .unfinished_run import ReopenedRun, RunReference
from .unfinished_runs import UnfinishedRuns


class FillController:
    """Runs one fill at a time.

    Parameters
    ----------
    scene : vtkMRMLScene
    editor : RunEditor
        Its undo history, masking and overwrite mode apply; may be replaced at any time.
    python : str
        Python executable that runs the worker.
    grids : GridReader or None
        Reads the voxels of the segmentation.
    store : RunStore or None
        Storage of unfinished runs; None for the user's data folder.

    Attributes
    ----------
    changed : Signal
        Emitted after every change of `state`, `progress` or `message`.
    committed : Signal
        Emitted with the RunOutcome of a run whose slices were committed, before `changed`.
    message : str
        How the last run ended.
    warnings : list of str
    expected : dict of str to (str, Expected)
        Segment id -> its name and expected Dice, of the drafts and later of the final slices.
    error : InputError or None
        Why the last run was aborted.
    run : ActiveRun or None
        The run under way or stopped.
    commit : RunCommit
    unfinished_runs : UnfinishedRuns
        Runs of earlier sessions.
    """

    def __init__(
        self,
        scene: Scene,
        editor: RunEditor,
        python: str,
        grids: GridReader | None = None,
        store: RunStore | None = None,
    ) -> None:
        self.state = State.IDLE
        self.editor = editor
        self.changed: Signal[[]] = Signal()
        self.committed: Signal[[RunOutcome]] = Signal()
        self.progress = Progress(done=0, total=0, eta=None)
        self.message = ""
        self.warnings: list[str] = []
        self.expected: dict[str, tuple[str, Expected]] = {}
        self.error: InputError | None = None
        self._scene = scene
        self.python = python
        self._grids = grids or GridReader()
        self._store = store or RunStore()
        self.run: ActiveRun | None = None
        self._tasks = BackgroundTasks("Fill")
        self._live_updates = LiveUpdates(self._tasks, self.changed.emit, self.committed)
        self.unfinished_runs = UnfinishedRuns(
            scene, self._grids, self._store, self._tasks, resume=self._reopen, changed=self.changed.emit
        )
        self.commit = RunCommit(
            self._tasks,
            self._grids,
            python,
            editor=lambda: self.editor,
            committed=self.committed.emit,
            done=self._after_commit,
        )
        self._scene_observation = scene.AddObserver(scene.StartCloseEvent, lambda caller, event: self.suspend())

    @property
    def stopping(self) -> bool:
        """Whether the run is stopping and its finished slices will be committed."""
        return self.run is not None and self.run.stopping

    @property
    def busy(self) -> bool:
        """Whether background work is pending; it ends sooner if `poll` is called often."""
        return self._tasks.busy or self.outstanding > 0

    @property
    def live(self) -> bool:
        """Whether a live run is under way, see `FillSettings.live`."""
        return self.run is not None and self.run.live

    @property
    def outstanding(self) -> int:
        """How many slices a live run still has to fill."""
        return self.run.outstanding if self.run is not None else 0

    # --- actions of the user

    def start(self, nodes: ChosenNodes, settings: FillSettings) -> None:
        """Start a run. Reads the nodes; a background thread copies and checks the voxels.

        Raises
        ------
        InputError
            The input cannot be used; nothing was started or changed.
        """
        if self.state is not State.IDLE:
            raise InputError("run_active")
        run_input = read_input(nodes, settings, self._grids)
        folder = self._store.create()
        run = self._begin(nodes, run_input.plan, folder, live=settings.live)
        self._tasks.start(partial(prepare, run_input, folder.path), self._prepared)
        if settings.live:
            self._live_updates.begin(run, nodes, run_input.painted)
        self._tasks.start(self._store.prune)
        self._change(State.PREPARING)

    def update(self, nodes: ChosenNodes, settings: Callable[[], FillSettings]) -> None:
        """Let a live run refill the slices next to those painted since its last request; end it if it cannot."""
        run = self.run
        if run is None or not run.live or self.state is not State.RUNNING or run.stopping:
            return
        try:
            self._live_updates.require_same(nodes)
            self._live_updates.request(run, read_input(nodes, settings(), self._grids).painted)
        except InputError as error:
            self._abort(error)

    def poll(self) -> None:
        """Advance by one short step; called by a timer, about ten times a second and more often while `busy`."""
        try:
            self._step()
        except Exception as error:
            self._failed(error)

    def _step(self) -> None:
        if self.run is not None and not self.commit.written:
            self.run.require_nodes()
        if self._tasks.poll() or self.run is None:
            return
        if self.state is State.RUNNING:
            self._follow_worker(self.run)
        elif self.state is State.FINISHING:
            self.commit.poll(self.run)

    def _failed(self, error: Exception) -> None:
        """End the run because of an error of any kind; finished slices stay in its folder."""
        try:
            refusal = error_of_run(error)
            if refusal.code != "run_unexpected" or self.run is None or self.run.prepared is None:
                self._abort(refusal)
            else:
                self._stop(error_text(refusal))
        except Exception as another:  # raised by a callback or by the removal of the preview
            with suppress(Exception), self.changed.blocked():
                self.suspend()
            self.run, self.state = None, State.IDLE
            self.error = error_of_run(another)
            self.message = error_text(self.error)

    def cancel(self, keep: bool) -> None:
        """Stop the run. Finished slices are committed if `keep`; else the segmentation is not changed."""
        self.commit.finish()
        run = self.run
        if run is None:
            return
        if self.state is State.PREPARING and keep and run.resumed:
            run.stopping = True
            self.changed.emit()
        elif not keep or self.state is State.PREPARING:
            self.reset()
            self.message = _("Cancelled; nothing was changed.")
            self.changed.emit()
        elif self.state is State.STOPPED:
            run.stopping = True
            self._change(State.FINISHING)
        elif self.state is State.RUNNING and run.process is not None:
            run.stopping = True
            if not self._live_updates.has_pending_slices(run):  # else once they are filled
                run.process.cancel()
            self.changed.emit()

    def resume(self) -> None:
        """Continue a stopped run with the slices that are not finished."""
        run = self.run
        if self.state is State.STOPPED and run is not None and run.prepared is not None:
            self.message = ""
            run.stopping = False
            self._start_worker(run)

    def reset(self) -> None:
        """End the run at once and delete its folder."""
        self.commit.finish()
        self._live_updates.reset()
        if self.run is not None:
            self.run.mark(self.run.previous)
        self._end(RunFolder.delete)

    def suspend(self) -> None:
        """End the run at once; finished slices stay in its folder, so that the run can be resumed."""
        self.commit.finish()
        self._live_updates.reset()  # another scene may have nodes with the same ids
        run = self.run
        if run is not None and run.prepared is None and not run.resumed:
            self.reset()
        else:
            self._end(RunFolder.release)

    def close(self) -> None:
        """Suspend the run and end the thread; the controller cannot be used afterwards."""
        self.changed.disconnect_all()
        self._scene.RemoveObserver(self._scene_observation)
        self.suspend()
        self._tasks.close()

    # --- steps of a run

    def _reopen(self, open_run: Callable[[], ReopenedRun], keep: bool) -> None:
        """Resume an unfinished run; if `keep`, only commit the slices that are finished."""
        if self.state is not State.IDLE:
            raise InputError("run_active")
        reopened = open_run()
        run = self._begin(reopened.nodes, reopened.plan, reopened.folder, resumed=True)
        run.stopping = keep
        self._tasks.start(partial(PreparedRun.open_when_released, run.folder.path), self._prepared)
        self._change(State.PREPARING)

    def _begin(
        self, nodes: ChosenNodes, plan: RunPlan, folder: RunFolder, resumed: bool = False, live: bool = False
    ) -> ActiveRun:
        self.run = run = ActiveRun(self._scene, nodes, plan, folder, resumed, live)
        run.mark(RunReference(folder.run_id, run.volume_id))
        self.message, self.error = "", None
        self.progress, self.expected, self.warnings = run.progress, run.expected, run.warnings
        return run

    def _end(self, release: Callable[[RunFolder], None]) -> None:
        """End the worker and the preview at once; the folder is released once the worker has ended."""
        run, self.run = self.run, None
        self._tasks.cancel()
        if run is not None:
            self._tasks.start(run.end_worker(release))  # runs after preparing
            run.remove_preview()
        self.progress, self.expected = Progress(done=0, total=0, eta=None), {}
        if self.state is not State.IDLE:
            self._change(State.IDLE)

    def _prepared(self, prepared: PreparedRun) -> None:
        run = self.run
        assert run is not None
        _, image = read_unchanged(run.plan, run.nodes, self._grids)
        if run.open_preview(prepared, image):
            self._start_worker(run)
        else:
            self._change(State.FINISHING)

    def _start_worker(self, run: ActiveRun) -> None:
        run.start_worker(self.python)
        self._change(State.RUNNING)

    def _follow_worker(self, run: ActiveRun) -> None:
        assert run.process is not None
        at_work = run.follow_worker()
        self.progress = run.progress
        if run.live and run.stopping and not self._live_updates.has_pending_slices(run):
            run.process.cancel()
        if not at_work:
            self._worker_ended(run, run.process.ending)
        self.changed.emit()

    def _worker_ended(self, run: ActiveRun, ending: Event | None) -> None:
        if isinstance(ending, Failed):
            self._stop(error_text(ending.content))
        elif isinstance(ending, Finished) and run.has_more_layers and not run.stopping:
            run.start_next_layer(self.python)
            self._change(State.RUNNING)
        else:
            run.stopping = not run.live and (not isinstance(ending, Finished) or run.has_more_layers)
            self._change(State.FINISHING)

    def _after_commit(self, run: ActiveRun, found: FillResult) -> None:
        """End a run whose slices were committed, and delete the one that it replaced."""
        progress, expected = self.progress, self.expected
        with step_after_commit(self.warnings):
            if run.previous.run_id:
                self._tasks.start(partial(self._store.delete, run.previous.run_id))
                run.previous = RunReference()
            run.mark(run.previous)
            self._end(RunFolder.delete)
        self.state, self.progress, self.expected = State.IDLE, progress, expected
        self.message = found.message(run.stopping)
        with step_after_commit(self.warnings):
            self.changed.emit()

    def _stop(self, reason: str) -> None:
        """Stop the run; the user decides whether finished slices are kept."""
        if self.run is not None:
            self.run.kill_worker()
        self._tasks.cancel()
        self._live_updates.reset()  # a request may be pending
        self.message = reason
        self._change(State.STOPPED)

    def _abort(self, error: InputError) -> None:
        # A preview that cannot go on cannot be resumed either.
        (self.reset if self.live and self.state is State.RUNNING else self.suspend)()
        self.error, self.message = error, error_text(error)
        self.changed.emit()

    def _change(self, state: State) -> None:
        self.state = state
        self.changed.emit()
