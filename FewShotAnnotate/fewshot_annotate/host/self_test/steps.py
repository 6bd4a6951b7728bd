"""StepChecks: buttons and check boxes that the steps of the manual do not use; checks of the self-test."""

from __future__ import annotations

import qt
import slicer

from ..fill.run_state import State
from ..panel.segments_table import FILL
from .panel_checks import PanelChecks

_OPTIONS = (("fillAllCheckBox", "fillAll"), ("completeCheckBox", "complete"), ("overwriteCheckBox", "mayOverwrite"))


class StepChecks(PanelChecks):
    """Checks of buttons and check boxes, each on its own segmentation."""

    def run(self) -> None:
        """Make all checks."""
        with self._own_segmentation("Steps"):
            for check in (self._go_to_slices, self._mark_slice, self._options, self._fill_all):
                check()
        self._only_this()
        self._example()

    def _go_to_slices(self) -> None:
        ui, labelled = self._ui, list(self._walk.labelled)
        ui.sliceSpinBox.setValue(labelled[0])
        shown = []
        for button in (ui.nextSliceButton, ui.nextSliceButton, ui.previousSliceButton):
            self._press(button)
            shown.append(ui.sliceSpinBox.value)
        self._test.assertEqual(shown, [labelled[1], labelled[2], labelled[1]])

    def _mark_slice(self) -> None:
        """A slice without voxels counts as labelled until its tick is removed."""
        ui, count = self._ui, self._ui.slicesTable.rowCount
        index = self._walk.labelled[0] + 1
        ui.sliceSpinBox.setValue(index)
        self._press(ui.markSliceButton)
        self._walk.until(lambda: ui.slicesTable.rowCount == count + 1)
        item = ui.slicesTable.item(1, 0)
        self._test.assertEqual((item.data(qt.Qt.UserRole), item.checkState()), (index, qt.Qt.Checked))
        self._test.assertFalse(ui.markSliceButton.enabled)
        item.setCheckState(qt.Qt.Unchecked)
        self._walk.until(lambda: ui.markSliceButton.enabled)

    def _options(self) -> None:
        """Boxes and parameter node follow each other."""
        for name, parameter in _OPTIONS:
            box, before = getattr(self._ui, name), getattr(self._parameters, parameter)
            for expected in (not before, before):
                self._press(box)
                self._test.assertEqual(
                    (getattr(self._parameters, parameter), box.checked), (expected, expected), name
                )

    def _fill_all(self) -> None:
        """Slices outside the painted ones are filled too."""
        controller, slices = self._widget.logic.controller, []
        for _ in range(2):
            self._press(self._ui.fillButton)
            self._walk.until(lambda: controller.run is not None)
            slices.append(controller.run.plan.query_slices)
            self._press(self._ui.cancelButton)
            self._walk.until(lambda: controller.state is State.IDLE)
            self._press(self._ui.fillAllCheckBox)
        labelled = self._walk.labelled
        self._test.assertTrue(all(labelled[0] < index < labelled[-1] for index in slices[0]))
        outside = set(range(len(self._walk.truth))) - set(range(labelled[0], labelled[-1] + 1))
        self._test.assertEqual(set(slices[1]) - set(slices[0]), outside)

    def _only_this(self) -> None:
        """One click leaves a single segment to fill."""
        with self._own_segmentation("Two segments") as node:
            table = self._ui.segmentsTable
            node.GetSegmentation().AddEmptySegment("other", "other")
            array = self._walk.painted()
            array[:, : array.shape[1] // 2] = False
            self._walk.write(node, array, "other")
            self._walk.until(lambda: table.rowCount == 2 and self._ticks() == [True, True])
            table.selectRow(1)
            self._press(self._ui.onlyThisButton)
            self._walk.until(lambda: self._ticks() == [False, True])

    def _example(self) -> None:
        """Without a volume the panel offers one, painted and ready to be filled."""
        nodes = self._parameters.volume, self._parameters.segmentation
        self._parameters.volume = self._parameters.segmentation = None
        self._widget.accordion.open("volume")
        self._walk.until(lambda: not self._ui.exampleButton.isHidden())
        self._press(self._ui.exampleButton)
        self._walk.until(lambda: self._ui.fillButton.enabled)
        self._test.assertGreater(self._ui.slicesTable.rowCount, 2)
        example = self._parameters.volume, self._parameters.segmentation
        self._parameters.volume, self._parameters.segmentation = nodes
        for node in example:
            slicer.mrmlScene.RemoveNode(node)
        self._walk.until(lambda: self._ui.fillButton.enabled)

    # --- helper methods

    def _ticks(self) -> list[bool]:
        table = self._ui.segmentsTable
        return [table.item(row, FILL).checkState() == qt.Qt.Checked for row in range(table.rowCount)]
