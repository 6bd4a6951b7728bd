"""What must hold for the panel after each action of a random walk: voxels, leftovers, errors and time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from fewshot_annotate.host.fill.preview import PREVIEW_ATTRIBUTE
from fewshot_annotate.host.fill.run_plan import RunPlan
from fewshot_annotate.host.fill.run_store import RunStore
from fewshot_annotate.host.mrml.reading import is_locked, read_grid

from support import slicer_standin
from support.panel import Panel
from support.run_folders import active_runs

TICK_MILLISECONDS = 20
# Processor time of the main thread for one turn of the event loop; generous, because the turn may include a commit.
MAX_TURN_SECONDS = 1.0
WAIT_SECONDS = 120.0

Arrays = dict[str, np.ndarray]


class BrokenInvariantError(AssertionError):
    """An invariant does not hold after an action."""


@dataclass
class KnownState:
    """The state of the panel before an action, with which the next one is compared.

    Attributes
    ----------
    voxels : dict
        Name of a segmentation node -> segment id -> voxels.
    at_start : dict
        Run id -> voxels of its segmentation when the run began.
    before_commit : (str, dict) or None
        Name of the segmentation and the voxels that an undo must restore, while the commit is the last step to undo.
    """

    voxels: dict[str, Arrays] = field(default_factory=dict)
    at_start: dict[str, Arrays] = field(default_factory=dict)
    before_commit: tuple[str, Arrays] | None = None


class Invariants:
    """What must hold for the panel after any action.

    Parameters
    ----------
    panel : Panel
    read_stderr : function
        Returns what was printed to stderr since the last call.
    """

    def __init__(self, panel: Panel, read_stderr: Callable[[], str]) -> None:
        self.known = KnownState()
        self.commits = 0
        self._panel = panel
        self._read_stderr = read_stderr
        self._earlier_processes = {child.split()[0] for child in _children()}
        self._seen: tuple[RunPlan, str] | None = None

    def check_around(self, step: Callable[[], list[str] | None]) -> None:
        """Take a step and check all invariants.

        Parameters
        ----------
        step : function
            Returns the names of the segmentations that the user changed, or None; all others must be unchanged.

        Raises
        ------
        BrokenInvariantError
        """
        before = {name: dict(arrays) for name, arrays in self.known.voxels.items()}
        self._seen = None
        self._record_run()
        editor = self._panel.ui.segmentEditor
        saved = editor.undo_states_saved
        edited = step()
        self._record_run()
        self.known.voxels = all_voxels()
        self._check_voxels(before, set(edited or ()), editor.undo_states_saved - saved)
        self._check_leftovers()
        self._check_errors()

    def turn(self) -> None:
        """Let the event loop turn once."""
        began = time.thread_time()
        slicer_standin.process_events(TICK_MILLISECONDS)
        self._record_run()
        spent = time.thread_time() - began
        require(spent < MAX_TURN_SECONDS, f"the event loop took {spent:.2f} s of the processor for one turn")

    def require_nothing_left(self) -> None:
        """Wait until no run is active and no process is left; fail if this takes too long."""
        end = time.monotonic() + WAIT_SECONDS
        while active_runs(RunStore()) or self._started():
            require(time.monotonic() < end, f"left behind: {active_runs(RunStore())} {self._started()}")
            self.turn()

    def _started(self) -> set[str]:
        """Processes that this walk started."""
        return {child for child in _children() if child.split()[0] not in self._earlier_processes}

    def _record_run(self) -> None:
        """Record the current run and the voxels at its start; it may begin and end within one action."""
        run = self._panel.controller.run
        if run is None:
            return
        self._seen = run.plan, run.folder.run_id
        node = slicer.mrmlScene.GetNodeByID(run.segmentation_id)
        if node is not None and node.GetName() in self.known.voxels:
            self.known.at_start.setdefault(run.folder.run_id, dict(self.known.voxels[node.GetName()]))

    def _check_voxels(self, before: dict[str, Arrays], edited: set[str], undo_states: int) -> None:
        after = self.known.voxels
        changed = [
            name
            for name in before.keys() & after.keys()
            if name not in edited and not same(before[name], after[name])
        ]
        if edited:
            self.known.before_commit = None
        if not changed:
            return
        require(len(changed) == 1, f"several segmentations changed without an edit: {changed}")
        (name,) = changed
        if self._seen is None:
            raise BrokenInvariantError(f"{name} changed though no run was active")
        plan, run_id = self._seen
        require(undo_states == 1, f"a commit saved {undo_states} undo steps")
        self._check_commit(name, before[name], after[name], plan, self.known.at_start.get(run_id, {}))
        self.known.before_commit = name, before[name]
        self.commits += 1

    def _check_commit(self, name: str, before: Arrays, after: Arrays, plan: RunPlan, at_start: Arrays) -> None:
        require(before.keys() == after.keys(), "a commit added or removed segments")
        segmentation = _node(name).GetSegmentation()
        ours = [one for one in plan.segment_ids if one in after]
        fixed = set(range(plan.axis.count(plan.geometry))) - set(plan.query_slices)
        for one in ours:
            if one in at_start:
                differs = plan.axis.slices(at_start[one] != before[one]).any(axis=(1, 2))
                fixed |= set(map(int, np.flatnonzero(differs)))
        for one, voxels in after.items():
            difference = plan.axis.slices(voxels != before[one])
            if not difference.any():
                continue
            require(not is_locked(segmentation.GetSegment(one)), f"locked segment {one} was changed")
            require(one in ours or plan.may_overwrite, f"segment {one} does not belong to the run and was changed")
            wrong = [index for index in sorted(fixed) if difference[index].any()]
            require(not wrong, f"painted slices {wrong} of {one} were changed")

    def _check_leftovers(self) -> None:
        scene = slicer.mrmlScene
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        previews = [node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)]
        active = self._panel.controller.run is not None
        require(len(previews) <= int(active), f"{len(previews)} previews")
        shown = {node.GetNthDisplayNodeID(n) for node in nodes for n in range(node.GetNumberOfDisplayNodes())}
        displays = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")}
        require(displays <= shown, f"display nodes without a segmentation: {displays - shown}")
        for kind, most in (("vtkMRMLSegmentEditorNode", 1), ("vtkMRMLScriptedModuleNode", 1)):
            require(scene.GetNumberOfNodesByClass(kind) <= most, f"more than {most} {kind}")
        if not active:
            require(
                self._eventually(lambda: not active_runs(RunStore())),
                "the folder of a run is locked though no run is active",
            )
            require(self._eventually(lambda: not self._started()), f"processes left: {self._started()}")

    def _check_errors(self) -> None:
        errors = slicer_standin.slot_errors
        require(not errors, f"a slot raised: {errors}")
        printed = self._read_stderr()
        bad = [line for line in printed.splitlines() if "ERR" in line or "Error" in line or "Traceback" in line]
        require(not bad, f"printed: {printed}")

    def _eventually(self, reached: Callable[[], bool]) -> bool:
        end = time.monotonic() + WAIT_SECONDS
        while not reached():
            if time.monotonic() > end:
                return False
            slicer_standin.process_events(TICK_MILLISECONDS)
        return True


def require(holds: bool, message: str) -> None:
    """Raise `BrokenInvariantError` unless something holds."""
    if not holds:
        raise BrokenInvariantError(message)


def _node(name: str) -> Any:
    return slicer.mrmlScene.GetFirstNodeByName(name)


def all_voxels() -> dict[str, Arrays]:
    """Voxels of the user's segmentations, by name and segment id."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return {node.GetName(): voxels_of(node) for node in nodes if not node.GetHideFromEditors()}


def voxels_of(node: Any) -> Arrays:
    """Voxels of all segments on the segmentation's own grid."""
    ids = node.GetSegmentation().GetSegmentIDs()
    grid = read_grid(node, node)
    size = grid.geometry.shape
    return {name: grid.segment_box(name, (0, 0, 0), size) for name in ids}


def same(one: Arrays, other: Arrays) -> bool:
    """Whether segments and voxels are the same."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _children() -> list[str]:
    """Children of this process, zombies among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                name, _, rest = (entry / "stat").read_text().rpartition(")")
                state, parent = rest.split()[:2]
                if int(parent) == os.getpid():
                    found.append(f"{entry.name} {name.partition('(')[2]} {state}")
    return found
