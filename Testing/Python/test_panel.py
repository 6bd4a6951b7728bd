"""Filling in the panel: what is painted, ticked or locked, how a run ends, and its status.

On a stand-in for PythonQt, which is not tested itself: real MRML, the real worker, real cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import slicer
import vtk
from support import slicer_standin, stepwise
from support.panel import Panel
from support.scene_cases import Gate, all_equal, case, scene_of

slicer_standin.install()

import qt  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


def test_a_fill_in_the_panel_is_undone_in_one_step(panel: Panel) -> None:
    before = panel.scene.arrays()
    panel.fill()
    after = panel.scene.arrays()
    painted = panel.scene.painted()
    for name in panel.scene.ids:
        np.testing.assert_array_equal(after[name][panel.scene.labelled], painted[name][panel.scene.labelled])
        assert after[name][panel.scene.between].any()
    assert panel.status == f"{len(panel.scene.between)} slices filled."
    assert panel.ui.segmentEditor.undo_states_saved == 1
    panel.ui.segmentEditor.undo()
    assert all_equal(panel.scene.arrays(), before)


def test_painted_slices_are_listed_with_their_segments(panel: Panel) -> None:
    panel.ready()
    painted = panel.scene.painted()
    assert panel.labelled_rows() == [
        (str(i), ", ".join(name for name, mask in painted.items() if mask[i].any())) for i in panel.scene.labelled
    ]
    spacing = panel.scene.case.volume.geometry.spacing
    assert panel.rows("segmentsTable") == [
        (name, str(mask.any(axis=(1, 2)).sum()), "", f"{mask.sum() * np.prod(spacing) / 1000:.1f}", "")
        for name, mask in painted.items()
    ]
    titles = [panel.ui.axisComboBox.itemText(row) for row in range(4)]
    assert titles[1] == f"axial slices, axis 0: {len(panel.scene.labelled)} painted"
    assert titles[2:] == ["coronal slices, axis 1: 0 painted", "sagittal slices, axis 2: 0 painted"]


def test_a_newly_painted_slice_appears_in_the_list(panel: Panel) -> None:
    panel.ready()
    name, index = panel.scene.ids[0], panel.scene.labelled[1] + 1
    mask = panel.scene.array(name)
    mask[index] = panel.scene.case.masks[name][index]
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), panel.scene.node, name, panel.scene.volume_node
    )
    panel.until(lambda: (str(index), name) in panel.labelled_rows())


def test_a_slice_painted_just_before_fill_is_pressed_is_used(panel: Panel) -> None:
    panel.ready()
    name, index = panel.scene.ids[0], panel.scene.labelled[1] + 2
    mask = panel.scene.array(name)
    mask[index, 2:9, 3:8] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), panel.scene.node, name, panel.scene.volume_node
    )
    panel.click("fillButton")
    assert panel.status == "Reading the painted slices ..."
    panel.until(lambda: panel.state == "IDLE" and not panel.widget.logic.fillRequested)
    np.testing.assert_array_equal(panel.scene.array(name)[index], mask[index])
    assert panel.status == f"{len(panel.scene.between) - 1} slices filled."


def test_a_fill_that_waits_for_the_survey_can_be_cancelled(panel: Panel) -> None:
    panel.ready()
    panel.widget.logic.annotations.survey.request(30.0)
    panel.click("fillButton")
    panel.click("cancelButton")
    assert panel.ui.fillButton.enabled
    assert panel.state == "IDLE"
    panel.widget.logic.annotations.survey.request(0.0)
    slicer_standin.process_events(300)
    assert panel.state == "IDLE"


def test_a_slice_left_out_is_filled_and_a_marked_one_is_kept_empty(panel: Panel) -> None:
    panel.ready()
    left_out, marked = panel.scene.labelled[1], panel.scene.labelled[2] + 1
    panel.check("slicesTable", 1, 0, False)
    panel.ui.sliceSpinBox.setValue(marked)
    panel.click("markSliceButton")
    assert (str(marked), "nothing here") in panel.labelled_rows()
    before = panel.scene.arrays()
    panel.fill()
    after = panel.scene.arrays()
    assert not any(mask[marked].any() for mask in after.values())
    assert any(not np.array_equal(after[name][left_out], before[name][left_out]) for name in panel.scene.ids)


def test_unselected_and_locked_segments_are_not_changed(panel: Panel) -> None:
    panel.ready()
    before = panel.scene.arrays()
    panel.check("segmentsTable", 0, 0, False)
    panel.fill()
    after = panel.scene.arrays()
    np.testing.assert_array_equal(after[panel.scene.ids[0]], before[panel.scene.ids[0]])
    assert not np.array_equal(after[panel.scene.ids[1]], before[panel.scene.ids[1]])
    panel.check("segmentsTable", 0, 0, True)
    panel.check("segmentsTable", 0, 4, True)
    item = panel.ui.segmentsTable.item(0, 0)
    assert item.toolTip() == "Locked: it is not filled and never changed."
    assert not item.flags() & qt.Qt.ItemIsEnabled
    panel.fill()
    np.testing.assert_array_equal(panel.scene.array(panel.scene.ids[0]), before[panel.scene.ids[0]])


def test_an_axis_chosen_by_the_user_is_used(panel: Panel) -> None:
    panel.ready()
    panel.ui.axisComboBox.setCurrentIndex(3)
    assert panel.widget.logic.annotations.snapshot(panel.scene.node).selection.axis == 2
    panel.ui.axisComboBox.setCurrentIndex(0)
    assert panel.widget.logic.annotations.snapshot(panel.scene.node).selection.axis == 0


def test_a_click_on_a_slice_shows_it_and_the_slice_number_follows_the_view(panel: Panel) -> None:
    panel.ready()
    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view.SetSingletonTag("Red")
    slicer.mrmlScene.AddNode(view)
    panel.ui.slicesTable.cellClicked.emit(2, 0)
    assert panel.ui.sliceSpinBox.value == panel.scene.labelled[2]
    dimensions = panel.scene.volume_node.GetImageData().GetDimensions()
    for index in (1, panel.scene.labelled[1]):
        point = [0.0, 0.0, 0.0, 1.0]
        matrix = vtk.vtkMatrix4x4()
        panel.scene.volume_node.GetIJKToRASMatrix(matrix)
        matrix.MultiplyPoint((dimensions[0] / 2, dimensions[1] / 2, index, 1.0), point)
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *point[:3])
        panel.until(lambda index=index: panel.ui.sliceSpinBox.value == index)


def test_cancel_changes_nothing_in_the_panel(running: Panel) -> None:
    before = running.scene.arrays()
    running.click("cancelButton")
    assert running.state == "IDLE"
    assert running.status == "Cancelled; nothing was changed."
    assert all_equal(running.scene.arrays(), before)
    assert running.ui.fillButton.enabled
    assert running.ui.progressBar.isHidden()


def test_a_dead_worker_offers_to_resume_keep_or_cancel(gate: Gate, running: Panel) -> None:
    running.controller.run.process.kill()
    running.until(lambda: running.state == "STOPPED")
    assert running.status.endswith("finished slices are kept; press Resume to go on.")
    assert not running.ui.resumeButton.isHidden()
    assert running.ui.keepButton.enabled
    assert not running.ui.fillButton.enabled
    gate.open()
    running.click("resumeButton")
    running.until(lambda: running.state == "IDLE")
    assert running.status == f"{len(running.scene.between)} slices filled."
    assert running.ui.resumeButton.isHidden()


def test_the_panel_shows_drafts_refined_slices_and_the_expected_dice(
    python_with_stepwise: str, gate: Gate, open_panel: Callable[..., Panel]
) -> None:
    panel = open_panel(scene_of(case("ct_vertebrae")))
    panel.controller.python = python_with_stepwise
    panel.ready()
    panel.parameters.engine = stepwise.NAME
    count = len(panel.scene.between)
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.status == f"2 of {count} slices drafted")
    assert panel.ui.progressBar.value == 0
    gate.allow(count + 2)
    panel.until(lambda: f"2 of {count} slices refined" in panel.status)
    lines = panel.status.splitlines()
    assert re.fullmatch(rf"2 of {count} slices refined(, \d+ s left)?", lines[0])
    names = [segment.GetName() for segment in map(panel.scene.node.GetSegmentation().GetSegment, panel.scene.ids)]
    assert lines[1:] == [f"{name}: expected Dice 0.50 (0.25 to 0.75)" for name in names]
    assert 800 < panel.ui.progressBar.value < 1000
    panel.picture("refining", 400)
    gate.open()
    panel.until(lambda: panel.state == "IDLE")
    assert panel.status == f"{count} slices filled."
    panel.until(lambda: bool(panel.widget.logic.review.view.rows) and not panel.widget.reviewSection.busy)
    assert panel.ui.progressBar.isHidden()
    assert "expected Dice 0.80 (0.60 to 0.90)" in panel.widget.reviewSection.expected_label.text
