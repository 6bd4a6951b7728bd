"""RunCommit: computes the changes of a run and their surfaces, and writes them into the segmentation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..annotation.record import AxisRecord
from ..annotation.record_store import read_record
from ..mrml.grid_reader import GridReader
from ..mrml.reading import labels_version
from ..tasks import BackgroundTasks
from .active_run import ActiveRun
from .changed_layers import ChangedLayer, can_be_written
from .commit import commit_result, step_after_commit
from .edit_rules import EditRules
from .fill_result import FillResult
from .preparation import read_unchanged
from .run_editor import RunEditor
from .run_outcome import RunOutcome
from .saved_segmentation import CopiedSegmentation, ReferencedSegmentation, SavedSegmentation, all_or_nothing
from .surfaces.representation import surface_settings
from .surfaces.surface_run import ComputedCommit, compute_commit, surface_warnings


@dataclass(frozen=True)
class _ReadyCommit:
    """What the next step writes, and the segmentation before it."""

    run: ActiveRun
    found: FillResult
    layers: Sequence[ChangedLayer] | None
    surfaces: Mapping[str, Any]
    saved: SavedSegmentation


class RunCommit:
    """Commits the finished slices of a run in short steps.

    The segmentation is written in one step. The steps after that must be completed whatever the user does meanwhile,
    see `finish`.

    Parameters
    ----------
    tasks : BackgroundTasks
    grids : GridReader
    python : str
        Python executable that makes the surfaces.
    editor : function
        Returns the RunEditor whose undo history, masking and overwrite mode apply.
    committed : function
        Called with the RunOutcome once slices are committed; what it raises becomes a warning of the run.
    done : function
        Called with the run and its FillResult at the end.

    Attributes
    ----------
    seconds : float or None
        Duration of the step that wrote the last commit, during which the application was blocked.
    """

    def __init__(
        self,
        tasks: BackgroundTasks,
        grids: GridReader,
        python: str,
        *,
        editor: Callable[[], RunEditor],
        committed: Callable[[RunOutcome], object],
        done: Callable[[ActiveRun, FillResult], object],
    ) -> None:
        self.seconds: float | None = None
        self._tasks = tasks
        self._grids = grids
        self._python = python
        self._editor = editor
        self._committed = committed
        self._done = done
        self._ready: _ReadyCommit | None = None
        self._left: deque[Callable[[], object]] = deque()
        self._announced = True

    @property
    def written(self) -> bool:
        """Whether the segmentation is written, but steps are left after that."""
        return bool(self._left)

    @property
    def unannounced(self) -> bool:
        """Whether the segmentation is written, but `committed` was not called yet."""
        return self.written and not self._announced

    def finish(self) -> None:
        """Take all steps that follow the writing of the segmentation; do nothing if it is not written yet."""
        while self.written:
            self._left.popleft()()

    def poll(self, run: ActiveRun) -> None:
        """Advance by one short step.

        Raises
        ------
        InputError
            The nodes have changed so that the slices no longer fit them.
        """
        if self.written:
            self._left.popleft()()
        elif self._ready is not None and self._ready.run is run:
            ready, self._ready = self._ready, None
            self._write(ready)
        elif run.surfaces is not None:
            self._follow_surfaces(run, run.surfaces)
        elif not self._tasks.has_pending_results:
            self._compute(run)

    def _compute(self, run: ActiveRun) -> None:
        """Compute the changes in the background."""
        assert run.prepared is not None
        grid, image = read_unchanged(run.plan, run.nodes, self._grids)
        node = run.nodes.segmentation
        inputs = (run.prepared, run.folder.path, grid, image, _record(run), *self._rules(run), surface_settings(node))
        self._tasks.start(partial(compute_commit, *inputs), partial(self._computed, run))

    def _computed(self, run: ActiveRun, computed: ComputedCommit) -> None:
        """Write the changes, after a process has made the surfaces if any are shown."""
        if computed.surfaces is None:
            self._prepare(run, computed, {})
        else:
            run.start_surfaces(computed, self._python)

    def _follow_surfaces(self, run: ActiveRun, computed: ComputedCommit) -> None:
        assert run.process is not None
        assert computed.surfaces is not None
        run.process.poll()
        if run.process.running:
            return
        run.warnings += surface_warnings(run.process.ending)
        run.surfaces = None
        self._tasks.start(computed.surfaces.read, partial(self._prepare, run, computed))

    def _rules(self, run: ActiveRun) -> tuple[EditRules, tuple[object, ...]]:
        """From what a commit is computed: rules, labels, record and surfaces; with others, computed again."""
        node, record = run.nodes.segmentation, _record(run)
        rules = EditRules.from_nodes(node, self._editor().node(), run.plan.may_overwrite)
        return rules, (labels_version(node), record.accepted, record.labelled, surface_settings(node))

    def _prepare(self, run: ActiveRun, computed: ComputedCommit, surfaces: Mapping[str, Any]) -> None:
        """Save the segmentation in case of a failure, so that the next step only has to write."""
        node = run.nodes.segmentation
        layers = computed.layers if can_be_written(node) else None
        saved = CopiedSegmentation(node) if layers is None else ReferencedSegmentation(node)
        self._ready = _ReadyCommit(run, computed.found, layers, surfaces, saved)

    def _write(self, ready: _ReadyCommit) -> None:
        """Write the changes, if they were computed from what is there now; else they are computed again."""
        run, found = ready.run, ready.found
        read_unchanged(run.plan, run.nodes, self._grids)
        if (found.rules, found.version) != self._rules(run):
            return
        began = time.monotonic()
        dice = {segment_id: expected for segment_id, (_name, expected) in run.expected.items()}
        outcome = RunOutcome.of(run.plan, run.segmentation_id, run.volume_id, found, dice)
        with all_or_nothing(ready.saved):
            if found.changes.segment_ids:
                self._editor().save_undo(run.nodes.segmentation)
            commit_result(run.plan, run.nodes, found, outcome, self._grids, ready.surfaces, ready.layers)
        self.seconds = time.monotonic() - began
        self._announced = not found.filled
        if found.filled:
            self._left.append(partial(self._announce, run, outcome))
        self._left.append(partial(self._end, run, found))

    def _announce(self, run: ActiveRun, outcome: RunOutcome) -> None:
        self._announced = True
        with step_after_commit(run.warnings):
            self._committed(outcome)

    def _end(self, run: ActiveRun, found: FillResult) -> None:
        run.warnings += (replace(found, painted=[]) if run.live else found).warnings(run.names)
        self._done(run, found)


def _record(run: ActiveRun) -> AxisRecord:
    """What is stored now of the slices along the axis of a run."""
    record = read_record(run.nodes.segmentation)
    present = record.along(run.plan.axis.index)
    if record.axis is None:  # no run was committed yet
        for index in record.present.labelled:
            present = present.with_labelled(index, True)
    return present
