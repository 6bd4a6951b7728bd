"""The panel's bar and its steps: the open step follows the work, and closed steps show their state."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.core.slice_axis import SliceAxis
from support import mrml, scene_cases, slicer_standin
from support.panel import Panel, tool_tip
from support.scene_cases import Gate, all_equal, case, scene_of

slicer_standin.install()

import qt  # noqa: E402
from PySide6.QtCore import Signal  # noqa: E402
from support.slicer_standin.qt_module import custom_widget  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("reused_runs")

SECTIONS = ("inputs", "paint", "fill", "review", "export", "tools")


@pytest.fixture
def panel(open_panel: Callable[..., Panel]) -> Panel:
    """The panel on the vertebrae, ready to fill."""
    panel = open_panel(scene_of(case("ct_vertebrae")))
    panel.ready()
    return panel


def open_sections(panel: Panel) -> list[str]:
    return [name for name in SECTIONS if not getattr(panel.ui, f"{name}Section").collapsed]


def wait_for_review(panel: Panel) -> None:
    panel.until(lambda: bool(panel.widget.logic.review.view.rows) and not panel.widget.reviewSection.busy)
    panel.tick()


def test_the_open_step_follows_the_work(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    assert open_sections(panel) == ["inputs"]
    original, axis = case("ct_vertebrae"), SliceAxis(0)
    volume_node = scene_cases.add_volume(original.volume)
    node = mrml.add_segmentation(volume_node, scene_cases.painted(original, axis, original.labelled(axis, 4)))
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.until(lambda: open_sections(panel) == ["paint"])
    panel.fill()
    panel.until(lambda: open_sections(panel) == ["review"])
    panel.until(lambda: panel.widget.reviewSection.accept_all_button.enabled)
    panel.widget.reviewSection.accept_all_button.click()
    panel.until(lambda: open_sections(panel) == ["export"])


def test_the_step_that_the_user_opened_stays_open_until_the_work_reaches_another(panel: Panel) -> None:
    panel.ui.fillSection.collapsed = False
    assert open_sections(panel) == ["fill"]
    panel.tick()
    assert open_sections(panel) == ["fill"]
    panel.ui.fillSection.collapsed = True
    panel.tick()
    assert open_sections(panel) == []
    panel.fill()
    panel.until(lambda: open_sections(panel) == ["review"])
    panel.ui.toolsSection.collapsed = False
    panel.tick()
    assert open_sections(panel) == ["tools"]


def test_an_open_tool_stays_open_when_the_work_reaches_another_step(panel: Panel) -> None:
    panel.ui.toolsSection.collapsed = False
    panel.fill()
    wait_for_review(panel)
    assert open_sections(panel) == ["tools"]


def test_each_closed_step_shows_its_state(panel: Panel) -> None:
    panel.widget.parent.resize(600, 900)
    panel.widget.parent.show()
    panel.widget.accordion.open("export")
    panel.until(
        lambda: panel.ui.paintSection.text == f"2  Label a few slices:  {len(panel.scene.labelled)} slices painted"
    )
    assert panel.ui.inputsSection.text == "1  Volume and segmentation:  Volume"
    assert panel.ui.exportSection.text == "5  Export"
    panel.fill()
    wait_for_review(panel)
    panel.widget.accordion.open("volume")
    filled = len(panel.scene.between)
    panel.until(lambda: panel.ui.reviewSection.text == f"4  Review:  {filled} filled, {filled} to review")


def test_the_button_of_the_bar_starts_the_next_action(gate: Gate, panel: Panel) -> None:
    assert panel.ui.nextButton.text == "Fill"
    gate.allow(2)
    panel.click("nextButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    assert panel.ui.nextButton.isHidden()
    assert not panel.ui.progressBar.isHidden()
    assert not panel.ui.cancelButton.isHidden()
    assert panel.status.startswith(f"2 of {len(panel.scene.between)} slices")
    gate.open()
    panel.until(lambda: panel.ui.nextButton.text == "Next worst" and not panel.ui.nextButton.isHidden())


def test_a_fill_is_undone_from_the_bar_until_something_is_painted(panel: Panel) -> None:
    before = panel.scene.arrays()
    assert panel.ui.undoFillButton.isHidden()
    panel.fill()
    panel.until(lambda: not panel.ui.undoFillButton.isHidden())
    panel.click("undoFillButton")
    assert all_equal(panel.scene.arrays(), before)
    panel.until(lambda: panel.ui.undoFillButton.isHidden())
    panel.fill()
    panel.until(lambda: not panel.ui.undoFillButton.isHidden())
    name = panel.scene.ids[0]
    mask = panel.scene.array(name)
    mask[panel.scene.between[0], 2:6, 2:6] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), panel.scene.node, name, panel.scene.volume_node
    )
    panel.until(lambda: panel.ui.undoFillButton.isHidden())


def test_after_the_undo_of_a_fill_the_next_action_is_to_fill_and_nothing_is_said_of_it(panel: Panel) -> None:
    panel.fill()
    wait_for_review(panel)
    section = panel.widget.reviewSection
    assert section.expected_label.text
    section.differences_box.checked = True
    panel.until(lambda: panel.widget.logic.review.overlays.differences_shown)
    panel.click("undoFillButton")
    panel.until(lambda: panel.ui.nextButton.text == "Fill" and not panel.ui.nextButton.isHidden())
    panel.tick()
    assert panel.widget.accordion.is_open("label")
    assert not section.all_reviewed
    assert not panel.widget.logic.review.overlays.differences_shown
    assert not section.differences_box.checked
    assert not section.differences_box.enabled
    assert (section.state_line, panel.widget.fillStep.state_line) == ("nothing filled yet", "Propagate")
    assert (panel.status, section.expected_label.text) == ("", "")
    panel.ui.segmentEditor.redo()
    filled = len(panel.scene.between)
    panel.until(lambda: section.state_line == f"{filled} filled, {filled} to review")
    panel.until(lambda: panel.ui.nextButton.text == "Next worst" and bool(section.expected_label.text))


@pytest.mark.parametrize("how", ["another segmentation", "scene closed"])
def test_how_the_last_run_ended_is_not_said_of_another_segmentation(panel: Panel, how: str) -> None:
    panel.fill()
    panel.tick()
    assert panel.status.startswith(f"{len(panel.scene.between)} slices filled.")
    if how == "scene closed":
        mrml.clear_scene()
    else:
        other = mrml.add_segmentation(panel.scene.volume_node, panel.scene.painted(), "Other")
        panel.ui.segmentationSelector.setCurrentNode(other)
    panel.tick()
    assert "slices filled" not in panel.status


def position(panel: Panel, index: int) -> str:
    """Position of an axial slice, worded as in Slicer's slice views."""
    geometry = panel.scene.case.volume.geometry
    offset = geometry.origin[2] + index * geometry.spacing[2] * geometry.direction[8]
    return f"{'S' if offset >= 0 else 'I'}: {offset:.1f}"


def test_the_position_of_a_slice_is_the_offset_shown_in_the_views(panel: Panel) -> None:
    panel.ui.sliceSpinBox.setValue(3)
    assert panel.ui.sliceSpinBox.text == f"Slice 3   {position(panel, 3)}"


def test_labelled_and_suggested_slices_have_their_offset_beside_the_number(panel: Panel) -> None:
    labelled = panel.scene.labelled
    assert [row[:2] for row in panel.rows("slicesTable")] == [(str(i), position(panel, i)) for i in labelled]
    panel.click("suggestButton")
    panel.until(lambda: panel.widget.logic.suggestion.result is not None)
    result, message = panel.widget.logic.suggestion.result, panel.ui.suggestionLabel.text
    assert message.startswith(f"Slice {result.index} ({position(panel, result.index)}): ")
    numbers = [value for value in result.reason.data.values() if isinstance(value, int)]
    assert numbers
    for number in numbers:
        assert f"{number} ({position(panel, number)})" in message


def test_uncertainty_of_a_run_is_shown_until_the_slice_is_accepted(panel: Panel) -> None:
    panel.fill()
    wait_for_review(panel)
    review, section = panel.widget.logic.review, panel.widget.reviewSection
    section.uncertainty_box.checked = True
    panel.until(lambda: review.overlays.uncertainty_shown)
    assert sum(np.count_nonzero(values) for values in uncertainty_voxels(review)) > 0
    section.accept_all_button.click()
    panel.until(lambda: section.all_reviewed)
    panel.until(lambda: not any(values.any() for values in uncertainty_voxels(review)))
    section.uncertainty_box.checked = False
    panel.until(lambda: not review.overlays.uncertainty_shown)


def uncertainty_voxels(review: object) -> list[np.ndarray]:
    """Voxels of the overlay of uncertainty."""
    from fewshot_annotate.host.review.run_overlays import UNCERTAINTY_ATTRIBUTE

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    overlays = [node for node in nodes if node.GetAttribute(UNCERTAINTY_ATTRIBUTE)]
    return [
        slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, node.GetSegmentation().GetNthSegmentID(0))
        for node in overlays
    ]


def test_one_click_fills_only_one_segment_and_its_volume_is_shown_before_and_after(panel: Panel) -> None:
    assert tool_tip(panel.ui.onlyThisButton) == "Click a segment in the table first."
    panel.ui.segmentsTable.selectRow(0)
    panel.click("onlyThisButton")
    selection = panel.widget.logic.annotations.snapshot(panel.scene.node).selection
    assert selection.segment_ids == (panel.scene.ids[0],)
    before = panel.rows("segmentsTable")[0][3]
    panel.fill()
    panel.until(lambda: " > " in panel.rows("segmentsTable")[0][3])
    assert panel.rows("segmentsTable")[0][3].split(" > ")[0] == before


def test_a_click_on_a_point_of_the_plot_goes_to_its_slice(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    view = PlotView()
    layout = SimpleNamespace(plotViewCount=1, plotWidget=lambda number: SimpleNamespace(plotView=lambda: view))
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: layout, raising=False)
    panel.fill()
    wait_for_review(panel)
    panel.widget.reviewSection.plot_button.click()
    chart = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")[0]
    ids, points, chosen = vtk.vtkStringArray(), vtk.vtkCollection(), vtk.vtkIdTypeArray()
    ids.InsertNextValue(chart.GetNthPlotSeriesNodeID(0))
    chosen.InsertNextValue(3)
    points.AddItem(chosen)
    view.dataSelected.emit(ids, points)
    index_of_row = panel.widget.logic.review.view.rows[3].index
    section = panel.widget.reviewSection
    assert [index.row() for index in section.table.selectionModel().selectedRows()] == [3]
    assert section.table.item(3, 0).text().startswith(str(index_of_row))


@custom_widget
class PlotView(qt.QWidget):
    """Stand-in for qMRMLPlotView."""

    dataSelected = Signal(object, object)  # noqa: N815 (as in Slicer)
    SIGNALS: ClassVar[dict[str, str]] = {"dataSelected(vtkStringArray*,vtkCollection*)": "dataSelected"}


def test_unused_height_lies_below_the_list_of_slices(panel: Panel) -> None:
    parent, ui = panel.widget.parent, panel.ui
    panel.widget.accordion.open("label")
    parent.resize(400, 900)
    parent.show()
    slicer_standin.process_events(200)
    top, bottom = (widget.mapTo(parent, qt.QPoint(0, 0)).y() for widget in (ui.sliceSpinBox, ui.slicesTable))
    assert 0 <= top - (bottom + ui.slicesTable.height) < 20
