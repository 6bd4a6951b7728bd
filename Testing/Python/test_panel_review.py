"""The review in the panel, on the stand-in for PythonQt: real MRML, the real worker."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from support import scene_cases, slicer_standin
from support.panel import ARTIFACTS, tool_tip
from support.panel_themes import used_theme
from support.review_scene import ReviewScene
from support.scene_cases import Runs, case, scene_of

import ctk  # isort: skip
import qt  # isort: skip
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.host.annotation.record import SliceStatus
from fewshot_annotate.host.annotation.review_rows import Origin, RefillRequest, ReviewRow, worst_first
from fewshot_annotate.host.panel.review_section import ReviewSection
from PySide6.QtTest import QTest

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

ACCEPTED, FLAGGED, IN_PROGRESS = SliceStatus.ACCEPTED, SliceStatus.FLAGGED, SliceStatus.IN_PROGRESS


class Section:
    """The section alone, on a ReviewScene."""

    def __init__(self, review_scene: ReviewScene) -> None:
        self.review_scene = review_scene
        self.window = qt.QWidget()
        qt.QVBoxLayout(self.window)
        button = ctk.ctkCollapsibleButton()
        button.text = "Review"
        qt.QVBoxLayout(button)
        self.window.layout().addWidget(button)
        self.refills: list[RefillRequest] = []
        self.section = ReviewSection(button, review_scene.controller, self.refills.append)
        self.settle()

    def settle(self) -> None:
        self.review_scene.settle()
        self.section.poll()

    def press(self, name: str) -> None:
        button = getattr(self.section, f"{name}_button")
        assert button.enabled, button.toolTip
        button.click()
        self.settle()

    def select(self, *indices: int) -> None:
        """Select slices in the table, as with Ctrl pressed."""
        first = self.review_scene.controller.view.rows[0].index
        self.section.table.clearSelection()
        model = self.section.table.model()
        flags = qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
        for index in indices:
            self.section.table.selectionModel().select(model.index(index - first, 0), flags)

    @property
    def statuses(self) -> dict[int, str]:
        """Status of each slice in the table."""
        table = self.section.table
        return {int(table.item(row, 0).text().split()[0]): table.item(row, 1).text() for row in range(table.rowCount)}

    def reason(self, name: str) -> str:
        """Why a control cannot be used; it must be disabled."""
        control = getattr(self.section, name)
        assert not control.enabled
        return tool_tip(control)

    def picture(self, name: str, width: int = 400) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.window.show()
        for height in (100, self.window.layout().sizeHint().height()):
            self.window.resize(width, height)
            slicer_standin.process_events(20)
        assert self.window.width == width
        assert self.window.grab().save(str(ARTIFACTS / f"review_{name}_{width}.png"))


@pytest.fixture
def review_scene(
    reusing_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[ReviewScene]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slicer_standin.slot_errors.clear()
    runs = Runs(tmp_path)
    scene = ReviewScene(scene_of(case("ct_vertebrae"), step=8), runs, reusing_python)
    yield scene
    scene.close()
    runs.finish()
    assert not slicer_standin.slot_errors
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture
def section(review_scene: ReviewScene) -> Iterator[Section]:
    review_scene.fill()
    opened = Section(review_scene)
    yield opened
    opened.window.hide()
    opened.window.deleteLater()


@pytest.fixture
def dark() -> Iterator[None]:
    """The dark theme."""
    with used_theme("dark"):
        yield


def review_some(section: Section) -> None:
    """Accept three slices, flag one and correct one."""
    first, second, third, *_ = section.review_scene.scene.between
    section.select(first, second, third)
    section.press("accept")
    section.select(section.review_scene.scene.between[6])
    section.press("flag")
    section.review_scene.paint(section.review_scene.scene.between[9])
    section.settle()


def test_pictures_of_a_review_under_way(section: Section) -> None:
    review_some(section)
    section.picture("light")
    table = section.section.table
    longest = max(table.fontMetrics().horizontalAdvance(text) for text in ("In progress", "Not started"))
    assert table.columnWidth(1) > longest + 8


def test_pictures_of_a_review_under_way_in_the_dark_theme(dark: None, section: Section) -> None:
    review_some(section)
    section.picture("dark")


def test_before_the_first_fill_all_buttons_are_disabled_and_tool_tips_state_the_reason(
    review_scene: ReviewScene,
) -> None:
    section = Section(review_scene)
    buttons = [name for name in vars(section.section) if name.endswith(("_button", "_box"))]
    assert len(buttons) == 10
    for name in buttons:
        assert section.reason(name) == "Fill first: what was filled is reviewed here."
    assert section.section.summary_label.text == "Fill first: what was filled is reviewed here."


def test_selected_slices_are_accepted_flagged_and_reset(section: Section) -> None:
    first, second, *_ = section.review_scene.scene.between
    assert section.reason("accept_button") == "Select slices in the table first."
    section.select(first, second)
    section.press("accept")
    assert [section.statuses[index] for index in (first, second)] == ["Accepted", "Accepted"]
    assert section.reason("accept_button").startswith("Painted, corrected, accepted")
    section.select(second)
    section.press("flag")
    assert section.statuses[second] == "Flagged"
    section.select(first, second)
    section.press("reset")
    assert [section.statuses[index] for index in (first, second)] == ["In progress", "In progress"]
    assert section.reason("reset_button") == "None of the selected slices was accepted or flagged."


def test_painted_slices_are_distinguished_and_need_no_acceptance(section: Section) -> None:
    painted = section.review_scene.scene.labelled[1]
    assert section.statuses[painted] == "Painted"
    section.select(painted)
    assert not section.section.accept_button.enabled
    section.press("flag")
    assert section.statuses[painted] == "Flagged"


def test_the_worst_slice_is_selected_alone_and_shown_while_ctrl_is_held_too(section: Section) -> None:
    QTest.keyClick(section.section.table, qt.Qt.Key_PageDown, qt.Qt.ControlModifier)  # Qt keeps the modifier
    review_scene = section.review_scene
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToAxial()
    order = worst_first(review_scene.controller.view.rows)
    for index in order[:2]:
        section.press("worst")
        assert section.section.slices.selected == [index]
        assert review_scene.controller.current == index
    section.press("better")
    assert review_scene.controller.current == order[0]


def test_the_table_follows_the_slice_views_unless_several_slices_are_selected(section: Section) -> None:
    review_scene = section.review_scene
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToAxial()
    first, second, third, fourth, *_ = review_scene.scene.between
    review_scene.controller.jump(third)
    section.settle()
    assert section.section.slices.selected == [third]
    section.select(first, second)
    review_scene.controller.jump(fourth)
    section.settle()
    assert section.section.slices.selected == [first, second]


def test_a_click_on_the_strip_goes_to_the_slice(section: Section) -> None:
    rows = section.review_scene.controller.view.rows
    strip = section.section.strip.widget
    assert strip.columnCount == len(rows)
    strip.cellClicked.emit(0, 5)
    assert section.section.slices.selected == [rows[5].index]


def test_tool_tips_of_the_strip_have_the_position_of_the_slice_views(section: Section) -> None:
    review_scene = section.review_scene
    strip = section.section.strip.widget
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToAxial()
    for column in (0, 5):
        strip.cellClicked.emit(0, column)
        offset = view.GetSliceOffset()
        text = f"Slice {review_scene.controller.view.rows[column].index} ({'SI'[offset < 0]}: {abs(offset):.1f}):"
        assert strip.item(0, column).toolTip().startswith(text)


def test_the_worst_slice_is_shown_with_the_middle_of_what_is_uncertain_in_all_views(section: Section) -> None:
    review_scene, views = section.review_scene, []
    for orientation in ("Axial", "Sagittal", "Coronal"):
        views.append(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode"))
        views[-1].SetOrientation(orientation)
    contested = review_scene.controller.overlays.contested
    assert contested is not None
    ijk_to_ras = vtk.vtkMatrix4x4()
    review_scene.scene.volume_node.GetIJKToRASMatrix(ijk_to_ras)
    index = next(index for index in worst_first(review_scene.controller.view.rows) if index in contested.middles)
    while review_scene.controller.current != index:
        section.press("worst")
    voxel = list(contested.middles[index])
    voxel.insert(review_scene.scene.axis.index, index)
    expected = ijk_to_ras.MultiplyPoint((*voxel[::-1], 1.0))[:3]
    shape = slicer.util.arrayFromVolume(review_scene.scene.volume_node).shape
    assert any(abs(position - (size - 1) / 2) > 1 for position, size in zip(voxel, shape, strict=True))
    for view in views:
        plane = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        assert abs(plane[:3, 2] @ (np.array(expected) - plane[:3, 3])) < 1e-3, view.GetOrientation()


def test_colours_of_the_strip_show_status_and_confidence(section: Section) -> None:
    review_some(section)
    strip = section.section.strip.widget
    colours = {
        row.index: strip.item(0, column).background().color().name()
        for column, row in enumerate(section.review_scene.controller.view.rows)
    }
    rows = section.review_scene.rows
    by_kind = {
        kind: {colours[row.index] for row in rows.values() if (row.status, row.manual) == kind}
        for kind in {(row.status, row.manual) for row in rows.values()}
    }
    assert len(by_kind[ACCEPTED, False]) == len(by_kind[FLAGGED, False]) == 1
    assert len(by_kind[ACCEPTED, True]) == 2  # painted, and corrected
    assert len(by_kind[IN_PROGRESS, False]) > 5  # by confidence
    assert len(set().union(*by_kind.values())) == sum(map(len, by_kind.values()))


def test_a_cell_of_the_strip_shows_the_worst_of_its_slices(section: Section) -> None:
    rows = [
        ReviewRow(
            index=index,
            origin=Origin.FILLED,
            status=IN_PROGRESS if index % 7 else FLAGGED,
            confidence=0.5 + index / 2000,
        )
        for index in range(700)
    ]
    strip = section.section.strip
    strip.show(rows, 300)
    assert strip.widget.columnCount < 100
    flagged = strip.widget.item(0, 0).background().color().name()
    assert strip.widget.item(0, 0).toolTip() == "Slices 0 to 6, worst 0: flagged, confidence 0.50"
    assert sum(item.text() != "" for item in map(strip.widget.item, [0] * 96, range(96))) == 1
    assert flagged == strip.widget.item(0, 95).background().color().name()


def test_refill_fills_the_slices_that_are_not_accepted_unless_this_is_impossible(section: Section) -> None:
    first, second, *_ = section.review_scene.scene.between
    section.select(first, second)
    section.press("accept")
    section.press("refill")
    (request,) = section.refills
    assert request.keep == {first, second}
    section.section.disable_refill(InputError("run_under_way"))
    assert section.reason("refill_button") == "Wait for the run to end, or cancel it."
    section.section.disable_refill(None)
    section.press("accept_all")
    assert section.reason("refill_button") == "Every slice is painted, corrected or accepted."
    assert section.reason("worst_button") == "No slice is left to review."


def test_what_the_last_fill_changed_is_shown_by_a_tick_box(section: Section) -> None:
    box = section.section.differences_box
    box.click()
    section.settle()
    assert box.checked
    assert section.review_scene.controller.overlays.differences_shown
    box.click()
    section.settle()
    assert not box.checked
    assert not section.review_scene.controller.overlays.differences_shown
    section.section.reset()
    section.settle()
    assert (
        section.reason("differences_box") == "The changes of the last fill are known only until the scene is closed."
    )


def test_expected_dice_is_at_the_top(review_scene: ReviewScene) -> None:
    expected = {review_scene.scene.ids[0]: ExpectedDice(1, 0.8, 0.7, 0.9)}
    review_scene.fill()
    review_scene.annotations.change(
        review_scene.node, lambda one: one.with_along(0, replace(one.present, expected=expected))
    )
    section = Section(review_scene)
    assert section.section.expected_label.text == f"{review_scene.scene.ids[0]}: expected Dice 0.80 (0.70 to 0.90)"


def test_a_poor_expected_dice_is_announced(review_scene: ReviewScene) -> None:
    expected = {review_scene.scene.ids[0]: ExpectedDice(1, 0.6, 0.4, 0.8)}
    review_scene.fill()
    review_scene.annotations.change(
        review_scene.node, lambda one: one.with_along(0, replace(one.present, expected=expected))
    )
    section = Section(review_scene)
    text = section.section.expected_label.text
    assert "expected Dice only 0.60 (0.40 to 0.80)" in text
    assert "Suggest next slice" in text
    index = worst_first(review_scene.controller.view.rows)[0]
    assert text.endswith(f"The least certain slice is {index} ({review_scene.controller.positions()[index]}).")
    assert re.search(r"\([SI]: -?\d+\.\d\)\.$", text)
