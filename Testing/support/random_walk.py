"""A random walk through the panel: actions of a user and of bad luck, and the promises checked after each of them.

An action is a name and a number; the number decides what the action is done to, given what is there. So a list of
actions can be repeated, and any part of a list is a walk again, which is how the shortest that fails is found.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.host.preview import PREVIEW_ATTRIBUTE
from FewShotAnnotateLib.host.run_plan import RunPlan
from FewShotAnnotateLib.host.run_store import RunStore
from FewShotAnnotateLib.host.scene import ijk_to_ras, is_locked, read_grid
from vtk.util.numpy_support import numpy_to_vtk

from support import mrml, slicer_standin
from support.panel import Panel
from support.saved_scenes import open_scene, save_scene
from support.scene_cases import Case, add_volume, painted

slicer_standin.install()

import qt  # noqa: E402

TICK_MILLISECONDS = 20
# Processor time of the main thread for one turn of the event loop; generous, for a commit may be among it.
MOST_TURN_SECONDS = 1.0
WAIT_SECONDS = 120.0
ENGINES = ("auto", "propagate")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Action:
    """Something that is done; `number` decides to what."""

    name: str
    number: int

    def __str__(self) -> str:
        return f'("{self.name}", {self.number})'


class BrokenPromise(AssertionError):
    """What was found after an action."""


@dataclass
class Known:
    """What the walk knows of the panel's last state, to compare with.

    Attributes
    ----------
    voxels : dict
        Name of a segmentation node -> segment id -> voxels.
    at_start : dict
        Run id -> voxels of its segmentation when the run began.
    before_commit : (str, dict) or None
        What an undo must bring back, and the segmentation's name, while the commit is the last step of the history.
    """

    voxels: dict[str, Arrays] = field(default_factory=dict)
    at_start: dict[str, Arrays] = field(default_factory=dict)
    before_commit: tuple[str, Arrays] | None = None


class Walk:
    """A panel on an empty scene, and what may be done to it.

    Parameters
    ----------
    panel : Panel
    case : Case
        What volumes and segmentations are made of.
    folder : Path
        For saved scenes.
    complaints : function
        Gives what was printed to stderr since the last call.
    """

    def __init__(self, panel: Panel, case: Case, folder: Path, complaints: Callable[[], str]) -> None:
        self.panel = panel
        self.case = case
        self._folder = folder
        self._complaints = complaints
        self._known = Known()
        self._count = 0
        self._saved: dict[Path, dict[str, Arrays]] = {}
        self._random = random.Random(0)
        self._seen: tuple[RunPlan, str] | None = None
        self.commits = 0
        self.do(Action("add_volume", 0))
        self.do(Action("add_segmentation", 0))

    # --- the walk

    def do(self, action: Action) -> None:
        """Do an action and check all promises.

        Raises
        ------
        BrokenPromise
        """
        self._random = random.Random(action.number)
        step = getattr(self, f"_do_{action.name}")
        before = {name: dict(arrays) for name, arrays in self._known.voxels.items()}
        self._seen = None
        self._look_at_run()
        saved = self._ui.segmentEditor.undo_states_saved
        edited = step()  # names of the segmentations that the user changed, or None: the rest must be as before
        self._look_at_run()
        self._known.voxels = _voxels()
        self._check_voxels(before, set(edited or ()), self._ui.segmentEditor.undo_states_saved - saved)
        self._check_leftovers()
        self._check_errors()

    def finish(self) -> None:
        """End the run, if there is one; no process may be left."""
        self._known.before_commit = None
        self.panel.controller.cancel(keep=False)
        end = time.monotonic() + WAIT_SECONDS
        while RunStore().live() or _children():
            _require(time.monotonic() < end, f"left behind: {RunStore().live()} {_children()}")
            self._turn()

    @property
    def _ui(self) -> Any:
        return self.panel.ui

    def _turn(self) -> None:
        began = time.thread_time()
        slicer_standin.process_events(TICK_MILLISECONDS)
        self._look_at_run()
        spent = time.thread_time() - began
        _require(spent < MOST_TURN_SECONDS, f"the event loop took {spent:.2f} s of the processor for one turn")

    def _look_at_run(self) -> None:
        """Remember the run at hand, and the voxels that it begins with: it may begin and end within one action."""
        run = self.panel.controller._run
        if run is None:
            return
        self._seen = run.plan, run.folder.run_id
        node = slicer.mrmlScene.GetNodeByID(run.segmentation_id)
        if node is not None and node.GetName() in self._known.voxels:
            self._known.at_start.setdefault(run.folder.run_id, dict(self._known.voxels[node.GetName()]))

    # --- promises

    def _check_voxels(self, before: dict[str, Arrays], edited: set[str], undo_states: int) -> None:
        after = self._known.voxels
        changed = [
            name
            for name in before.keys() & after.keys()
            if name not in edited and not _same(before[name], after[name])
        ]
        if edited:
            self._known.before_commit = None
        if not changed:
            return
        _require(len(changed) == 1, f"several segmentations changed by themselves: {changed}")
        (name,) = changed
        if self._seen is None:
            raise BrokenPromise(f"{name} changed though no run was active")
        plan, run_id = self._seen
        _require(undo_states == 1, f"a commit saved {undo_states} undo steps")
        self._check_commit(name, before[name], after[name], plan, self._known.at_start.get(run_id, {}))
        self._known.before_commit = name, before[name]
        self.commits += 1

    def _check_commit(self, name: str, before: Arrays, after: Arrays, plan: RunPlan, at_start: Arrays) -> None:
        _require(before.keys() == after.keys(), "a commit added or removed segments")
        segmentation = _node(name).GetSegmentation()
        ours = [one for one in plan.segment_ids if one in after]
        fixed = set(range(plan.axis.count(plan.geometry))) - set(plan.to_fill)
        for one in ours:
            if one in at_start:
                differs = plan.axis.slices(at_start[one] != before[one]).any(axis=(1, 2))
                fixed |= set(map(int, np.flatnonzero(differs)))
        for one, voxels in after.items():
            difference = plan.axis.slices(voxels != before[one])
            if not difference.any():
                continue
            _require(not is_locked(segmentation.GetSegment(one)), f"locked segment {one} was changed")
            _require(one in ours or plan.may_overwrite, f"segment {one} is none of the run and was changed")
            wrong = [index for index in sorted(fixed) if difference[index].any()]
            _require(not wrong, f"painted slices {wrong} of {one} were changed")

    def _check_leftovers(self) -> None:
        scene = slicer.mrmlScene
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        previews = [node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)]
        active = self.panel.controller._run is not None
        _require(len(previews) <= int(active), f"{len(previews)} previews")
        shown = {node.GetNthDisplayNodeID(n) for node in nodes for n in range(node.GetNumberOfDisplayNodes())}
        displays = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")}
        _require(displays <= shown, f"display nodes of nothing: {displays - shown}")
        for kind, most in (("vtkMRMLSegmentEditorNode", 1), ("vtkMRMLScriptedModuleNode", 1)):
            _require(scene.GetNumberOfNodesByClass(kind) <= most, f"more than {most} {kind}")
        if not active:
            _require(self._eventually(lambda: not RunStore().live()), "a run's folder is held though nothing runs")
            _require(self._eventually(lambda: not _children()), f"processes left: {_children()}")

    def _check_errors(self) -> None:
        errors = slicer_standin.slot_errors
        _require(not errors, f"a slot raised: {errors}")
        printed = self._complaints()
        bad = [line for line in printed.splitlines() if "ERR" in line or "Error" in line or "Traceback" in line]
        _require(not bad, f"printed: {printed}")

    def _eventually(self, reached: Callable[[], bool]) -> bool:
        end = time.monotonic() + WAIT_SECONDS
        while not reached():
            if time.monotonic() > end:
                return False
            slicer_standin.process_events(TICK_MILLISECONDS)
        return True

    # --- what is there to choose from

    def _pick(self, things: Sequence[Any]) -> Any:
        return self._random.choice(list(things)) if things else None

    def _segmentations(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        return [node for node in nodes if not node.GetHideFromEditors()]

    def _transforms(self) -> list[Any]:
        return list(slicer.util.getNodesByClass("vtkMRMLLinearTransformNode"))

    def _volumes(self) -> list[Any]:
        return list(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))

    def _edited(self) -> tuple[Any, str]:
        """The segmentation in the editor and one of its segments."""
        node = self._ui.segmentEditor.segmentationNode()
        name = self._pick(node.GetSegmentation().GetSegmentIDs()) if node is not None else None
        return (node, name) if name is not None else (None, "")

    def _click(self, button: Any) -> bool:
        """Press a button as far as a user can."""
        if button.isHidden() or not button.enabled:
            return False
        button.click()
        return True

    def _new_name(self, kind: str) -> str:
        self._count += 1
        return f"{kind} {self._count}"

    # --- painting

    def _do_paint(self) -> list[str]:
        return self._stroke(remove=False)

    def _do_erase(self) -> list[str]:
        return self._stroke(remove=True)

    def _stroke(self, remove: bool) -> list[str]:
        """One stroke on a slice, with Slicer's own editor logic."""
        node, name = self._edited()
        volume_node = self._pick(self._volumes())
        if node is None or volume_node is None:
            return []
        grid = read_grid(node, volume_node)
        mask = np.zeros(grid.geometry.shape, dtype=np.uint8)
        axis = self._pick((0, 0, 0, 0, 1, 2))
        index = self._random.randrange(mask.shape[axis])
        part = np.moveaxis(mask, axis, 0)[index]
        true = self.case.masks.get(name)
        if true is not None and true.shape == mask.shape and self._random.random() < 0.7:
            part[:] = np.moveaxis(true, axis, 0)[index]
        else:
            row, column = (self._random.randrange(size) for size in part.shape)
            part[row : row + 6, column : column + 6] = 1
        if not mask.any():
            return []
        image = slicer.vtkOrientedImageData()
        extent = [
            value
            for first, size in zip(grid.first, mask.shape[::-1], strict=True)
            for value in (first, first + size - 1)
        ]
        image.SetExtent(*extent)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(ijk_to_ras(grid.geometry, grid.first).reshape(-1))
        image.SetGeometryFromImageToWorldMatrix(matrix)
        image.GetPointData().SetScalars(numpy_to_vtk(mask.reshape(-1), deep=True))
        editor = self._ui.segmentEditor
        editor.setCurrentSegmentID(name)
        editor.saveStateForUndo()
        logic = editor.logic
        mode = logic.ModificationModeRemove if remove else logic.ModificationModeAdd
        logic.ModifySegmentByLabelmap(node, name, image, mode, extent, False, True)
        return [node.GetName()]

    def _do_undo(self) -> list[str]:
        node = self._ui.segmentEditor.segmentationNode()
        if node is None:
            return []
        expected, self._known.before_commit = self._known.before_commit, None
        self._ui.segmentEditor.undo()
        if expected is not None and expected[0] == node.GetName():
            _require(_same(_voxels_of(node), expected[1]), "one undo did not take back the whole commit")
        return [node.GetName()]

    def _do_redo(self) -> list[str]:
        node = self._ui.segmentEditor.segmentationNode()
        if node is None:
            return []
        self._ui.segmentEditor.redo()
        return [node.GetName()]

    # --- segments

    def _do_add_segment(self) -> list[str]:
        node, _ = self._edited()
        if node is None:
            return []
        node.GetSegmentation().AddEmptySegment("", self._new_name("added"))
        return [node.GetName()]

    def _do_delete_segment(self) -> list[str]:
        node, name = self._edited()
        if node is None or node.GetSegmentation().GetNumberOfSegments() < 2:
            return []
        self._ui.segmentEditor.saveStateForUndo()
        node.GetSegmentation().RemoveSegment(name)
        return [node.GetName()]

    def _do_rename_segment(self) -> None:
        node, name = self._edited()
        if node is not None:
            node.GetSegmentation().GetSegment(name).SetName(self._new_name("renamed é"))
            self._known.before_commit = None

    def _do_hide_segment(self) -> None:
        node, name = self._edited()
        if node is not None:
            display = node.GetDisplayNode()
            display.SetSegmentVisibility(name, not display.GetSegmentVisibility(name))

    def _do_lock_segment(self) -> None:
        self._check_item(self._ui.segmentsTable, 1)
        self._known.before_commit = None

    def _do_choose_segment(self) -> None:
        self._check_item(self._ui.segmentsTable, 0)

    def _do_surface(self) -> None:
        node = self._pick(self._segmentations())
        if node is not None and self._random.random() < 0.5:
            node.CreateClosedSurfaceRepresentation()
        elif node is not None:
            node.RemoveClosedSurfaceRepresentation()

    # --- step 2

    def _do_mark_slice(self) -> None:
        box = self._ui.sliceSpinBox
        if box.enabled:
            box.setValue(self._random.randint(0, box.maximum))
        self._click(self._ui.markSliceButton)

    def _do_check_slice(self) -> None:
        self._check_item(self._ui.slicesTable, 0)

    def _do_go_to_slice(self) -> None:
        self._click(self._pick((self._ui.previousSliceButton, self._ui.nextSliceButton)))

    def _do_axis(self) -> None:
        box = self._ui.axisComboBox
        if box.enabled:
            box.setCurrentIndex(self._pick((0, 0, 1, 1, 2, 3)))

    def _check_item(self, table: Any, column: int) -> None:
        if not table.enabled or not table.rowCount:
            return
        item = table.item(self._random.randrange(table.rowCount), column)
        if item.flags() & qt.Qt.ItemIsEnabled:
            checked = item.checkState() == qt.Qt.Checked
            item.setCheckState(qt.Qt.Unchecked if checked else qt.Qt.Checked)

    # --- step 3

    def _do_engine(self) -> None:
        if self.panel.parameters is not None and self.panel.state == "IDLE":
            self.panel.parameters.engine = self._pick(ENGINES)

    def _do_option(self) -> None:
        box = self._pick((self._ui.fillAllCheckBox, self._ui.completeCheckBox, self._ui.overwriteCheckBox))
        self._click(box)

    def _do_mask(self) -> None:
        """Masking and overwriting, as in the Segment Editor's own section."""
        editor = self._ui.segmentEditor.mrmlSegmentEditorNode()
        if editor is None:
            return
        modes = slicer.vtkMRMLSegmentationNode
        editor.SetMaskMode(
            self._pick(
                (
                    modes.EditAllowedEverywhere,
                    modes.EditAllowedEverywhere,
                    modes.EditAllowedOutsideAllSegments,
                    modes.EditAllowedInsideAllSegments,
                )
            )
        )
        editor.SetOverwriteMode(
            self._pick((editor.OverwriteAllSegments, editor.OverwriteVisibleSegments, editor.OverwriteNone))
        )
        editor.SetSourceVolumeIntensityMask(self._random.random() < 0.2)
        editor.SetSourceVolumeIntensityMaskRange(20.0, 200.0)

    def _do_fill(self) -> list[str]:
        """Press Fill, mostly once what was painted is known, and mostly wait for the run to begin.

        Without a volume or a segmentation these are made instead.
        """
        logic = self.panel.widget.logic
        if not self._volumes() or not self._segmentations():
            self._do_add_volume()
            return self._do_add_segmentation()
        if self._random.random() < 0.7:
            self._turn_until(lambda: not logic.survey.busy)
        if self._click(self._ui.fillButton) and self._random.random() < 0.7:
            self._turn_until(lambda: not logic.fillWanted and self.panel.state != "PREPARING")
        return []

    def _do_cancel(self) -> None:
        self._click(self._ui.cancelButton)

    def _do_keep(self) -> None:
        self._click(self._ui.keepButton)

    def _do_resume(self) -> None:
        self._click(self._ui.resumeButton)

    def _do_kill_worker(self) -> None:
        process = self.panel.controller._process
        pid = process._process.pid if process is not None and process._process is not None else 0
        if pid and process._process.poll() is None:
            os.kill(pid, signal.SIGKILL)

    def _do_turn(self) -> None:
        self._turn()

    def _do_turns(self) -> None:
        for _ in range(self._random.randint(2, 12)):
            self._turn()

    def _do_some_slices(self) -> None:
        """Until some slices are finished, or the run is over."""
        wanted = self._random.randint(1, 8)
        controller = self.panel.controller
        self._turn_until(
            lambda: controller.progress.done >= wanted or self.panel.state not in ("PREPARING", "RUNNING")
        )

    def _turn_until(self, reached: Callable[[], bool]) -> None:
        """Let the event loop turn; one commit at a time is looked at."""
        end = time.monotonic() + WAIT_SECONDS
        undo_states = self._ui.segmentEditor.undo_states_saved
        while not reached() and self._ui.segmentEditor.undo_states_saved == undo_states:
            _require(time.monotonic() < end, f"waited in vain: {self.panel.state} {self.panel.status}")
            self._turn()

    def _do_wait(self) -> None:
        """Until the run is over or asks, and what was painted is known."""
        widget = self.panel.widget
        self._turn_until(lambda: self.panel.state in ("IDLE", "STOPPED") and not widget.logic.busy)

    # --- step 4

    def _do_review(self) -> None:
        section = self.panel.widget.reviewSection
        if section.table.rowCount:
            section.table.selectRow(self._random.randrange(section.table.rowCount))
        buttons = (
            section.accept_button,
            section.flag_button,
            section.take_back_button,
            section.worst_button,
            section.better_button,
            section.accept_all_button,
            section.plot_button,
            section.differences_box,
        )
        self._click(self._pick(buttons))

    def _do_refill(self) -> None:
        self._click(self.panel.widget.reviewSection.refill_button)

    # --- nodes and scene

    def _do_add_volume(self) -> None:
        add_volume(self.case.volume, self._new_name("Volume"))
        self._choose()

    def _do_add_segmentation(self) -> list[str]:
        """A segmentation with every few slices painted."""
        volume_node = self._pick([node for node in self._volumes() if node.GetTransformNodeID() is None])
        if volume_node is None:
            return []
        axis = SliceAxis(0)
        masks = painted(self.case, axis, self.case.labelled(axis, self._random.randint(3, 6)))
        name = self._new_name("Segmentation")
        node = mrml.add_segmentation(volume_node, masks, name)
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        self._choose()
        return [name]

    def _choose(self) -> None:
        """Choose a volume and a segmentation, as far as the selectors can be used."""
        for selector, nodes in (
            (self._ui.volumeSelector, self._volumes()),
            (self._ui.segmentationSelector, self._segmentations()),
        ):
            if selector.enabled and nodes:
                selector.setCurrentNode(self._pick(nodes))
        self._known.before_commit = None

    def _do_switch(self) -> None:
        self._choose()

    def _do_delete_volume(self) -> None:
        node = self._pick(self._volumes())
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)

    def _do_delete_segmentation(self) -> None:
        node = self._pick(self._segmentations())
        if node is not None:
            self._known.before_commit = None
            display = node.GetDisplayNode()
            slicer.mrmlScene.RemoveNode(node)
            slicer.mrmlScene.RemoveNode(display)

    def _do_transform(self) -> None:
        """Put nodes under a transform, or take them out."""
        transforms = self._transforms()
        if len(transforms) < 2:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", self._new_name("Transform"))
            matrix = np.eye(4)
            matrix[0, 3] = self._random.choice((1.5, 3.0))
            node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
            transforms.append(node)
        above = self._pick([*transforms, None])
        nodes = [*self._volumes(), *self._segmentations()]
        for node in nodes if self._random.random() < 0.7 else [self._pick(nodes)] if nodes else []:
            node.SetAndObserveTransformNodeID(above.GetID() if above is not None else None)

    def _do_leave_module(self) -> None:
        self.panel.widget.parent.exit()
        self._turn()
        self.panel.widget.parent.enter()

    def _do_close_scene(self) -> None:
        """Close the scene and begin anew."""
        self._known.before_commit = None
        self._known.voxels.clear()
        mrml.clear_scene()
        self._turn()
        self._do_add_volume()
        self._do_add_segmentation()

    def _do_save_and_open(self) -> list[str]:
        """Save the scene, close it and open it again: a run goes on where it was, if the user wants."""
        path = self._folder / self._new_name("scene") / "scene.mrml"
        save_scene(path)
        before = _voxels()
        self._known.before_commit = None
        mrml.clear_scene()
        open_scene(path)
        after = _voxels()
        _require(before.keys() == after.keys(), f"saved {list(before)} and opened {list(after)}")
        for name in before:
            _require(_same(before[name], after[name]), f"{name} is another one when opened again")
        self._turn()
        return list(after)


# How often each is done, in relation to the others.
ACTIONS = {
    "turn": 4, "turns": 5, "wait": 10, "some_slices": 8, "paint": 6, "erase": 3, "undo": 4, "redo": 2, "fill": 14,
    "cancel": 2, "keep": 3, "resume": 4, "kill_worker": 3, "review": 6, "refill": 3, "mark_slice": 3,
    "check_slice": 2, "go_to_slice": 1, "axis": 1, "engine": 1, "option": 2, "mask": 2, "add_segment": 1,
    "delete_segment": 1, "rename_segment": 1, "hide_segment": 1, "lock_segment": 2, "choose_segment": 2, "surface": 1,
    "add_volume": 1, "add_segmentation": 1, "switch": 2, "delete_volume": 1, "delete_segmentation": 1, "transform": 1,
    "leave_module": 1, "close_scene": 1, "save_and_open": 1,
}  # fmt: skip


def random_actions(seed: int, count: int) -> list[Action]:
    """A list of actions, always the same for a seed."""
    chooser = random.Random(seed)
    names = chooser.choices(list(ACTIONS), list(ACTIONS.values()), k=count)
    return [Action(name, chooser.randrange(1 << 16)) for name in names]


def shortest(actions: Sequence[Action], fails: Callable[[Sequence[Action]], bool], seconds: float) -> list[Action]:
    """A list as short as could be found within some seconds that still fails; parts are left out again and again."""
    end = time.monotonic() + seconds
    found, size = list(actions), max(1, len(actions) // 2)
    while time.monotonic() < end:
        for start in range(0, len(found), size):
            fewer = found[:start] + found[start + size :]
            if time.monotonic() > end:
                break
            if fewer != found and fails(fewer):
                found = fewer
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return found


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenPromise(otherwise)


def _node(name: str) -> Any:
    return slicer.mrmlScene.GetFirstNodeByName(name)


def _voxels() -> dict[str, Arrays]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return {node.GetName(): _voxels_of(node) for node in nodes if not node.GetHideFromEditors()}


def _voxels_of(node: Any) -> Arrays:
    """Voxels of all segments on the segmentation's own grid."""
    ids = node.GetSegmentation().GetSegmentIDs()
    grid = read_grid(node, node)
    size = grid.geometry.shape
    return {name: grid.segment_box(name, (0, 0, 0), size) for name in ids}


def _same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _children() -> list[str]:
    """This process's children, dead ones among them that nobody asked after."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                name, _, rest = (entry / "stat").read_text().rpartition(")")
                state, parent = rest.split()[:2]
                if int(parent) == os.getpid():
                    found.append(f"{entry.name} {name.partition('(')[2]} {state}")
    return found
