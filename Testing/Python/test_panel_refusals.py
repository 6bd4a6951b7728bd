"""Refusals of the panel: each disabled control has its reason, and unusable input is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.engines.registry import engine_names
from support import scene_cases, slicer_standin
from support.panel import Panel, tool_tip
from support.scene_cases import all_equal, case

slicer_standin.install()


pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


def test_every_disabled_control_states_the_reason(open_panel: Callable[..., Panel]) -> None:
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
        assert tool_tip(button) == reason
    assert panel.status == "Choose a volume first."
    volume_node = scene_cases.add_volume(case("ct_vertebrae").volume)
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    assert tool_tip(panel.ui.fillButton) == "Choose or create a segmentation first."
    node = panel.ui.segmentationSelector.addNode()
    assert panel.parameters.segmentation is node
    panel.until(lambda: tool_tip(panel.ui.fillButton) == "Paint at least two slices first.")
    assert panel.ui.markSliceButton.enabled
    node.GetSegmentation().AddEmptySegment("a", "a")
    mask = np.zeros(case("ct_vertebrae").volume.array.shape, np.uint8)
    mask[5, 10:20, 10:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "a", volume_node)
    panel.until(lambda: tool_tip(panel.ui.fillButton) == "Paint one more slice: there are no slices between yet.")
    panel.ui.fillAllCheckBox.setChecked(True)
    panel.until(lambda: panel.ui.fillButton.enabled)


def test_controls_disabled_by_a_run_state_the_reason(running: Panel) -> None:
    for name in ("fillButton", "volumeSelector", "segmentationSelector"):
        assert not getattr(running.ui, name).enabled
        assert tool_tip(getattr(running.ui, name)) == "Wait for the run to end, or cancel it."
    assert running.status.startswith(f"2 of {len(running.scene.between)} slices")
    running.click("keepButton")
    assert running.status == "Stopping after the current slice ..."
    assert tool_tip(running.ui.keepButton) == "The finished slices are being kept."
    running.click("cancelButton")
    assert running.ui.fillButton.enabled


def test_a_volume_chosen_after_the_segmentation_starts_the_survey(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    panel.ui.segmentationSelector.addNode()
    panel.tick()
    assert panel.status == "Choose a volume first."
    scene_cases.add_volume(case("ct_vertebrae").volume)
    panel.ui.volumeSelector.setCurrentNodeIndex(0)
    panel.until(lambda: panel.status == "Paint at least two slices first.")


def test_an_unusable_selection_is_refused_in_one_sentence(panel: Panel) -> None:
    panel.ready()
    assert panel.scene.node.CreateClosedSurfaceRepresentation()
    panel.scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    panel.until(lambda: not panel.ui.fillButton.enabled)
    assert panel.status == tool_tip(panel.ui.fillButton)
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


def _set_elsewhere(panel: Panel) -> None:
    panel.parameters.volume = scene_cases.add_volume(case("ct_vertebrae").volume, "Other patient")
    panel.parameters.volume.SetOrigin(5000.0, 0.0, 0.0)


def _set_engine(panel: Panel) -> None:
    panel.parameters.engine = "unknown"


@pytest.mark.parametrize(
    ("set_unusable", "sentence"),
    [
        (_set_vector, "Volume 'Colours' is not a single-channel 3D volume; choose another one."),
        (_set_empty, "Volume 'Nothing' holds no voxels; choose another one."),
        (
            _set_elsewhere,
            "Volume 'Other patient' covers nothing of segmentation 'Segmentation'; "
            "choose the volume that it belongs to.",
        ),
        (
            _set_engine,
            f"There is no engine named 'unknown'; choose one of: {', '.join(['auto', *engine_names()])}.",
        ),
    ],
)
def test_refused_input_is_reported_in_a_dialog_and_changes_nothing(
    panel: Panel, set_unusable: Callable[[Panel], None], sentence: str
) -> None:
    before = panel.scene.arrays()
    set_unusable(panel)
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: bool(slicer_standin.dialogs().texts))
    assert slicer_standin.dialogs().texts == [sentence]
    assert panel.state == "IDLE"
    assert panel.ui.fillButton.enabled
    assert all_equal(panel.scene.arrays(), before)


def test_an_unusable_volume_is_reported_in_the_panel(panel: Panel) -> None:
    slicer.util.updateVolumeFromArray(
        panel.scene.volume_node, np.full(panel.scene.case.volume.array.shape, np.nan, np.float32)
    )
    panel.fill()
    assert panel.status == (
        f"Volume 'Volume': voxels that are not finite numbers: {panel.scene.case.volume.array.size}; "
        "replace them before labelling."
    )
