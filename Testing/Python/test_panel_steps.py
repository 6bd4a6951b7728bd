"""The steps of the panel on the stand-in: labelled slices, suggestion, engine cards, the next button, shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.host.fill.preparation import FillSettings
from support import mrml, scene_cases, slicer_standin
from support.panel import Panel, tool_tip
from support.saved_scenes import open_scene, save_scene
from support.scene_cases import Gate, case, scene_of

slicer_standin.install()

import qt  # noqa: E402
from fewshot_annotate.core.slice_axis import SliceAxis  # noqa: E402
from fewshot_annotate.host.panel.shortcuts import KEYS  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

CONTROLS = (qt.QAbstractButton, qt.QComboBox, qt.QAbstractSpinBox, qt.QLineEdit, qt.QAbstractItemView)


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    """The panel on the vertebrae, ready to fill."""
    opened = open_panel(scene_of(case("ct_vertebrae")))
    opened.ready()
    return opened


def emphasised(panel: Panel) -> list[str]:
    """Texts of the emphasised buttons."""
    buttons = panel.widget.parent.findChildren(qt.QPushButton)
    return [button.text for button in buttons if button.default and button.font.bold()]


def cards(panel: Panel) -> dict[str, Any]:
    """The engine cards by the name of the engine."""
    listed = panel.ui.engineList
    return {listed.item(row).data(qt.Qt.UserRole): listed.item(row) for row in range(listed.count)}


# --- step 1


def test_a_first_segmentation_is_made_on_the_volumes_grid_and_under_its_transform(
    open_panel: Callable[..., Panel],
) -> None:
    panel = open_panel()
    volume_node = scene_cases.add_volume(case("ct_vertebrae").volume)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    panel.until(lambda: emphasised(panel) == ["New segmentation of this volume"])
    assert panel.ui.inputsLabel.text.endswith("axial slices, under a transform")
    panel.click("newSegmentationButton")
    node = panel.parameters.segmentation
    assert node.GetParentTransformNode() is transform
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert panel.ui.newSegmentationButton.isHidden()
    panel.until(lambda: panel.status == "Paint at least two slices first.")


def test_a_frame_of_a_sequence_is_refused_and_a_sequence_of_one_is_not(panel: Panel) -> None:
    volume_node = panel.scene.volume_node
    frames = slicer.mrmlScene.AddNode(slicer.vtkMRMLSequenceNode())
    frames.SetDataNodeAtValue(volume_node, "0")
    browser = slicer.mrmlScene.AddNode(slicer.vtkMRMLSequenceBrowserNode())
    browser.SetAndObserveMasterSequenceNodeID(frames.GetID())
    browser.AddProxyNode(volume_node, frames, False)
    panel.parameters.parameterNode.Modified()
    assert panel.ui.fillButton.enabled
    frames.SetDataNodeAtValue(volume_node, "1")
    panel.parameters.parameterNode.Modified()
    message = (
        "Volume 'Volume' is one of 2 frames of a sequence, and labels belong to one frame; clone the volume (Data "
        "module) and choose the copy."
    )
    assert tool_tip(panel.ui.fillButton) == panel.ui.inputsLabel.text == panel.status == message


# --- step 2


def test_previous_and_next_go_from_one_labelled_slice_to_another(panel: Panel) -> None:
    labelled = panel.scene.labelled
    panel.ui.sliceSpinBox.setValue(labelled[1] + 1)
    panel.click("previousSliceButton")
    assert panel.ui.sliceSpinBox.value == labelled[1]
    panel.click("nextSliceButton")
    assert panel.ui.sliceSpinBox.value == labelled[2]
    panel.ui.sliceSpinBox.setValue(labelled[-1])
    assert tool_tip(panel.ui.nextSliceButton) == "No slice after this one is labelled."
    panel.ui.sliceSpinBox.setValue(labelled[0])
    assert tool_tip(panel.ui.previousSliceButton) == "No slice before this one is labelled."


def test_an_empty_slice_is_marked_as_nothing_here_and_a_filled_one_counted(panel: Panel) -> None:
    index = panel.scene.between[0]
    panel.ui.sliceSpinBox.setValue(index)
    assert panel.ui.markSliceButton.text == "Nothing here"
    panel.fill()
    panel.until(lambda: panel.ui.markSliceButton.text == "Count as labelled")
    panel.click("markSliceButton")
    assert index in panel.widget.logic.annotations.snapshot(panel.scene.node).selection.labelled
    assert tool_tip(panel.ui.markSliceButton) == "This slice counts as labelled already."


def test_bars_are_as_long_as_slices_are_covered(panel: Panel) -> None:
    from fewshot_annotate.host.annotation.painted_slices import coverage

    masks = panel.scene.painted()
    found = coverage(panel.widget.logic.annotations.survey.extents, panel.scene.ids, 0)
    for index in panel.scene.labelled:
        counts = {name: int(mask[index].sum()) for name, mask in masks.items() if mask[index].any()}
        assert found[index] == counts
    assert not panel.ui.slicesTable.item(0, 2).icon().isNull()
    assert panel.ui.coverageLabel.pixmap.width() > 0


def test_the_suggested_slice_is_gone_to_and_explained(panel: Panel) -> None:
    panel.click("suggestButton")
    assert panel.ui.suggestionLabel.text == "Looking for the slice that would help most ..."
    assert tool_tip(panel.ui.suggestButton) == "Already looking."
    finder = panel.widget.logic.suggestion
    panel.until(lambda: finder.result is not None)
    assert finder.result.index not in panel.scene.labelled
    assert panel.ui.sliceSpinBox.value == finder.result.index
    assert panel.ui.suggestionLabel.text.startswith(f"Slice {finder.result.index} (")


def test_a_suggestion_is_cancelled_when_another_segmentation_is_chosen(panel: Panel) -> None:
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    panel.click("suggestButton")
    panel.parameters.segmentation = other
    assert not panel.widget.logic.suggestion.busy
    panel.tick()
    assert panel.ui.suggestionLabel.text == ""


def test_each_segmentation_has_its_own_slices(panel: Panel) -> None:
    own = panel.rows("slicesTable")
    masks = scene_cases.painted(panel.scene.case, panel.scene.axis, panel.scene.labelled[:2])
    other = mrml.add_segmentation(panel.scene.volume_node, masks)
    panel.parameters.segmentation = other
    panel.until(lambda: len(panel.rows("slicesTable")) == 2)
    panel.parameters.segmentation = panel.scene.node
    panel.until(lambda: panel.rows("slicesTable") == own)


# --- step 3


def test_cards_show_what_an_engine_needs_and_how_long_it_takes(panel: Panel) -> None:
    panel.until(lambda: len(cards(panel)) > 2)
    found = cards(panel)
    assert next(iter(found)) == "auto"
    assert found["propagate"].text() == "Propagate: ready, about 1 s"
    assert "needs a download of 375 MB" in found["sam"].text()
    panel.parameters.engine = "universeg"
    assert "Fill asks before it downloads: UniverSeg v1." in panel.ui.engineLabel.text
    assert "For research only" in panel.ui.engineLabel.text
    panel.parameters.engine = "propagate"
    assert "Licence: Apache-2.0 (built in)." in panel.ui.engineLabel.text


def test_an_engine_that_cannot_run_shows_the_reason_and_cannot_be_chosen(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fewshot_annotate.core.errors import Message
    from fewshot_annotate.engines.propagate.engine import Propagate

    monkeypatch.setattr(
        Propagate, "unavailable_reason", classmethod(lambda cls: Message("needs_package", package="luck"))
    )
    panel.widget.logic.engines.refresh()
    panel.until(lambda: "propagate" in cards(panel) and "cannot run" in cards(panel)["propagate"].text())
    card = cards(panel)["propagate"]
    assert card.toolTip().startswith("it needs the Python package luck;")
    assert not card.flags() & qt.Qt.ItemIsEnabled
    assert list(cards(panel))[-2:] == ["propagate", "specialist"]
    assert "section Data set" in cards(panel)["specialist"].toolTip()


def test_an_interrupted_run_is_resumed_in_the_panel(gate: Gate, panel: Panel) -> None:
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    panel.controller.suspend()
    gate.open()
    panel.until(lambda: "was interrupted: 2 of" in panel.status)
    assert emphasised(panel) == ["Resume"]
    assert panel.ui.cancelButton.text == "Discard"
    panel.click("resumeButton")
    panel.until(lambda: panel.state == "IDLE")
    assert panel.status == f"{len(panel.scene.between)} slices filled."
    assert panel.ui.resumeButton.isHidden()


def test_an_interrupted_run_is_discarded_in_the_panel(gate: Gate, panel: Panel) -> None:
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    before = panel.scene.arrays()
    panel.controller.suspend()
    panel.until(lambda: "was interrupted" in panel.status)
    panel.click("cancelButton")
    panel.until(lambda: panel.ui.cancelButton.isHidden())
    assert scene_cases.all_equal(panel.scene.arrays(), before)


def test_the_reason_of_an_aborted_run_is_shown_and_it_can_be_resumed(gate: Gate, panel: Panel) -> None:
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    volume_node = panel.scene.volume_node
    voxels = slicer.util.arrayFromVolume(volume_node).copy()
    slicer.util.updateVolumeFromArray(volume_node, np.ascontiguousarray(voxels[::-1]))
    gate.open()
    panel.until(lambda: "was interrupted" in panel.status)
    reason, interrupted = panel.status.splitlines()
    assert "changed during the run" in reason
    assert interrupted.startswith("A run with propagate was interrupted: ")
    slicer.util.updateVolumeFromArray(volume_node, voxels)
    panel.click("resumeButton")
    panel.until(lambda: panel.state == "IDLE")
    assert panel.status == f"{len(panel.scene.between)} slices filled."


def test_a_review_saved_in_a_bundle_is_restored_when_it_is_opened(panel: Panel, tmp_path: Path) -> None:
    panel.fill()
    review = panel.widget.logic.review
    panel.until(lambda: not panel.widget.reviewSection.busy and bool(review.view.rows))
    first, second = panel.scene.between[:2]
    review.accept([first])
    review.flag([second])
    rows = review.view.rows
    save_scene(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(False)
    panel.tick()
    assert not review.view.rows
    open_scene(tmp_path / "scene.mrb")
    panel.until(lambda: review.view.rows == rows)
    panel.until(lambda: panel.widget.reviewSection.table.rowCount == len(rows), 10.0)
    assert not panel.ui.reviewSection.collapsed


# --- all steps


def test_the_button_of_the_next_action_is_emphasised(gate: Gate, panel: Panel) -> None:
    assert emphasised(panel) == ["Fill"]
    panel.ui.slicesTable.blockSignals(False)
    for row in range(1, panel.ui.slicesTable.rowCount):
        panel.check("slicesTable", row, 0, False)
    panel.until(lambda: emphasised(panel) == ["Suggest next slice"])
    for row in range(1, panel.ui.slicesTable.rowCount):
        panel.check("slicesTable", row, 0, True)
    panel.until(lambda: emphasised(panel) == ["Fill"])
    panel.click("fillButton")
    panel.until(lambda: panel.state == "RUNNING")
    assert emphasised(panel) == []
    panel.controller.run.process.kill()
    panel.until(lambda: emphasised(panel) == ["Resume"])
    gate.open()
    panel.click("resumeButton")
    panel.until(lambda: emphasised(panel) == ["Next worst"])
    assert not panel.ui.reviewSection.collapsed
    panel.widget.reviewSection.accept_all_button.click()
    panel.widget.exportSection.path_edit.setCurrentPath("/nowhere/labels.dcm")
    panel.until(lambda: emphasised(panel) == ["Check"])


def test_after_a_run_that_was_stopped_early_the_rest_is_filled_before_the_export(gate: Gate, running: Panel) -> None:
    panel, export = running, running.widget.exportSection
    panel.click("keepButton")
    gate.open()
    panel.until(lambda: emphasised(panel) == ["Next worst"])
    export.path_edit.setCurrentPath("/nowhere/labels.dcm")
    panel.widget.reviewSection.accept_all_button.click()
    panel.until(lambda: panel.widget.reviewSection.all_reviewed)
    panel.until(lambda: emphasised(panel) == ["Fill"])
    assert not panel.widget.accordion.is_open("export")
    assert export.check_button.enabled
    selection = panel.widget.logic.annotations.snapshot(panel.scene.node).selection
    assert list(selection.labelled) == panel.scene.labelled  # what the run filled is not painted
    accepted = panel.widget.logic.review.accepted_slices
    assert 0 < len(accepted) < len(panel.scene.between)
    panel.click("nextButton")
    panel.until(lambda: emphasised(panel) == ["Next worst"])
    assert panel.widget.logic.review.accepted_slices == accepted
    panel.widget.reviewSection.accept_all_button.click()
    panel.until(lambda: emphasised(panel) == ["Check"])
    assert panel.widget.accordion.is_open("export")
    panel.parameters.fillAll = True
    panel.until(lambda: emphasised(panel) == ["Fill"])


def unexplained(panel: Panel, enabled_tips: dict[Any, str]) -> list[str]:
    """Disabled controls whose tool tip does not say why; `enabled_tips` collects the tool tips of enabled ones."""
    found = []
    for kind in CONTROLS:
        for widget in panel.widget.parent.findChildren(kind):
            name = widget.objectName or getattr(widget, "text", "") or type(widget).__name__
            parent = widget.parent()
            if (
                name.startswith("qt_")
                or isinstance(parent, CONTROLS)
                or widget.window() != panel.widget.parent.window()
            ):
                continue  # parts of Qt's own widgets, and drop-down lists
            if isinstance(widget, qt.QLineEdit) or (not widget.objectName and parent.toolTip):
                widget = parent  # the tool tip of a path edit is that of its line edit and button, too
            if widget.enabled:
                enabled_tips[widget] = tool_tip(widget)
            elif not parent.enabled and parent.toolTip:
                continue
            elif not tool_tip(widget) or tool_tip(widget) == enabled_tips.get(widget):
                found.append(f"{name}: {tool_tip(widget)}")
    return found


def test_once_every_slice_is_accepted_there_is_nothing_to_fill(panel: Panel) -> None:
    panel.fill()
    panel.until(lambda: panel.widget.reviewSection.accept_all_button.enabled)
    panel.widget.reviewSection.accept_all_button.click()
    panel.until(lambda: not panel.ui.fillButton.enabled)
    assert tool_tip(panel.ui.fillButton) == "Every slice is painted, corrected or accepted."
    assert panel.status == f"{len(panel.scene.between)} slices filled."
    panel.ui.segmentEditor.undo()
    panel.until(lambda: panel.ui.fillButton.enabled)


def test_a_segment_without_a_gap_between_its_slices_is_not_said_to_be_unpainted(
    open_panel: Callable[..., Panel],
) -> None:
    panel = open_panel(scene_of(case("ct_vertebrae"), step=1))
    panel.until(lambda: panel.status.startswith("There is no slice to fill: paint at least two slices"))
    assert panel.status == tool_tip(panel.ui.fillButton)


def test_every_disabled_control_states_the_reason_in_every_state(
    gate: Gate, open_panel: Callable[..., Panel]
) -> None:
    panel = open_panel()
    enabled_tips: dict[Any, str] = {}
    assert unexplained(panel, enabled_tips) == []
    vertebrae, axis = case("ct_vertebrae"), SliceAxis(0)
    volume_node = scene_cases.add_volume(vertebrae.volume)
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    assert unexplained(panel, enabled_tips) == []
    node = mrml.add_segmentation(volume_node, scene_cases.painted(vertebrae, axis, vertebrae.labelled(axis, 4)))
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ready()
    panel.until(lambda: panel.ui.engineList.count > 1)
    assert unexplained(panel, enabled_tips) == []
    gate.allow(2)
    panel.click("fillButton")
    assert unexplained(panel, enabled_tips) == []
    panel.until(lambda: panel.controller.progress.done == 2)
    assert unexplained(panel, enabled_tips) == []
    panel.controller.run.process.kill()
    panel.until(lambda: panel.state == "STOPPED")
    assert unexplained(panel, enabled_tips) == []
    panel.click("keepButton")
    panel.until(lambda: panel.state == "IDLE")
    panel.until(lambda: not panel.widget.busy)
    panel.tick()
    assert unexplained(panel, enabled_tips) == []


def test_shortcuts_press_buttons_while_the_module_is_open(panel: Panel) -> None:
    def installed() -> dict[str, Any]:
        shortcuts = slicer.util.mainWindow().findChildren(qt.QShortcut)
        return {shortcut.key.toString(): shortcut for shortcut in shortcuts}

    assert set(installed()) == set(KEYS.values())
    help_text = slicer.modules.FewShotAnnotateInstance.parent.helpText
    assert all(keys in help_text for keys in KEYS.values())
    panel.ui.sliceSpinBox.setValue(panel.scene.labelled[0])
    installed()["Ctrl+PgDown"].activated.emit()
    assert panel.ui.sliceSpinBox.value == panel.scene.labelled[1]
    panel.widget.parent.exit()
    assert installed() == {}
    panel.widget.parent.enter()
    panel.widget.parent.enter()
    assert len(slicer.util.mainWindow().findChildren(qt.QShortcut)) == len(KEYS)


def test_the_device_of_the_settings_reaches_the_run(panel: Panel) -> None:
    from fewshot_annotate.core.job import Device

    panel.parameters.engine = "adapt"
    panel.widget.logic.settings.device = Device.CPU
    settings = panel.widget.logic.fillSettings(panel.parameters)
    assert settings.device is Device.CPU
    panel.parameters.engine = "propagate"
    panel.widget.logic.settings.device = Device.CUDA
    assert panel.widget.logic.fillSettings(panel.parameters).device is Device.AUTO
    panel.widget.logic.settings.device = Device.AUTO


def test_a_fill_keeps_the_slices_that_were_accepted(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.fill()
    review = panel.widget.logic.review
    panel.until(lambda: any(row.needs_review for row in review.view.rows))
    accepted = next(row.index for row in review.view.rows if row.needs_review)
    review.accept([accepted])
    started: list[FillSettings] = []
    monkeypatch.setattr(panel.controller, "start", lambda nodes, settings: started.append(settings))
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: bool(started))
    assert started[0].keep == {accepted}


def test_volume_and_segmentation_under_a_transform_are_filled_and_followed(panel: Panel) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 40.0)
    transform.SetMatrixTransformToParent(matrix)
    for node in (panel.scene.volume_node, panel.scene.node):
        node.SetAndObserveTransformNodeID(transform.GetID())
    panel.until(lambda: panel.ui.inputsLabel.text.endswith("under a transform"))
    panel.fill()
    assert np.any(panel.scene.array(panel.scene.ids[0])[panel.scene.between])
