"""SelfTest: the steps of Testing/MANUAL.md that can be checked without a person, run by Slicer's own test runner."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ...export.request import Target
from ..annotation.record import SliceStatus
from ..effect.registration import EFFECT_NAME
from ..export.controller import ExportState
from ..fill.run_state import State
from .checks import FurtherChecks

ENGINE = "propagate"  # built in, quick, and needs nothing
STEP = 10  # every so many slices are painted
FIRST = 5  # from this one on, and as many are left out at the end
LEAST_DICE = 0.9
WAIT_SECONDS = 180.0


class SelfTest:
    """One run through the steps of the module.

    Parameters
    ----------
    widget : FewShotAnnotateWidget
        Of the module, which is open, on a scene with nothing but the volume.
    test : ScriptedLoadableModuleTest
        Shows the steps, and fails with them.
    volume : vtkMRMLScalarVolumeNode
        A head that is brighter than 30 where it is not air.
    """

    def __init__(self, widget: Any, test: Any, volume: Any) -> None:
        self._widget = widget
        self._test = test
        self._volume = volume
        self._truth = slicer.util.arrayFromVolume(volume) > 30
        self._labelled = range(FIRST, len(self._truth) - FIRST, STEP)
        self._segmentation: Any = None
        self._filled = np.zeros_like(self._truth)

    @property
    def steps(self) -> dict[str, Callable[[], None]]:
        """Titles of the steps, as in the manual, and the methods that take them."""
        return {
            "Choose volume and segmentation": self._choose,
            "Paint a few slices": self._paint_slices,
            "Suggest the next slice": self._suggest,
            "Choose an engine": self._choose_engine,
            "Cancel a fill": self._cancel,
            "Fill": self._fill,
            "Undo and redo": self._undo,
            "Review": self._review,
            "Correct a slice and refill": self._refill,
            "Fill from the Segment Editor": self._fill_by_effect,
            "Export": self._export,
            "Close the scene during a fill": self._close_scene,
        }

    def run(self) -> None:
        """Take all steps, in their order, and make the checks before the last one, which closes the scene."""
        *steps, last = self.steps.items()
        for title, step in steps:
            self._test.delayDisplay(title)
            step()
        FurtherChecks(self).run()
        self._test.delayDisplay(last[0])
        last[1]()

    # --- properties that the checks use

    @property
    def widget(self) -> Any:
        """The panel."""
        return self._widget

    @property
    def test(self) -> Any:
        """The test case of Slicer, which shows each step and fails if one fails."""
        return self._test

    @property
    def volume(self) -> Any:
        """The volume node."""
        return self._volume

    @property
    def segmentation(self) -> Any:
        """The segmentation that was filled and reviewed."""
        return self._segmentation

    @property
    def labelled(self) -> range:
        """Slices that are painted."""
        return self._labelled

    @property
    def truth(self) -> np.ndarray:
        """The head, bool [k, j, i]."""
        return self._truth

    def labels(self, node: Any = None) -> np.ndarray:
        """Voxels of the head in a segmentation, or in the one that was reviewed, bool [k, j, i]."""
        node = self._segmentation if node is None else node
        return np.asarray(slicer.util.arrayFromSegmentBinaryLabelmap(node, "head", self._volume) > 0)

    # --- the steps

    def _choose(self) -> None:
        parameters = self._logic.getParameterNode()
        parameters.volume = self._volume
        self._ui.newSegmentationButton.click()
        self._segmentation = parameters.segmentation
        self._test.assertIsNotNone(self._segmentation)

    def _paint_slices(self) -> None:
        self.add_segment(self._segmentation)
        self.until(lambda: self._ui.fillButton.enabled)
        self._test.assertEqual(self._ui.slicesTable.rowCount, len(self._labelled))

    def _suggest(self) -> None:
        self._ui.suggestButton.click()
        self.until(lambda: not self._logic.suggestion.busy)
        self._test.assertTrue(self._ui.suggestionLabel.text)

    def _choose_engine(self) -> None:
        self.until(lambda: bool(self._logic.engines.states))
        self._logic.getParameterNode().engine = ENGINE
        self.until(lambda: self._ui.engineList.currentRow >= 0 and self._ui.fillButton.enabled)

    def _cancel(self) -> None:
        before = self.labels()
        self._ui.fillButton.click()
        self.until(lambda: self._state is not State.IDLE)
        self._ui.cancelButton.click()
        self.until(lambda: self._state is State.IDLE)
        np.testing.assert_array_equal(self.labels(), before)

    def _fill(self) -> None:
        self.start_and_finish(self._ui.fillButton)
        self._filled = self.labels()
        self.require_filled(self._filled)

    def _undo(self) -> None:
        editor = self._ui.segmentEditor
        editor.undo()
        np.testing.assert_array_equal(self.labels(), self.painted())
        editor.redo()
        np.testing.assert_array_equal(self.labels(), self._filled)

    def _review(self) -> None:
        section, review = self._widget.reviewSection, self._logic.review
        self.until(lambda: section.worst_button.enabled)
        section.worst_button.click()
        self.until(lambda: section.accept_button.enabled)
        section.accept_button.click()
        self.until(lambda: bool(review.accepted_slices))
        section.worst_button.click()
        section.flag_button.click()
        self.until(lambda: any(row.status is SliceStatus.FLAGGED for row in review.view.rows))

    def _refill(self) -> None:
        section, review = self._widget.reviewSection, self._logic.review
        accepted = sorted(review.accepted_slices)
        corrected = next(i for i in range(FIRST + 1, len(self._truth)) if i not in {*accepted, *self._labelled})
        array = self.labels()
        array[corrected, : array.shape[1] // 2] = False
        self.write(self._segmentation, array)
        self.until(lambda: any(row.index == corrected and row.manual for row in review.view.rows))
        self.until(lambda: section.refill_button.enabled)
        self.start_and_finish(section.refill_button)
        after = self.labels()
        for index in (*accepted, *self._labelled, corrected):
            np.testing.assert_array_equal(after[index], array[index])

    def _fill_by_effect(self) -> None:
        node = self.add_segmentation("Filled by the effect")
        with self.open_effect(node) as (editor, effect):
            self.until(lambda: effect.fillButton.enabled)
            self.start_and_finish(effect.fillButton)
            self.require_filled(self.labels(node))
            editor.undo()
            np.testing.assert_array_equal(self.labels(node), self.painted())
        self._logic.getParameterNode().segmentation = self._segmentation

    def _export(self) -> None:
        section, export = self._widget.exportSection, self._logic.export
        with tempfile.TemporaryDirectory() as folder:
            section.target_box.setCurrentIndex(section.target_box.findData(str(Target.NIFTI)))
            section.path_edit.currentPath = str(Path(folder) / "head.nii.gz")
            self.until(lambda: section.check_button.enabled)
            section.check_button.click()
            self.until(lambda: section.export_button.enabled)
            section.export_button.click()
            self.until(lambda: export.state in (ExportState.DONE, ExportState.FAILED))
            self._test.assertTrue(export.report is not None and export.report.verified, section.status_label.text)
            self._test.assertTrue((Path(folder) / "head.nii.gz").is_file())

    def _close_scene(self) -> None:
        self.until(lambda: self._ui.fillButton.enabled)
        self._ui.fillButton.click()
        self.until(lambda: self._state is not State.IDLE)
        slicer.mrmlScene.Clear()
        self.until(lambda: self._state is State.IDLE)
        self._test.assertFalse(self._ui.fillButton.enabled)

    # --- helper methods

    @property
    def _ui(self) -> Any:
        return self._widget.ui

    @property
    def _logic(self) -> Any:
        return self._widget.logic

    @property
    def _state(self) -> State:
        state: State = self._logic.controller.state
        return state

    def until(self, reached: Callable[[], bool]) -> None:
        """Process events of the application until a condition is met."""
        end = time.monotonic() + WAIT_SECONDS
        while not reached():
            self._test.assertLess(time.monotonic(), end, self._ui.statusLabel.text)
            slicer.app.processEvents()
            time.sleep(0.01)

    def start_and_finish(self, button: Any) -> None:
        """Press a button that starts a run, and wait for its end."""
        button.click()
        self.until(lambda: self._state is not State.IDLE)  # a fill waits for the survey
        self.until(lambda: self._state is State.IDLE)

    def painted(self) -> np.ndarray:
        """The head on the slices that are painted, bool [k, j, i]."""
        painted = np.zeros_like(self._truth)
        painted[self._labelled] = self._truth[self._labelled]
        return painted

    @contextmanager
    def open_effect(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """A Segment Editor on a segmentation, with the effect chosen, and the effect."""
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        editor.setSegmentationNode(node)
        editor.setSourceVolumeNode(self._volume)
        editor.setActiveEffectByName(EFFECT_NAME)
        yield editor, editor.activeEffect().self()
        editor.setActiveEffect(None)
        editor.deleteLater()

    def add_segmentation(self, name: str) -> Any:
        """Add a segmentation with the head as it was painted."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(self._volume)
        self.add_segment(node)
        return node

    def add_segment(self, node: Any) -> None:
        """Add the head as it was painted."""
        node.GetSegmentation().AddEmptySegment("head", "head")
        self.write(node, self.painted())

    def write(self, node: Any, array: np.ndarray, segment_id: str = "head") -> None:
        """Set the voxels of a segment, by default of the head, bool [k, j, i]."""
        slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), node, segment_id, self._volume)

    def require_filled(self, array: np.ndarray) -> None:
        """Painted slices are as they were, those between resemble the truth."""
        np.testing.assert_array_equal(array[self._labelled], self._truth[self._labelled])
        between = [i for i in range(self._labelled[0], self._labelled[-1]) if i not in self._labelled]
        result, truth = array[between], self._truth[between]
        dice = 2.0 * (result & truth).sum() / (result.sum() + truth.sum())
        self._test.assertGreater(dice, LEAST_DICE)
