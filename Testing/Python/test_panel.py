"""The panel on the stand-in for PythonQt: real MRML, the real worker, real cases. No proof about PythonQt itself."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.engines.registry import engine_names
from support import mrml, scene_cases, slicer_standin, stepwise
from support.panel import Panel
from support.scene_cases import Gate, all_equal, case, scene_of

slicer_standin.install()

import qt  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    """The panel on the hippocampus."""
    return open_panel(scene_of(case("ct_vertebrae")))


@pytest.fixture
def running(gate: Gate, panel: Panel) -> Panel:
    """A run whose first two slices are finished."""
    gate.allow(2)
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    return panel


def test_a_fill_in_the_panel_fills_between_and_is_undone_in_one_step(panel: Panel) -> None:
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
    assert panel.rows("slicesTable") == [
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


def test_a_painted_slice_appears_in_the_list_without_being_asked_for(panel: Panel) -> None:
    panel.ready()
    name, index = panel.scene.ids[0], panel.scene.labelled[1] + 1
    mask = panel.scene.array(name)
    mask[index] = panel.scene.case.masks[name][index]
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), panel.scene.node, name, panel.scene.volume_node
    )
    panel.until(lambda: (str(index), name) in panel.rows("slicesTable"))


def test_a_slice_painted_just_before_fill_is_pressed_counts(panel: Panel) -> None:
    panel.ready()
    name, index = panel.scene.ids[0], panel.scene.labelled[1] + 2
    mask = panel.scene.array(name)
    mask[index, 2:9, 3:8] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), panel.scene.node, name, panel.scene.volume_node
    )
    panel.click("fillButton")
    assert panel.status == "Looking at the painted slices ..."
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
    assert (str(marked), "nothing here") in panel.rows("slicesTable")
    before = panel.scene.arrays()
    panel.fill()
    after = panel.scene.arrays()
    assert not any(mask[marked].any() for mask in after.values())
    assert any(not np.array_equal(after[name][left_out], before[name][left_out]) for name in panel.scene.ids)


def test_a_segment_not_chosen_and_a_locked_one_are_left_alone(panel: Panel) -> None:
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


def test_an_axis_chosen_by_hand_counts(panel: Panel) -> None:
    panel.ready()
    panel.ui.axisComboBox.setCurrentIndex(3)
    assert panel.widget.logic.annotations.snapshot(panel.scene.node).selection.axis == 2
    panel.ui.axisComboBox.setCurrentIndex(0)
    assert panel.widget.logic.annotations.snapshot(panel.scene.node).selection.axis == 0


def test_clicking_a_slice_goes_there_and_the_slice_number_follows_the_view(panel: Panel) -> None:
    panel.ready()
    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view.SetSingletonTag("Red")
    slicer.mrmlScene.AddNode(view)
    panel.ui.slicesTable.cellClicked.emit(2, 0)
    assert panel.ui.sliceSpinBox.value == panel.scene.labelled[2]
    middle = panel.scene.volume_node.GetImageData().GetDimensions()
    for index in (1, panel.scene.labelled[1]):
        point = [0.0, 0.0, 0.0, 1.0]
        matrix = vtk.vtkMatrix4x4()
        panel.scene.volume_node.GetIJKToRASMatrix(matrix)
        matrix.MultiplyPoint((middle[0] / 2, middle[1] / 2, index, 1.0), point)
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *point[:3])
        panel.until(lambda index=index: panel.ui.sliceSpinBox.value == index)


def test_every_disabled_control_says_why(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    expected = {
        "fillButton": "Choose a volume first.",
        "keepButton": "No slice is finished yet.",
        "cancelButton": "Nothing is running.",
        "markSliceButton": "Choose a volume and a segmentation first.",
        "suggestButton": "Choose a volume and a segmentation first.",
    }
    for name, reason in expected.items():
        button = getattr(panel.ui, name)
        assert not button.enabled
        assert button.toolTip == reason
    assert panel.status == "Choose a volume first."
    volume_node = scene_cases.add_volume(case("ct_vertebrae").volume)
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    assert panel.ui.fillButton.toolTip == "Choose or create a segmentation first."
    node = panel.ui.segmentationSelector.addNode()
    assert panel.parameters.segmentation is node
    panel.until(lambda: panel.ui.fillButton.toolTip == "Paint at least two slices first.")
    assert panel.ui.markSliceButton.enabled
    node.GetSegmentation().AddEmptySegment("a", "a")
    mask = np.zeros(case("ct_vertebrae").volume.array.shape, np.uint8)
    mask[5, 10:20, 10:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "a", volume_node)
    panel.until(lambda: panel.ui.fillButton.toolTip == "Paint one more slice: nothing lies between yet.")
    panel.ui.fillAllCheckBox.setChecked(True)
    panel.until(lambda: panel.ui.fillButton.enabled)


def test_controls_disabled_by_a_run_say_so(running: Panel) -> None:
    for name in ("fillButton", "volumeSelector", "segmentationSelector"):
        assert not getattr(running.ui, name).enabled
        assert getattr(running.ui, name).toolTip == "Wait for the run to end, or cancel it."
    assert running.status.startswith(f"2 of {len(running.scene.between)} slices")
    running.click("keepButton")
    assert running.status == "Stopping after the slice at hand ..."
    assert running.ui.keepButton.toolTip == "The finished slices are being kept."
    running.click("cancelButton")
    assert running.ui.fillButton.enabled


def test_a_segmentation_without_geometry_gets_that_of_the_volume(open_panel: Callable[..., Panel]) -> None:
    scene = scene_of(case("ct_vertebrae"))
    bare = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Bare")
    panel = open_panel(scene)
    panel.ui.segmentationSelector.setCurrentNode(bare)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    own, other = (node.GetSegmentation().GetConversionParameter(name) for node in (bare, scene.node))
    assert own.split(";")[:16] == other.split(";")[:16]


def test_a_volume_chosen_after_the_segmentation_starts_the_look_at_it(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    panel.ui.segmentationSelector.addNode()
    slicer_standin.process_events(250)
    assert panel.status == "Choose a volume first."
    scene_cases.add_volume(case("ct_vertebrae").volume)
    panel.ui.volumeSelector.setCurrentNodeIndex(0)
    panel.until(lambda: panel.status == "Paint at least two slices first.")


def test_what_cannot_be_surveyed_is_said_in_one_sentence(panel: Panel) -> None:
    panel.ready()
    assert panel.scene.node.CreateClosedSurfaceRepresentation()
    panel.scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    panel.until(lambda: not panel.ui.fillButton.enabled)
    assert panel.status == panel.ui.fillButton.toolTip
    assert panel.status.startswith("Segmentation 'Segmentation' is stored as Closed surface; make")


def _set_vector(panel: Panel) -> None:
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 5, 6)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vector.SetAndObserveImageData(image)
    panel.parameters.volume = vector


def _set_empty(panel: Panel) -> None:
    panel.parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")


def _set_engine(panel: Panel) -> None:
    panel.parameters.engine = "divination"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_set_vector, "Volume 'Colours' is not a single-channel 3D volume; choose another one."),
        (_set_empty, "Volume 'Nothing' holds no voxels; choose another one."),
        (
            _set_engine,
            f"There is no engine named 'divination'; choose one of: {', '.join(['auto', *engine_names()])}.",
        ),
    ],
)
def test_input_that_is_refused_is_told_in_a_dialog_and_changes_nothing(
    panel: Panel, spoil: Callable[[Panel], None], sentence: str
) -> None:
    before = panel.scene.arrays()
    spoil(panel)
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: bool(slicer_standin.dialogs().texts))
    assert slicer_standin.dialogs().texts == [sentence]
    assert panel.state == "IDLE"
    assert panel.ui.fillButton.enabled
    assert all_equal(panel.scene.arrays(), before)


def test_an_unusable_volume_is_told_in_the_panel(panel: Panel) -> None:
    slicer.util.updateVolumeFromArray(
        panel.scene.volume_node, np.full(panel.scene.case.volume.array.shape, np.nan, np.float32)
    )
    panel.fill()
    assert panel.status == (
        f"Volume 'Volume': {panel.scene.case.volume.array.size} voxels are not finite numbers; "
        "replace them before labelling."
    )


def test_the_panel_and_the_parameter_node_follow_each_other(panel: Panel) -> None:
    parameters, ui = panel.parameters, panel.ui
    boxes = {"fillAll": "fillAllCheckBox", "complete": "completeCheckBox", "mayOverwrite": "overwriteCheckBox"}
    for name, box in boxes.items():
        for value in (True, False):
            setattr(parameters, name, value)
            assert getattr(ui, box).checked is value
            getattr(ui, box).setChecked(not value)
            assert getattr(parameters, name) is not value
    panel.until(lambda: ui.engineList.count > 1)
    names = [ui.engineList.item(row).data(qt.Qt.UserRole) for row in range(ui.engineList.count)]
    ui.engineList.setCurrentRow(names.index("propagate"))
    assert parameters.engine == "propagate"
    parameters.engine = "auto"
    assert ui.engineList.currentRow == names.index("auto") == 0
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    ui.segmentationSelector.setCurrentNode(other)
    assert parameters.segmentation is other
    assert ui.segmentEditor.segmentationNode() is other
    parameters.segmentation = panel.scene.node
    assert ui.segmentationSelector.currentNode() is panel.scene.node
    assert ui.segmentEditor.segmentationNode() is panel.scene.node
    copy = scene_cases.add_volume(panel.scene.case.volume, "Copy")
    ui.volumeSelector.setCurrentNode(copy)
    assert parameters.volume is copy
    assert ui.segmentEditor.sourceVolumeNode() is copy
    parameters.volume = panel.scene.volume_node
    assert ui.volumeSelector.currentNode() is panel.scene.volume_node
    assert ui.segmentEditor.sourceVolumeNode() is panel.scene.volume_node


def test_the_preview_does_not_show_in_the_selector(running: Panel) -> None:
    assert running.ui.segmentationSelector.nodeCount() == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_the_module_left_during_a_run_lets_it_finish(gate: Gate, running: Panel) -> None:
    running.widget.parent.exit()
    gate.open()
    running.until(lambda: running.state == "IDLE")
    assert running.scene.array(running.scene.ids[0])[running.scene.between].any()
    running.until(lambda: not running.widget._timer.active)
    running.widget.parent.enter()
    running.ready()
    assert running.status == f"{len(running.scene.between)} slices filled."


def test_leaving_and_entering_again_connects_nothing_anew(panel: Panel) -> None:
    parameters, tag = panel.parameters, panel.widget._parameterNodeGuiTag
    for _ in range(3):
        panel.widget.parent.exit()
        panel.widget.parent.enter()
    assert panel.parameters is parameters
    assert panel.widget._parameterNodeGuiTag == tag
    assert panel.widget._timer.active


def test_cancel_leaves_everything_as_it_was(running: Panel) -> None:
    before = running.scene.arrays()
    running.click("cancelButton")
    assert running.state == "IDLE"
    assert running.status == "Cancelled; nothing was changed."
    assert all_equal(running.scene.arrays(), before)
    assert running.ui.fillButton.enabled
    assert running.ui.progressBar.isHidden()


def test_a_dead_worker_offers_to_resume_keep_or_cancel(gate: Gate, running: Panel) -> None:
    running.controller._run.process.kill()
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


@pytest.mark.parametrize("while_running", [False, True])
def test_a_closed_scene_leaves_an_empty_panel_that_works_again(
    open_panel: Callable[..., Panel], gate: Gate, while_running: bool
) -> None:
    panel = open_panel(scene_of(case("ct_vertebrae")))
    panel.ready()
    if while_running:
        panel.click("fillButton")
        panel.until(lambda: panel.state == "RUNNING")
    mrml.clear_scene()
    slicer_standin.process_events(300)
    assert panel.state == "IDLE"
    assert panel.parameters.volume is None
    assert panel.rows("slicesTable") == []
    assert panel.rows("segmentsTable") == []
    assert panel.ui.fillButton.toolTip == "Choose a volume first."
    assert panel.status == "Choose a volume first."
    gate.open()
    given = case("ct_vertebrae")
    volume_node = scene_cases.add_volume(given.volume)
    labelled = given.labelled(scene_cases.SliceAxis(0), 4)
    node = mrml.add_segmentation(volume_node, scene_cases.painted(given, scene_cases.SliceAxis(0), labelled))
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.fill()
    assert panel.status.endswith("slices filled.")


def test_nodes_removed_one_by_one_leave_the_panel_whole(panel: Panel) -> None:
    panel.ready()
    slicer.mrmlScene.RemoveNode(panel.scene.node)
    slicer_standin.process_events(250)
    assert panel.parameters.segmentation is None
    assert panel.ui.fillButton.toolTip == "Choose or create a segmentation first."
    slicer.mrmlScene.RemoveNode(panel.scene.volume_node)
    slicer_standin.process_events(250)
    assert panel.ui.fillButton.toolTip == "Choose a volume first."


def test_a_reload_during_a_run_ends_it_and_gives_a_working_panel(
    gate: Gate, running: Panel, library: dict[str, types.ModuleType]
) -> None:
    before = running.scene.arrays()
    old = running.widget
    controller = "fewshot_annotate.host.fill.controller"
    old.onReload()
    running.widget = slicer.modules.FewShotAnnotateWidget
    running.ui = running.widget.ui
    assert running.widget is not old
    assert sys.modules[controller] is not library[controller]
    assert old.logic.controller.state.name == "IDLE"
    assert all_equal(running.scene.arrays(), before)
    gate.open()
    running.parameters.engine = "propagate"
    running.fill()
    assert running.scene.array(running.scene.ids[0])[running.scene.between].any()


def test_the_editor_node_is_our_own_and_shown_in_the_panel(panel: Panel) -> None:
    node = panel.ui.segmentEditor.mrmlSegmentEditorNode()
    assert node.GetSingletonTag() == "FewShotAnnotate"
    assert panel.ui.segmentEditor.segmentationNode() is panel.scene.node
    assert panel.ui.segmentEditor.sourceVolumeNode() is panel.scene.volume_node


def test_shortcuts_and_view_observations_come_and_go_with_the_module(panel: Panel) -> None:
    calls = panel.ui.segmentEditor.calls
    assert {"setupViewObservations", "installKeyboardShortcuts"} <= set(calls)
    calls.clear()
    panel.widget.parent.exit()
    assert {"uninstallKeyboardShortcuts", "removeViewObservations", "setActiveEffect()"} <= set(calls)


class _SampleData(types.ModuleType):
    """Stand-in for Slicer's SampleData module: notes what is registered."""

    def __init__(self) -> None:
        super().__init__("SampleData")
        registered = self.registered = []

        class SampleDataLogic:
            @staticmethod
            def registerCustomSampleDataSource(**what: Any) -> None:
                registered.append(what)

        self.SampleDataLogic = SampleDataLogic


def test_sample_data_is_registered_with_checksums_once_the_application_has_started(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = _SampleData()
    monkeypatch.setitem(sys.modules, "SampleData", samples)
    panel.module.register_sample_data()
    assert len(samples.registered) == 2
    for sample in samples.registered:
        kind, digest = sample["checksums"].split(":")
        assert kind == "SHA256"
        assert len(digest) == 64
        assert sample["uris"].endswith(digest)


def test_the_panel_tells_drafts_from_refined_slices_and_the_expected_dice(
    python_with_stepwise: str, gate: Gate, open_panel: Callable[..., Panel]
) -> None:
    panel = open_panel(scene_of(case("ct_vertebrae")))
    panel.controller._python = python_with_stepwise
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
    assert re.fullmatch(rf"2 of {count} slices refined, \d+ s left", lines[0])
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


def test_pictures_of_the_panel_are_taken(open_panel: Callable[..., Panel], gate: Gate) -> None:
    panel = open_panel(scene_of(case("ct_liver", 1), step=5))
    panel.ready()
    panel.widget.parent.show()
    sizes = {width: panel.picture("idle", width).width() for width in (460, 400)}
    assert sizes == {460: 460, 400: 400}
    gate.allow(4)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 4)
    panel.picture("running")
    panel.controller._run.process.kill()
    panel.until(lambda: panel.state == "STOPPED")
    panel.picture("stopped")
    panel.picture("stopped", 400)
    gate.open()
    panel.click("resumeButton")
    panel.until(lambda: panel.state == "IDLE")
    panel.picture("finished")
    panel.scene.node.CreateClosedSurfaceRepresentation()
    panel.scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    panel.until(lambda: not panel.ui.fillButton.enabled)
    assert panel.status.startswith("Segmentation 'Segmentation' is stored as Closed surface")
    panel.picture("error")
