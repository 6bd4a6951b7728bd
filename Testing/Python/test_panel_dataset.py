"""A data set or batch reviewed in the panel, on the stand-in for PythonQt: real MRML, real files."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.datasets import reviewing
from fewshot_annotate.datasets.case_table import CaseRow, ReviewState
from fewshot_annotate.datasets.review_lock import ReviewLock, reviewer_name
from fewshot_annotate.datasets.reviewing import ReviewTable, read_review_table
from fewshot_annotate.datasets.task.library import remove_task, task_folder
from fewshot_annotate.datasets.task.task import read_task
from fewshot_annotate.host.datasets import case_review
from fewshot_annotate.host.datasets.case_review import CaseReview
from support import mrml, slicer_standin
from support.batches import Dataset, copy_of, finish_but_one, make_dataset
from support.panel import Panel, tool_tip
from support.pauses import busy_seconds
from support.processes import poll_while_busy
from support.tasks import ball, task_of_balls, write_ball

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")

MAX_PAUSE_SECONDS = 0.05


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A batch of three cases, one of which failed. Tests work on copies."""
    dataset = make_dataset(tmp_path_factory.mktemp("batch"), ["a", "b"])
    finish_but_one(dataset)
    return dataset


@pytest.fixture
def dataset(finished: Dataset, tmp_path: Path) -> Dataset:
    return copy_of(finished, tmp_path)


class DatasetPanel(Panel):
    """The panel with the section of data sets opened."""

    def __init__(self) -> None:
        super().__init__(None)
        self.section = self.widget.datasetSection
        self.controls = self.section.controls
        self.collapsed_at_first = self.ui.datasetSection.collapsed
        self.widget.accordion.open("tools")
        self.ui.datasetSection.collapsed = False

    @property
    def review(self) -> CaseReview:
        """The review of the folder that is open."""
        return self.section.controller.review

    def settle(self) -> None:
        """Let the timer show what happened."""
        self.tick()
        self.until(lambda: not self.section.busy)

    def press(self, name: str) -> None:
        """Press a button and wait for what follows."""
        button = getattr(self.controls, f"{name}_button")
        self.until(lambda: button.enabled)
        button.click()
        self.settle()

    def open(self, folder: Path) -> None:
        """Open a folder."""
        self.controls.folder_edit.setCurrentPath(str(folder))
        self.press("open")

    def click_case(self, row: int) -> None:
        """Click a row of the table."""
        assert self.controls.table.enabled, self.controls.table.toolTip
        self.controls.table.cellClicked.emit(row, 0)
        self.settle()

    def case_rows(self) -> list[tuple[str, ...]]:
        """Texts of the table."""
        table = self.controls.table
        return [tuple(table.item(row, column).text() for column in range(3)) for row in range(table.rowCount)]

    def case_text(self, row: int) -> str | None:
        """Name of a case in the table; None if the row is not shown yet."""
        cell = self.controls.table.item(row, 0)
        return None if cell is None else cell.text()

    def edit(self) -> np.ndarray:
        """Empty some slices of the first segment; returns its mask after that."""
        node = self.review.nodes.segmentation
        name = node.GetSegmentation().GetNthSegmentID(0)
        mask = mrml.segment_array(node, name)
        mask[: len(mask) // 2] = False
        volume = self.review.nodes.volume
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, name, volume)
        return mask


@pytest.fixture
def panel(clean: None, dataset: Dataset) -> Iterator[DatasetPanel]:
    mrml.new_scene()
    opened = DatasetPanel()
    assert opened.collapsed_at_first
    opened.open(dataset.output)
    yield opened
    slicer_standin.close_module(opened.widget)
    mrml.clear_scene()


@pytest.fixture
def panel_with_task(panel: DatasetPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetPanel:
    """The panel after the choice of a task of two examples."""
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    task_of_balls("balls", 1, 2)
    panel.controls.task_box.setEditText("balls")
    panel.press("task")
    return panel


def test_the_cases_are_listed_with_their_status(panel: DatasetPanel) -> None:
    rows = panel.case_rows()
    assert [row[:2] for row in rows] == [("a", "filled"), ("failed", "failed"), ("b", "filled")]
    assert [bool(re.fullmatch(r"0\.\d\d", expected_dice)) for _, _, expected_dice in rows] == [True, False, True]
    assert "row 3: " in panel.controls.table.item(1, 1).toolTip()
    assert panel.controls.status_label.text == "0 of 3 cases accepted."


def test_a_click_loads_image_and_result_into_the_editor(panel: DatasetPanel) -> None:
    panel.click_case(0)
    review = panel.review
    assert review.current == "a"
    assert panel.parameters.volume is review.nodes.volume
    assert panel.parameters.segmentation is review.nodes.segmentation
    assert panel.ui.segmentEditor.segmentationNode() is review.nodes.segmentation
    panel.picture("batch")
    panel.click_case(2)
    assert panel.parameters.segmentation is panel.review.nodes.segmentation
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_accept_and_next_go_through_the_batch_and_the_table_is_written(panel: DatasetPanel, dataset: Dataset) -> None:
    panel.press("next")
    panel.press("accept")
    assert panel.case_rows()[0][:2] == ("a", "accepted")
    assert dataset.status()["a"].accepted
    assert tool_tip(panel.controls.accept_button) == "It is accepted already."
    panel.press("reset")
    assert not dataset.status()["a"].accepted
    panel.press("accept_next")
    assert panel.review.current == "b"
    assert panel.parameters.segmentation.GetName() == "b"
    panel.press("accept_next")
    assert [row.accepted for row in dataset.status().values()] == [True, False, True]
    assert tool_tip(panel.controls.next_button) == "No other case waits for its review."
    assert panel.controls.status_label.text == "b\n2 of 3 cases accepted."


def test_a_correction_is_written_when_it_is_accepted(panel: DatasetPanel, dataset: Dataset) -> None:
    panel.click_case(0)
    before = dataset.case("a").label.read_bytes()
    mask = panel.edit()
    panel.settle()
    assert panel.controls.status_label.text.startswith("a, edited")
    panel.press("accept")
    assert dataset.case("a").filled.read_bytes() == before
    panel.click_case(2)
    panel.click_case(0)
    node = panel.review.nodes.segmentation
    np.testing.assert_array_equal(mrml.segment_array(node, node.GetSegmentation().GetNthSegmentID(0)), mask)


def test_an_edited_case_is_closed_only_with_consent(panel: DatasetPanel) -> None:
    panel.click_case(0)
    panel.edit()
    slicer_standin.dialogs().answer_next("Cancel")
    panel.click_case(2)
    assert panel.review.current == "a"
    assert slicer_standin.dialogs().texts == ["The result of a was edited and not accepted. Lose the changes?"]
    panel.click_case(2)
    assert panel.review.current == "b"


def test_a_case_without_a_result_and_a_folder_without_a_batch_are_refused(
    panel: DatasetPanel, tmp_path: Path
) -> None:
    panel.click_case(1)
    panel.open(tmp_path)
    first, second = slicer_standin.dialogs().texts
    assert first.startswith("Case 'failed' has no result")
    assert "it holds other files and no batch" in second
    assert len(panel.case_rows()) == 3


def test_every_disabled_control_states_the_reason_and_a_closed_scene_closes_the_folder(panel: DatasetPanel) -> None:
    controls = panel.controls
    assert tool_tip(controls.accept_button) == tool_tip(controls.reset_button) == "Click a case first."
    panel.click_case(0)
    mrml.clear_scene()
    panel.settle()
    assert panel.case_rows() == []
    for control in (
        controls.table,
        controls.accept_button,
        controls.accept_next_button,
        controls.next_button,
        controls.refresh_button,
    ):
        assert not control.enabled
        assert tool_tip(control) == "Open a data set first."
    controls.folder_edit.setCurrentPath("")
    panel.settle()
    assert tool_tip(controls.open_button) == "Choose a folder first."


def test_a_table_of_a_thousand_cases_is_shown_in_short_steps(panel: DatasetPanel, dataset: Dataset) -> None:
    view, picture = panel.controls.view, dataset.case("a").preview
    rows = [
        CaseRow(name=f"case{number}", state=ReviewState.FILLED, expected={}, picture=picture)
        for number in range(1000)
    ]
    steps = [busy_seconds(lambda: view.show(rows, None))]
    while panel.case_text(999) is None:
        steps.append(busy_seconds(view.poll))
    assert max(steps) < MAX_PAUSE_SECONDS
    assert [panel.case_text(number) for number in range(1000)] == [row.name for row in rows]
    rows[500] = replace(rows[500], state=ReviewState.ACCEPTED)
    view.show(rows, None)
    assert panel.controls.table.item(500, 1).text() == "accepted"
    icon = panel.controls.table.item(0, 0).icon
    while icon().isNull():
        view.poll()
    (size,) = icon().availableSizes()
    assert 44 <= size.height() <= 100, "a thousand whole pictures need gigabytes"


def test_the_table_of_a_folder_is_read_in_the_thread(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def read(*arguments: str) -> ReviewTable:
        threads.append(threading.current_thread())
        return read_review_table(*arguments)

    monkeypatch.setattr(case_review, "read_review_table", read)
    mrml.new_scene()
    review = CaseReview(slicer.mrmlScene, dataset.output)
    assert not review.cases
    poll_while_busy(review)
    assert [case.name for case in review.cases] == ["a", "failed", "b"]
    assert threading.main_thread() not in threads
    review.close()


def test_an_unexpected_error_while_a_case_is_shown_is_reported_once_and_the_next_one_can_be_shown(
    panel: DatasetPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("Doe^Jane")

    for module, name in ((reviewing, "read_case"), (case_review, "add_case_nodes")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing)
            panel.click_case(0)
        (text,) = slicer_standin.dialogs().texts
        assert "ZeroDivisionError" in text
        assert "Doe" not in text
        slicer_standin.dialogs().clear()
        assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    panel.click_case(0)
    assert panel.review.current == "a"


def test_a_part_of_the_panel_that_fails_does_not_stop_the_others_and_is_reported_once(
    panel: DatasetPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(*_: object) -> None:
        calls.append(1)
        raise ZeroDivisionError("Doe^Jane")

    with monkeypatch.context() as patch:
        patch.setattr(panel.widget.labelStep, "poll", failing)
        panel.click_case(0)
        panel.until(lambda: len(calls) > 5)
    assert panel.review.current == "a"
    (text,) = slicer_standin.dialogs().texts
    assert "ZeroDivisionError" in text


def test_a_new_data_set_is_made_labelled_and_added_to_its_task(
    panel: DatasetPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    images = tmp_path / "images"
    images.mkdir()
    for seed in (1, 2):
        write_ball(images, seed)
    controls = panel.controls
    panel.open(tmp_path / "set")
    assert tool_tip(controls.train_row.button) == "Choose a task first."
    controls.task_box.setEditText("balls")
    panel.press("task")
    controls.images_edit.setCurrentPath(str(images))
    panel.press("add")
    assert panel.case_rows() == [("ball1", "to do", ""), ("ball2", "to do", "")]
    assert tool_tip(controls.fill_row.button) == "The task has no model yet; train it on accepted cases first."
    assert controls.status_label.text.splitlines() == [
        "0 of 2 cases accepted.",
        "2 volumes were added. Label maps left out: 2.",
        "Cases to label and accept before the first training: 2.",
    ]
    panel.press("add")
    assert "0 volumes were added. Cases already: 2. Label maps left out: 2." in controls.status_label.text
    panel.press("next")
    assert panel.parameters.segmentation is panel.review.nodes.segmentation
    assert panel.case_rows()[0][1] == "in review"
    labels = ball(1)[1]
    node = panel.review.nodes.segmentation
    node.GetSegmentation().AddEmptySegment("core", "Core")
    mask = (labels.array > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "core", panel.review.nodes.volume)
    panel.press("accept_next")  # at once, before what was painted is known
    assert panel.review.current == "ball2", slicer_standin.dialogs().texts
    assert panel.case_rows() == [("ball1", "accepted", ""), ("ball2", "in review", "")]
    assert [segment.GetName() for segment in segments(panel.review.nodes.segmentation)] == ["Core"]
    assert "before the first training: 1." in controls.status_label.text
    panel.picture("dataset")
    panel.click_case(0)
    panel.press("flag")
    assert panel.case_rows()[0][1] == "flagged"
    assert read_task(task_folder("balls")).examples == ()


def test_folders_without_a_whole_path_lie_in_the_home_folder(
    panel: DatasetPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "images").mkdir()
    write_ball(tmp_path / "images", 1)
    panel.controls.folder_edit.setCurrentPath(" ")
    panel.tick()
    assert tool_tip(panel.controls.open_button) == "Choose a folder first."
    panel.controls.folder_edit.setCurrentPath("~/set")
    panel.press("open")
    panel.controls.images_edit.setCurrentPath("images")
    panel.press("add")
    assert panel.review.folder.path == tmp_path / "set"
    assert panel.controls.folder_edit.currentPath == str(tmp_path / "set")
    assert panel.case_rows() == [("ball1", "to do", "")]


def test_a_case_that_somebody_else_reviews_is_refused_in_one_line(panel: DatasetPanel, dataset: Dataset) -> None:
    lock = ReviewLock(dataset.case("a"))
    panel.click_case(0)
    assert slicer_standin.dialogs().texts == [f"Case 'a' is being reviewed by {reviewer_name()}; choose another one."]
    lock.release()
    panel.press("refresh")
    panel.click_case(0)
    assert panel.review.current == "a"


@pytest.mark.parametrize("removed", ["volume", "segmentation"])
def test_a_case_removed_from_the_scene_is_chosen_again_when_it_is_clicked(panel: DatasetPanel, removed: str) -> None:
    panel.click_case(0)
    slicer.mrmlScene.RemoveNode(getattr(panel.review.nodes, removed))
    panel.settle()
    panel.click_case(0)
    assert panel.parameters.volume is panel.review.nodes.volume is not None
    assert panel.parameters.segmentation is panel.review.nodes.segmentation is not None


def test_filled_cases_are_reviewed_without_their_task(panel_with_task: DatasetPanel, dataset: Dataset) -> None:
    panel = panel_with_task
    remove_task("balls")
    panel.press("refresh")
    reason = "There is no task 'balls'; there are: none yet. Choose one, or type a name, and press Use task."
    assert reason in panel.controls.status_label.text
    for row in (panel.controls.fill_row, panel.controls.train_row):
        assert tool_tip(row.button) == reason
    panel.click_case(0)
    assert slicer_standin.dialogs().texts == []
    panel.press("accept")
    assert dataset.status()["a"].accepted
    panel.press("flag")
    assert not dataset.status()["a"].accepted
    assert panel.case_rows()[0][1] == "flagged"
    assert slicer_standin.dialogs().texts == [reason, reason]
    panel.press("task")
    panel.press("accept")
    assert panel.case_rows()[0][1] == "accepted"


@pytest.mark.slow
def test_a_training_goes_on_while_the_panel_and_the_data_set_are_closed(panel_with_task: DatasetPanel) -> None:
    panel = panel_with_task
    assert "2 accepted cases are in the task: train a model on them" in panel.controls.status_label.text
    panel.controls.train_row.button.click()
    training = panel.section.controller.training
    panel.section.show_controls()
    assert panel.controls.train_row.button.text == "Stop training"
    mrml.clear_scene()
    panel.widget.exit()
    panel.until(lambda: training.progress is not None)
    assert panel.controls.train_row.button.enabled
    panel.controls.train_row.button.click()
    panel.until(lambda: not training.busy)
    assert (training.stopped, training.error) == (True, None)


def segments(node: Any) -> list[Any]:
    """Segments of a segmentation node."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(number) for number in range(segmentation.GetNumberOfSegments())]
