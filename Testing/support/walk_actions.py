"""Actions of a random walk in the panel: those of a user, and simulated failures."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.mrml.reading import ijk_to_ras, read_grid
from vtk.util.numpy_support import numpy_to_vtk

from support import mrml, slicer_standin
from support.panel import Panel
from support.saved_scenes import open_scene, save_scene
from support.scene_cases import Case, add_volume, painted
from support.walk_invariants import WAIT_SECONDS, Invariants, all_voxels, require, same, voxels_of

slicer_standin.install()

import qt  # noqa: E402

ENGINES = ("auto", "propagate")


class WalkActions:
    """All actions, each a method `_do_<name>`, which returns the names of the segmentations that it edits, if any.

    See `Walk` for its parameters.
    """

    def __init__(self, panel: Panel, case: Case, folder: Path, invariants: Invariants) -> None:
        self._panel = panel
        self._case = case
        self._folder = folder
        self._invariants = invariants
        self._known = invariants.known
        self._count = 0
        self._random = random.Random(0)

    def do(self, name: str, number: int) -> list[str] | None:
        """Do an action on an object that the number determines; returns the names of the edited segmentations."""
        self._random = random.Random(number)
        edited: list[str] | None = getattr(self, f"_do_{name}")()
        return edited

    @property
    def _ui(self) -> Any:
        return self._panel.ui

    # --- objects to choose from

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
        """Press a button if a user could."""
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
        grid = read_grid(volume_node, node)
        mask = np.zeros(grid.geometry.shape, dtype=np.uint8)
        axis = self._pick((0, 0, 0, 0, 1, 2))
        index = self._random.randrange(mask.shape[axis])
        part = np.moveaxis(mask, axis, 0)[index]
        true = self._case.masks.get(name)
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
            require(same(voxels_of(node), expected[1]), "one undo did not revert the whole commit")
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
        if self._panel.parameters is not None and self._panel.state == "IDLE":
            self._panel.parameters.engine = self._pick(ENGINES)

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
        """Press Fill, usually once the painted slices are known, and usually wait until the run begins.

        If there is no volume or no segmentation, add both instead.
        """
        logic = self._panel.widget.logic
        if not self._volumes() or not self._segmentations():
            self._do_add_volume()
            return self._do_add_segmentation()
        if self._random.random() < 0.7:
            self._turn_until(lambda: not logic.annotations.survey.busy)
        if self._click(self._ui.fillButton) and self._random.random() < 0.7:
            self._turn_until(lambda: not logic.fillRequested and self._panel.state != "PREPARING")
        return []

    def _do_cancel(self) -> None:
        self._click(self._ui.cancelButton)

    def _do_keep(self) -> None:
        self._click(self._ui.keepButton)

    def _do_resume(self) -> None:
        self._click(self._ui.resumeButton)

    def _do_kill_worker(self) -> None:
        run = self._panel.controller.run
        process = run.process if run is not None else None
        if process is not None and process.pid is not None and process.running:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(process.pid, signal.SIGKILL)

    def _do_turn(self) -> None:
        self._invariants.turn()

    def _do_turns(self) -> None:
        for _ in range(self._random.randint(2, 12)):
            self._invariants.turn()

    def _do_some_slices(self) -> None:
        """Wait until some slices are finished, or the run has ended."""
        count = self._random.randint(1, 8)
        controller = self._panel.controller
        self._turn_until(
            lambda: controller.progress.done >= count or self._panel.state not in ("PREPARING", "RUNNING")
        )

    def _turn_until(self, reached: Callable[[], bool]) -> None:
        """Run the event loop, at most until the next commit."""
        end = time.monotonic() + WAIT_SECONDS
        undo_states = self._ui.segmentEditor.undo_states_saved
        while not reached() and self._ui.segmentEditor.undo_states_saved == undo_states:
            require(time.monotonic() < end, f"timed out in state: {self._panel.state} {self._panel.status}")
            self._invariants.turn()

    def _do_wait(self) -> None:
        """Wait until the run has ended or offers a choice, and the painted slices are known."""
        widget = self._panel.widget
        self._turn_until(lambda: self._panel.state in ("IDLE", "STOPPED") and not widget.logic.busy)

    # --- step 4

    def _do_review(self) -> None:
        section = self._panel.widget.reviewSection
        if section.table.rowCount:
            section.table.selectRow(self._random.randrange(section.table.rowCount))
        buttons = (
            section.accept_button,
            section.flag_button,
            section.reset_button,
            section.worst_button,
            section.better_button,
            section.accept_all_button,
            section.plot_button,
            section.differences_box,
        )
        self._click(self._pick(buttons))

    def _do_refill(self) -> None:
        self._click(self._panel.widget.reviewSection.refill_button)

    # --- nodes and scene

    def _do_add_volume(self) -> None:
        add_volume(self._case.volume, self._new_name("Volume"))
        self._choose()

    def _do_add_segmentation(self) -> list[str]:
        """A segmentation with every few slices painted."""
        volume_node = self._pick([node for node in self._volumes() if node.GetTransformNodeID() is None])
        if volume_node is None:
            return []
        axis = SliceAxis(0)
        masks = painted(self._case, axis, self._case.labelled(axis, self._random.randint(3, 6)))
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
        self._panel.widget.parent.exit()
        self._invariants.turn()
        self._panel.widget.parent.enter()

    def _do_close_scene(self) -> None:
        """Close the scene and begin anew."""
        self._known.before_commit = None
        self._known.voxels.clear()
        mrml.clear_scene()
        self._invariants.turn()
        self._do_add_volume()
        self._do_add_segmentation()

    def _do_save_and_open(self) -> list[str]:
        """Save the scene, close it and open it again: a run goes on where it was, if the user wants."""
        path = self._folder / self._new_name("scene") / "scene.mrml"
        save_scene(path)
        before = all_voxels()
        self._known.before_commit = None
        mrml.clear_scene()
        open_scene(path)
        after = all_voxels()
        require(before.keys() == after.keys(), f"saved {list(before)} and opened {list(after)}")
        for name in before:
            require(same(before[name], after[name]), f"{name} is another one when opened again")
        self._invariants.turn()
        return list(after)
