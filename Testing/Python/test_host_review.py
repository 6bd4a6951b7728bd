"""Review of filled slices: real MRML, the real worker, a real volume."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.guidance.disagreement import disagreements
from fewshot_annotate.host.annotation.painted_slices import RemainingLabels
from fewshot_annotate.host.annotation.record import (
    AnnotationRecord,
    AxisRecord,
    Fill,
    SliceRecord,
    SliceStatus,
)
from fewshot_annotate.host.annotation.record_json import record_from_json, record_to_json
from fewshot_annotate.host.annotation.record_store import RECORD_ATTRIBUTE, read_record
from fewshot_annotate.host.annotation.review_rows import Origin, ReviewRow, combined_status, worst_first
from fewshot_annotate.host.fill import run_commit
from fewshot_annotate.host.fill.saved_segmentation import ReferencedSegmentation
from fewshot_annotate.host.fill.segment_rows import segment_rows
from fewshot_annotate.host.review.differences import DIFFERENCES_ATTRIBUTE
from support import mrml, scene_cases
from support.review_scene import Review, ReviewScene, parameter_node
from support.scene_cases import Runs, case, scene_of
from vtk.util.numpy_support import vtk_to_numpy

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")
ACCEPTED, FLAGGED, IN_PROGRESS = SliceStatus.ACCEPTED, SliceStatus.FLAGGED, SliceStatus.IN_PROGRESS
NOT_STARTED = SliceStatus.NOT_STARTED
STATUS = slicer.vtkSlicerSegmentationsModuleLogic


@pytest.fixture
def make_review_scene(
    reusing_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., ReviewScene]]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runs = Runs(tmp_path)
    scenes: list[ReviewScene] = []

    def make(step: int = 8) -> ReviewScene:
        scenes.append(ReviewScene(scene_of(case("ct_vertebrae"), step=step), runs, reusing_python))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()
    runs.finish()
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture
def review_scene(make_review_scene: Callable[..., ReviewScene]) -> ReviewScene:
    """A scene that was filled once."""
    scene = make_review_scene()
    scene.fill()
    return scene


def segment_statuses(node: Any) -> set[int]:
    segmentation = node.GetSegmentation()
    return {STATUS.GetSegmentStatus(segmentation.GetSegment(name)) for name in segmentation.GetSegmentIDs()}


def nodes_of(class_name: str) -> list[Any]:
    return list(slicer.util.getNodesByClass(class_name))


def test_a_fill_puts_its_slices_under_review_with_confidence_disagreement_and_changes(
    review_scene: ReviewScene,
) -> None:
    scene, rows = review_scene.scene, review_scene.rows
    assert list(rows) == list(range(scene.labelled[0], scene.labelled[-1] + 1))
    for index in scene.labelled:
        assert (rows[index].origin, rows[index].status) == (Origin.PAINTED, ACCEPTED)
    for index in scene.between:
        row = rows[index]
        assert (row.origin, row.status) == (Origin.FILLED, IN_PROGRESS)
        assert 0 < row.confidence <= 1
        assert 0 <= row.disagreement <= 1
        assert row.changed == review_scene.labels(index).any(axis=0).sum()
    assert review_scene.controller.view.engine == "propagate"


def test_a_refill_changes_neither_accepted_nor_corrected_slices_and_learns_from_them(
    review_scene: ReviewScene,
) -> None:
    accepted, corrected = review_scene.scene.between[1:3], review_scene.scene.between[8]
    review_scene.accept(*accepted)
    review_scene.paint(corrected)
    assert review_scene.rows[corrected].origin is Origin.CORRECTED
    before = {index: review_scene.labels(index) for index in review_scene.rows}
    request = review_scene.controller.refill()
    assert request.keep == set(accepted)
    assert corrected not in request.keep
    review_scene.refill()
    for index in (*review_scene.scene.labelled, *accepted, corrected):
        np.testing.assert_array_equal(review_scene.labels(index), before[index])
    changed = [index for index in review_scene.rows if not np.array_equal(review_scene.labels(index), before[index])]
    assert changed
    assert all(review_scene.rows[index].status is IN_PROGRESS for index in changed)
    assert review_scene.of_status(ACCEPTED) == accepted
    assert review_scene.rows[corrected].origin is Origin.CORRECTED
    labelled = read_record(review_scene.node).present.labelled
    assert corrected in labelled
    assert not set(accepted) & set(labelled)


@pytest.mark.parametrize("late", [False, True])
def test_a_slice_accepted_during_a_refill_stays_accepted_and_as_it_is(
    review_scene: ReviewScene, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected, index = review_scene.scene.between[3:5]
    review_scene.paint(corrected)
    request, runner = review_scene.controller.refill(), review_scene.runner
    before = {other: review_scene.labels(other) for other in review_scene.rows}
    labelled = [*review_scene.scene.labelled, corrected]
    saved: list[ReferencedSegmentation] = []

    def save(node: Any) -> ReferencedSegmentation:
        saved.append(ReferencedSegmentation(node))
        return saved[-1]

    monkeypatch.setattr(run_commit, "ReferencedSegmentation", save)
    runner.start(labelled=labelled, slices=request.slices)
    runner.until(lambda: not late or bool(saved))  # late: what is about to be written is computed already
    review_scene.accept(index)
    runner.to_end()
    review_scene.settle()
    np.testing.assert_array_equal(review_scene.labels(index), before[index])
    assert any(not np.array_equal(review_scene.labels(other), mask) for other, mask in before.items())
    assert review_scene.of_status(ACCEPTED) == [index]
    assert f"Slices accepted during the run were left as they are: {index}." in runner.controller.warnings


def test_an_acceptance_ends_when_the_slice_is_changed(review_scene: ReviewScene) -> None:
    index = review_scene.scene.between[3]
    review_scene.accept(index)
    assert review_scene.of_status(ACCEPTED) == [index]
    review_scene.paint(index)
    assert (review_scene.rows[index].origin, review_scene.of_status(ACCEPTED)) == (Origin.CORRECTED, [])
    review_scene.paint(index)  # painting the same again restores the voxels
    assert review_scene.of_status(ACCEPTED) == [index]
    review_scene.controller.reset_status([index])
    assert review_scene.of_status(ACCEPTED) == []


def test_undo_resets_the_review_of_filled_slices_and_redo_restores_it(review_scene: ReviewScene) -> None:
    review_scene.accept(review_scene.scene.between[0])
    rows = review_scene.rows
    review_scene.runner.undo_logic.Undo()
    review_scene.settle()
    assert {review_scene.rows[index].status for index in review_scene.scene.between} == {NOT_STARTED}
    assert review_scene.controller.refill() is not None
    assert not review_scene.controller.accepted_slices
    review_scene.runner.undo_logic.Redo()
    review_scene.settle()
    assert review_scene.rows == rows


def test_all_slices_in_progress_can_be_accepted_at_once_and_flags_are_kept(review_scene: ReviewScene) -> None:
    flagged = review_scene.scene.between[2]
    review_scene.controller.flag([flagged])
    review_scene.controller.accept_all()
    review_scene.settle()
    assert review_scene.of_status(FLAGGED) == [flagged]
    assert review_scene.of_status(ACCEPTED) == [index for index in review_scene.scene.between if index != flagged]
    review_scene.accept(flagged)
    assert review_scene.controller.refill() is None


def test_the_status_of_slicers_segments_follows_the_slices(review_scene: ReviewScene) -> None:
    assert segment_statuses(review_scene.node) == {STATUS.InProgress}
    review_scene.controller.flag(review_scene.scene.between[:1])
    assert segment_statuses(review_scene.node) == {STATUS.Flagged}
    review_scene.controller.reset_status(review_scene.scene.between[:1])
    review_scene.controller.accept_all()
    review_scene.settle()
    assert segment_statuses(review_scene.node) == {STATUS.Completed}
    review_scene.controller.reset_status(review_scene.scene.between[:1])
    assert segment_statuses(review_scene.node) == {STATUS.InProgress}


def test_a_flag_is_kept_during_a_refill(review_scene: ReviewScene) -> None:
    index = review_scene.scene.between[4]
    review_scene.controller.flag([index])
    review_scene.refill()
    assert review_scene.of_status(FLAGGED) == [index]
    assert review_scene.rows[index].confidence is not None


def save_scene(review_scene: ReviewScene, folder: Path) -> Path:
    scene = slicer.mrmlScene
    for node, storage, name in (
        (review_scene.node, slicer.vtkMRMLSegmentationStorageNode(), "labels.seg.nrrd"),
        (review_scene.volume_node, slicer.vtkMRMLVolumeArchetypeStorageNode(), "image.nrrd"),
    ):
        scene.AddNode(storage)
        storage.SetFileName(str(folder / name))
        assert storage.WriteData(node)
        node.SetAndObserveStorageNodeID(storage.GetID())
    scene.SetRootDirectory(str(folder))
    assert scene.Commit(str(folder / "scene.mrml"))
    return folder / "scene.mrml"


def load_into_scene(path: Path) -> None:
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Import()


def test_the_review_is_kept_when_saved_and_loaded_into_another_scene(
    review_scene: ReviewScene, tmp_path: Path
) -> None:
    first, second, third = review_scene.scene.between[:3]
    review_scene.accept(first)
    review_scene.controller.flag([second])
    review_scene.paint(third)
    rows, identifier = review_scene.controller.view.rows, review_scene.node.GetID()
    saved = save_scene(review_scene, tmp_path)
    review_scene.close()
    mrml.new_scene()
    other = mrml.add_volume(np.zeros((4, 5, 6), np.int16), name="Other")
    mrml.add_segmentation(other, {"a": np.ones((4, 5, 6))}, "Other")
    load_into_scene(saved)
    loaded = Review(slicer.util.getNode("Volume"), slicer.util.getNode("Segmentation"))
    assert loaded.node.GetID() != identifier
    loaded.settle()
    assert loaded.controller.view.rows == rows
    assert loaded.controller.accepted_slices == {first}
    loaded.close()


def test_a_scene_loaded_into_this_one_replaces_no_review(review_scene: ReviewScene, tmp_path: Path) -> None:
    saved = save_scene(review_scene, tmp_path)
    review_scene.controller.accept_all()
    review_scene.settle()
    rows = review_scene.controller.view.rows
    load_into_scene(saved)
    review_scene.settle()
    assert review_scene.controller.view.rows == rows
    (loaded,) = (node for node in nodes_of("vtkMRMLSegmentationNode") if node is not review_scene.node)
    review_scene.node = loaded
    review_scene.settle()
    assert review_scene.of_status(IN_PROGRESS) == review_scene.scene.between


def test_each_segmentation_has_its_own_review_which_is_removed_with_it(review_scene: ReviewScene) -> None:
    other = mrml.add_segmentation(
        review_scene.volume_node, {"a": np.ones(review_scene.scene.case.volume.geometry.shape)}, "Other"
    )
    first, review_scene.node = review_scene.node, other
    review_scene.settle()
    assert not review_scene.rows
    review_scene.node = first
    review_scene.settle()
    assert review_scene.rows
    review_scene.node = None
    slicer.mrmlScene.RemoveNode(first)
    review_scene.controller.poll()
    assert parameter_node().GetParameterNames() == ()
    assert not review_scene.rows


def test_renamed_and_deleted_segments_do_not_change_the_review(review_scene: ReviewScene) -> None:
    review_scene.accept(*review_scene.scene.between[:2])
    segmentation = review_scene.node.GetSegmentation()
    statuses = [row.status for row in review_scene.controller.view.rows]
    segmentation.GetSegment(review_scene.scene.ids[0]).SetName("head")
    review_scene.settle()
    assert [row.status for row in review_scene.controller.view.rows] == statuses
    segmentation.RemoveSegment(review_scene.scene.ids[1])
    review_scene.settle()
    assert [row.status for row in review_scene.controller.view.rows] == statuses
    review_scene.refill()
    assert review_scene.of_status(ACCEPTED) == review_scene.scene.between[:2]
    review_scene.paint(review_scene.scene.between[0])
    assert review_scene.of_status(ACCEPTED) == review_scene.scene.between[1:2]


def test_corrections_before_and_after_the_removal_of_a_segment_are_kept(review_scene: ReviewScene) -> None:
    earlier, later = review_scene.scene.between[2], review_scene.scene.between[9]
    review_scene.paint(earlier)
    undo = slicer.vtkSegmentationHistory()
    undo.SetSegmentation(review_scene.node.GetSegmentation())
    undo.SaveState()
    review_scene.node.GetSegmentation().RemoveSegment(review_scene.scene.ids[1])
    review_scene.settle()
    assert corrected_slices(review_scene) == [earlier]
    review_scene.paint(later)
    assert corrected_slices(review_scene) == [earlier, later]
    reopened = Review(review_scene.volume_node, review_scene.node)  # all that it knows is on the node
    reopened.settle()
    assert corrected_slices(reopened) == [earlier, later]
    reopened.close()
    undo.RestorePreviousState()
    review_scene.settle()
    assert corrected_slices(review_scene) == [earlier]
    review_scene.node.GetSegmentation().RemoveSegment(review_scene.scene.ids[1])
    review_scene.settle()
    review_scene.paint(later)
    before = {index: review_scene.labels(index) for index in (earlier, later)}
    review_scene.refill()
    for index, labels in before.items():
        np.testing.assert_array_equal(review_scene.labels(index), labels)
    assert {earlier, later} <= {*read_record(review_scene.node).present.labelled}


def corrected_slices(review: Review) -> list[int]:
    return [index for index, row in review.rows.items() if row.origin is Origin.CORRECTED]


def test_the_expected_dice_is_shown_with_the_current_name_of_the_segment(review_scene: ReviewScene) -> None:
    expected = {name: ExpectedDice(1, 0.8, 0.7, 0.9) for name in review_scene.scene.ids}
    review_scene.annotations.change(
        review_scene.node, lambda record: record.with_along(0, replace(record.present, expected=expected))
    )
    review_scene.node.GetSegmentation().GetSegment(review_scene.scene.ids[0]).SetName("head")
    assert [name for name, _ in review_scene.controller.view.expected] == ["head", review_scene.scene.ids[1]]
    review_scene.node.GetSegmentation().RemoveSegment(review_scene.scene.ids[0])
    assert [name for name, _ in review_scene.controller.view.expected] == [review_scene.scene.ids[1]]


def test_segments_of_the_same_name_each_have_their_own_expected_dice(review_scene: ReviewScene) -> None:
    node, annotations = review_scene.node, review_scene.annotations
    expected = dict(
        zip(review_scene.scene.ids, (ExpectedDice(1, 0.8, 0.7, 0.9), ExpectedDice(2, 0.6, 0.5, 0.7)), strict=True)
    )
    annotations.change(node, lambda record: record.with_along(0, replace(record.present, expected=expected)))
    for name in review_scene.scene.ids:
        node.GetSegmentation().GetSegment(name).SetName("rib")
    rows = segment_rows(node, annotations.snapshot(node), annotations.survey)
    assert [(row.id, row.name, row.dice) for row in rows] == [
        (name, "rib", label_dice.dice) for name, label_dice in expected.items()
    ]


def test_what_the_last_run_changed_can_be_shown_over_the_segmentation(review_scene: ReviewScene) -> None:
    review_scene.paint(review_scene.scene.between[3])
    before = review_scene.scene.arrays()
    review_scene.refill()
    after = review_scene.scene.arrays()
    added = np.logical_or.reduce([after[name] & ~before[name] for name in after])
    removed = np.logical_or.reduce([before[name] & ~after[name] for name in after]) & ~added
    assert added.any()
    assert removed.any()
    nodes = len(nodes_of("vtkMRMLSegmentationNode") + nodes_of("vtkMRMLSegmentationDisplayNode"))
    review_scene.controller.overlays.show_differences(True)
    review_scene.settle()
    (overlay,) = (node for node in nodes_of("vtkMRMLSegmentationNode") if node.GetAttribute(DIFFERENCES_ATTRIBUTE))
    assert review_scene.controller.overlays.differences_shown
    assert not overlay.GetSaveWithScene()
    assert overlay.GetHideFromEditors()
    shown = [
        slicer.util.arrayFromSegmentBinaryLabelmap(overlay, name, review_scene.volume_node)
        for name in overlay.GetSegmentation().GetSegmentIDs()
    ]
    np.testing.assert_array_equal(shown[0] > 0, added)
    np.testing.assert_array_equal(shown[1] > 0, removed)
    changed = {index: row.changed for index, row in review_scene.rows.items() if row.changed is not None}
    assert changed == {index: int((added | removed)[index].sum()) for index in changed}
    review_scene.controller.overlays.show_differences(False)
    assert not review_scene.controller.overlays.differences_shown
    assert len(nodes_of("vtkMRMLSegmentationNode") + nodes_of("vtkMRMLSegmentationDisplayNode")) == nodes
    review_scene.controller.overlays.show_differences(True)
    review_scene.settle()
    slicer.mrmlScene.RemoveNode(review_scene.node)
    review_scene.node = None
    review_scene.controller.poll()
    assert not review_scene.controller.overlays.differences_shown


def test_the_plot_is_made_once_kept_up_to_date_and_removed_with_the_segmentation(review_scene: ReviewScene) -> None:
    def column(name: str) -> dict[int, float]:
        (table,) = (node.GetTable() for node in nodes_of("vtkMRMLTableNode"))
        slices, values = (vtk_to_numpy(table.GetColumnByName(c)) for c in ("Slice", name))
        return {int(index): value for index, value in zip(slices, values, strict=True) if np.isfinite(value)}

    chart = review_scene.controller.show_plot()
    assert review_scene.controller.show_plot() is chart
    assert chart.GetTitle() == "Confidence of each slice"
    assert not chart.GetLegendVisibility()  # it would cover points
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    assert column("Confidence") == {
        index: review_scene.rows[index].confidence for index in review_scene.scene.between
    }
    assert list(column("Painted")) == review_scene.scene.labelled
    assert column("Accepted") == {}
    review_scene.accept(review_scene.scene.between[0])
    assert list(column("Accepted")) == review_scene.scene.between[:1]
    review_scene.controller.flag(review_scene.scene.between[1:2])
    review_scene.controller.poll()
    assert list(column("Flagged")) == review_scene.scene.between[1:2]
    review_scene.refill()
    assert nodes_of("vtkMRMLPlotChartNode") == [chart]
    assert not any(node.GetSaveWithScene() for node in (chart, *nodes_of("vtkMRMLPlotSeriesNode")))
    slicer.mrmlScene.RemoveNode(review_scene.node)
    review_scene.node = None
    review_scene.controller.poll()
    assert not (nodes_of("vtkMRMLPlotChartNode") + nodes_of("vtkMRMLPlotSeriesNode") + nodes_of("vtkMRMLTableNode"))


def test_the_worst_slice_is_first_and_the_order_is_cyclic(review_scene: ReviewScene) -> None:
    order = worst_first(review_scene.controller.view.rows)
    confidence = [review_scene.rows[index].confidence for index in order]
    assert confidence == sorted(confidence)
    assert sorted(order) == review_scene.scene.between
    assert review_scene.controller.worst(None) == review_scene.controller.worst(order[-1]) == order[0]
    assert review_scene.controller.worst(order[0]) == order[1]
    assert review_scene.controller.worst(order[0], -1) == order[-1]
    review_scene.accept(order[0])
    assert review_scene.controller.worst(None) == order[1]
    review_scene.controller.accept_all()
    review_scene.settle()
    assert review_scene.controller.worst(None) is None


def test_a_review_that_cannot_be_read_is_empty(review_scene: ReviewScene) -> None:
    for text in ("", "[", "[]", "{}", '{"axes": [{"axis": 7}]}', '{"axis": 0, "chosen": {}, "axes": null}'):
        review_scene.node.SetAttribute(RECORD_ATTRIBUTE, text)
        assert not review_scene.controller.view.rows
        review_scene.controller.accept_all()
        review_scene.controller.flag([0])


def test_a_review_is_unchanged_by_conversion_to_json() -> None:
    fills = (Fill(2, 7, 0.5, 0.25, 9), Fill(1, 6, 0.75))
    slices = {
        3: SliceRecord(None, ACCEPTED, 5, (7, 6, 0), fills),
        4: SliceRecord(status=FLAGGED),
        5: SliceRecord(labelled=False),
    }
    expected, remaining = {"a": ExpectedDice(1, 0.5, 0.25, 0.75)}, RemainingLabels(("b",), {3: 8})
    filled = AxisRecord(
        segment_ids=("a", "b"), engine="adapt", runs=2, slices=slices, expected=expected, remaining=remaining
    )
    record = AnnotationRecord(1, {"a": True, "c": False}).with_slice(2, True).with_along(1, filled)
    record = record.with_axis(None).with_slice(9, True)
    assert record_from_json(json.loads(json.dumps(record_to_json(record)))) == record
    assert record.along(1) == filled
    assert record.present.labelled == (9,)


def test_the_status_of_a_segment_is_combined_from_its_slices() -> None:
    def combined(*statuses: SliceStatus) -> SliceStatus:
        rows = [ReviewRow(index=k, origin=Origin.FILLED, status=status) for k, status in enumerate(statuses)]
        return combined_status(rows)

    assert combined() is NOT_STARTED
    assert combined(ACCEPTED, ACCEPTED) is ACCEPTED
    assert combined(ACCEPTED, NOT_STARTED) is combined(ACCEPTED, IN_PROGRESS) is IN_PROGRESS
    assert combined(ACCEPTED, FLAGGED, IN_PROGRESS) is FLAGGED


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.hypot(rows - 30, columns - 33) <= radius


def test_disagreement_is_small_where_the_shape_continues_and_large_where_it_does_not() -> None:
    labelled = {0: {"a": disc(10)}, 10: {"a": disc(20), "b": disc(4)}}
    filled = [
        (5, {"a": disc(15)}),
        (8, {"a": disc(18)}),
        (6, {"a": disc(8)}),
        (7, {}),
        (12, {"a": disc(20), "b": disc(4)}),
    ]
    result = disagreements(iter(filled), labelled)
    assert result[5] < 0.05
    assert result[8] < 0.06
    assert 0.4 < result[6] < 0.8
    assert result[7] == 1
    assert result[12] == 0


def test_a_segment_on_one_labelled_slice_alone_is_expected_to_end_midway() -> None:
    labelled = {0: {"a": disc(10)}, 10: {}}
    result = disagreements([(2, {"a": disc(8)}), (4, {"a": disc(10)}), (7, {}), (8, {"a": disc(10)})], labelled)
    assert result[2] < 0.1
    assert result[4] > 0.3
    assert result[7] == 0
    assert result[8] == 1


def test_empty_slices_do_not_disagree() -> None:
    assert disagreements([(1, {})], {0: {}, 2: {}}) == {1: 0.0}
    whole = np.ones((5, 6), bool)
    assert disagreements([(1, {"a": whole})], {0: {"a": whole}, 2: {"a": whole}}) == {1: 0.0}
