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
from fewshot_annotate.host.annotation.differences import DIFFERENCES_ATTRIBUTE
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
from support import mrml, scene_cases
from support.review_desk import Desk, Review, parameter_node
from support.scene_cases import Runs, case, scene_of
from vtk.util.numpy_support import vtk_to_numpy

ACCEPTED, FLAGGED, IN_PROGRESS = SliceStatus.ACCEPTED, SliceStatus.FLAGGED, SliceStatus.IN_PROGRESS
NOT_STARTED = SliceStatus.NOT_STARTED
STATUS = slicer.vtkSlicerSegmentationsModuleLogic


@pytest.fixture
def make_desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Desk]]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runs = Runs(tmp_path)
    made: list[Desk] = []

    def make(step: int = 8) -> Desk:
        made.append(Desk(scene_of(case("ct_vertebrae"), step=step), runs))
        return made[-1]

    yield make
    for one in made:
        one.close()
    runs.finish()
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    """A scene that was filled once."""
    made = make_desk()
    made.fill()
    return made


def segment_statuses(node: Any) -> set[int]:
    segmentation = node.GetSegmentation()
    return {STATUS.GetSegmentStatus(segmentation.GetSegment(name)) for name in segmentation.GetSegmentIDs()}


def nodes_of(class_name: str) -> list[Any]:
    return list(slicer.util.getNodesByClass(class_name))


def test_a_fill_puts_its_slices_under_review_with_confidence_disagreement_and_changes(desk: Desk) -> None:
    scene, rows = desk.scene, desk.rows
    assert list(rows) == list(range(scene.labelled[0], scene.labelled[-1] + 1))
    for index in scene.labelled:
        assert (rows[index].origin, rows[index].status) == (Origin.PAINTED, ACCEPTED)
    for index in scene.between:
        row = rows[index]
        assert (row.origin, row.status) == (Origin.FILLED, IN_PROGRESS)
        assert 0 < row.confidence <= 1
        assert 0 <= row.disagreement <= 1
        assert row.changed == desk.labels(index).any(axis=0).sum()
    assert desk.controller.view.engine == "propagate"


def test_a_refill_changes_neither_accepted_nor_corrected_slices_and_learns_from_them(desk: Desk) -> None:
    accepted, corrected = desk.scene.between[1:3], desk.scene.between[8]
    desk.accept(*accepted)
    desk.paint(corrected)
    assert desk.rows[corrected].origin is Origin.CORRECTED
    before = {index: desk.labels(index) for index in desk.rows}
    request = desk.controller.refill()
    assert request.keep == set(accepted)
    assert corrected not in request.keep
    desk.refill()
    for index in (*desk.scene.labelled, *accepted, corrected):
        np.testing.assert_array_equal(desk.labels(index), before[index])
    changed = [index for index in desk.rows if not np.array_equal(desk.labels(index), before[index])]
    assert changed
    assert all(desk.rows[index].status is IN_PROGRESS for index in changed)
    assert desk.of_status(ACCEPTED) == accepted
    assert desk.rows[corrected].origin is Origin.CORRECTED
    marked = read_record(desk.node).present.labelled
    assert corrected in marked
    assert not set(accepted) & set(marked)


def test_acceptance_holds_for_what_was_accepted_and_no_longer(desk: Desk) -> None:
    index = desk.scene.between[3]
    desk.accept(index)
    assert desk.of_status(ACCEPTED) == [index]
    desk.paint(index)
    assert (desk.rows[index].origin, desk.of_status(ACCEPTED)) == (Origin.CORRECTED, [])
    desk.paint(index)  # the same stroke again takes it away
    assert desk.of_status(ACCEPTED) == [index]
    desk.controller.reset_status([index])
    assert desk.of_status(ACCEPTED) == []


def test_after_an_undo_slices_are_not_started_and_after_a_redo_as_they_were(desk: Desk) -> None:
    desk.accept(desk.scene.between[0])
    rows = desk.rows
    desk.runner.undo_logic.Undo()
    desk.settle()
    assert {desk.rows[index].status for index in desk.scene.between} == {NOT_STARTED}
    assert desk.controller.refill() is not None
    assert not desk.controller.accepted_slices
    desk.runner.undo_logic.Redo()
    desk.settle()
    assert desk.rows == rows


def test_all_in_progress_are_accepted_at_once_and_flags_stay(desk: Desk) -> None:
    flagged = desk.scene.between[2]
    desk.controller.flag([flagged])
    desk.controller.accept_all()
    desk.settle()
    assert desk.of_status(FLAGGED) == [flagged]
    assert desk.of_status(ACCEPTED) == [index for index in desk.scene.between if index != flagged]
    desk.accept(flagged)
    assert desk.controller.refill() is None


def test_the_status_of_slicers_segments_follows_the_slices(desk: Desk) -> None:
    assert segment_statuses(desk.node) == {STATUS.InProgress}
    desk.controller.flag(desk.scene.between[:1])
    assert segment_statuses(desk.node) == {STATUS.Flagged}
    desk.controller.reset_status(desk.scene.between[:1])
    desk.controller.accept_all()
    desk.settle()
    assert segment_statuses(desk.node) == {STATUS.Completed}
    desk.controller.reset_status(desk.scene.between[:1])
    assert segment_statuses(desk.node) == {STATUS.InProgress}


def test_a_flag_stays_through_a_refill(desk: Desk) -> None:
    index = desk.scene.between[4]
    desk.controller.flag([index])
    desk.refill()
    assert desk.of_status(FLAGGED) == [index]
    assert desk.rows[index].confidence is not None


def save_scene(desk: Desk, folder: Path) -> Path:
    scene = slicer.mrmlScene
    for node, storage, name in (
        (desk.node, slicer.vtkMRMLSegmentationStorageNode(), "labels.seg.nrrd"),
        (desk.volume_node, slicer.vtkMRMLVolumeArchetypeStorageNode(), "image.nrrd"),
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


def test_the_review_survives_saving_and_loading_into_another_scene(desk: Desk, tmp_path: Path) -> None:
    first, second, third = desk.scene.between[:3]
    desk.accept(first)
    desk.controller.flag([second])
    desk.paint(third)
    rows, identifier = desk.controller.view.rows, desk.node.GetID()
    saved = save_scene(desk, tmp_path)
    desk.close()
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


def test_a_scene_loaded_into_this_one_displaces_no_review(desk: Desk, tmp_path: Path) -> None:
    saved = save_scene(desk, tmp_path)
    desk.controller.accept_all()
    desk.settle()
    rows = desk.controller.view.rows
    load_into_scene(saved)
    desk.settle()
    assert desk.controller.view.rows == rows
    (loaded,) = (node for node in nodes_of("vtkMRMLSegmentationNode") if node is not desk.node)
    desk.node = loaded
    desk.settle()
    assert desk.of_status(IN_PROGRESS) == desk.scene.between


def test_each_segmentation_has_its_own_review_which_goes_with_it(desk: Desk) -> None:
    other = mrml.add_segmentation(desk.volume_node, {"a": np.ones(desk.scene.case.volume.geometry.shape)}, "Other")
    first, desk.node = desk.node, other
    desk.settle()
    assert not desk.rows
    desk.node = first
    desk.settle()
    assert desk.rows
    desk.node = None
    slicer.mrmlScene.RemoveNode(first)
    desk.controller.poll()
    assert parameter_node().GetParameterNames() == ()
    assert not desk.rows


def test_renamed_and_deleted_segments_change_no_slice_of_the_review(desk: Desk) -> None:
    desk.accept(*desk.scene.between[:2])
    segmentation = desk.node.GetSegmentation()
    statuses = [row.status for row in desk.controller.view.rows]
    segmentation.GetSegment(desk.scene.ids[0]).SetName("head")
    desk.settle()
    assert [row.status for row in desk.controller.view.rows] == statuses
    segmentation.RemoveSegment(desk.scene.ids[1])
    desk.settle()
    assert [row.status for row in desk.controller.view.rows] == statuses
    desk.refill()
    assert desk.of_status(ACCEPTED) == desk.scene.between[:2]
    desk.paint(desk.scene.between[0])
    assert desk.of_status(ACCEPTED) == desk.scene.between[1:2]


def test_the_expected_dice_is_told_by_the_segments_present_name(desk: Desk) -> None:
    expected = {name: ExpectedDice(1, 0.8, 0.7, 0.9) for name in desk.scene.ids}
    desk.annotations.change(desk.node, lambda one: one.with_along(0, replace(one.present, expected=expected)))
    desk.node.GetSegmentation().GetSegment(desk.scene.ids[0]).SetName("head")
    assert [name for name, _ in desk.controller.view.expected] == ["head", desk.scene.ids[1]]
    desk.node.GetSegmentation().RemoveSegment(desk.scene.ids[0])
    assert [name for name, _ in desk.controller.view.expected] == [desk.scene.ids[1]]


def test_what_the_last_run_changed_can_be_shown_over_the_segmentation(desk: Desk) -> None:
    desk.paint(desk.scene.between[3])
    before = desk.scene.arrays()
    desk.refill()
    after = desk.scene.arrays()
    added = np.logical_or.reduce([after[name] & ~before[name] for name in after])
    removed = np.logical_or.reduce([before[name] & ~after[name] for name in after]) & ~added
    assert added.any()
    assert removed.any()
    nodes = len(nodes_of("vtkMRMLSegmentationNode") + nodes_of("vtkMRMLSegmentationDisplayNode"))
    desk.controller.overlays.show_differences(True)
    desk.settle()
    (overlay,) = (node for node in nodes_of("vtkMRMLSegmentationNode") if node.GetAttribute(DIFFERENCES_ATTRIBUTE))
    assert desk.controller.overlays.differences_shown
    assert not overlay.GetSaveWithScene()
    assert overlay.GetHideFromEditors()
    shown = [
        slicer.util.arrayFromSegmentBinaryLabelmap(overlay, name, desk.volume_node)
        for name in overlay.GetSegmentation().GetSegmentIDs()
    ]
    np.testing.assert_array_equal(shown[0] > 0, added)
    np.testing.assert_array_equal(shown[1] > 0, removed)
    changed = {index: row.changed for index, row in desk.rows.items() if row.changed is not None}
    assert changed == {index: int((added | removed)[index].sum()) for index in changed}
    desk.controller.overlays.show_differences(False)
    assert not desk.controller.overlays.differences_shown
    assert len(nodes_of("vtkMRMLSegmentationNode") + nodes_of("vtkMRMLSegmentationDisplayNode")) == nodes
    desk.controller.overlays.show_differences(True)
    desk.settle()
    slicer.mrmlScene.RemoveNode(desk.node)
    desk.node = None
    desk.controller.poll()
    assert not desk.controller.overlays.differences_shown


def test_the_plot_is_made_once_kept_up_to_date_and_removed_with_the_segmentation(desk: Desk) -> None:
    def column(name: str) -> dict[int, float]:
        (table,) = (node.GetTable() for node in nodes_of("vtkMRMLTableNode"))
        slices, values = (vtk_to_numpy(table.GetColumnByName(c)) for c in ("Slice", name))
        return {int(index): value for index, value in zip(slices, values, strict=True) if np.isfinite(value)}

    chart = desk.controller.show_plot()
    assert desk.controller.show_plot() is chart
    assert (chart.GetTitle(), chart.GetLegendVisibility()) == (
        "Confidence of each slice",
        False,
    )  # nothing is covered
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    assert column("Confidence") == {index: desk.rows[index].confidence for index in desk.scene.between}
    assert list(column("Painted")) == desk.scene.labelled
    assert column("Accepted") == {}
    desk.accept(desk.scene.between[0])
    assert list(column("Accepted")) == desk.scene.between[:1]
    desk.controller.flag(desk.scene.between[1:2])
    desk.controller.poll()
    assert list(column("Flagged")) == desk.scene.between[1:2]
    desk.refill()
    assert nodes_of("vtkMRMLPlotChartNode") == [chart]
    assert not any(node.GetSaveWithScene() for node in (chart, *nodes_of("vtkMRMLPlotSeriesNode")))
    slicer.mrmlScene.RemoveNode(desk.node)
    desk.node = None
    desk.controller.poll()
    assert not (nodes_of("vtkMRMLPlotChartNode") + nodes_of("vtkMRMLPlotSeriesNode") + nodes_of("vtkMRMLTableNode"))


def test_the_worst_slice_comes_first_and_the_order_goes_round(desk: Desk) -> None:
    order = worst_first(desk.controller.view.rows)
    confidence = [desk.rows[index].confidence for index in order]
    assert confidence == sorted(confidence)
    assert sorted(order) == desk.scene.between
    assert desk.controller.worst(None) == desk.controller.worst(order[-1]) == order[0]
    assert desk.controller.worst(order[0]) == order[1]
    assert desk.controller.worst(order[0], -1) == order[-1]
    desk.accept(order[0])
    assert desk.controller.worst(None) == order[1]
    desk.controller.accept_all()
    desk.settle()
    assert desk.controller.worst(None) is None


def test_a_review_that_cannot_be_read_is_an_empty_one(desk: Desk) -> None:
    for text in ("", "[", "[]", "{}", '{"axes": [{"axis": 7}]}', '{"axis": 0, "chosen": {}, "axes": null}'):
        desk.node.SetAttribute(RECORD_ATTRIBUTE, text)
        assert not desk.controller.view.rows
        desk.controller.accept_all()
        desk.controller.flag([0])


def test_state_goes_through_json_unchanged() -> None:
    fills = (Fill(2, 7, 0.5, 0.25, 9), Fill(1, 6, 0.75))
    slices = {
        3: SliceRecord(None, ACCEPTED, 5, (7, 6, 0), fills),
        4: SliceRecord(status=FLAGGED),
        5: SliceRecord(labelled=False),
    }
    filled = AxisRecord(("a", "b"), "adapt", 2, slices, {"a": ExpectedDice(1, 0.5, 0.25, 0.75)})
    record = AnnotationRecord(1, {"a": True, "c": False}).with_slice(2, True).with_along(1, filled)
    record = record.with_axis(None).with_slice(9, True)
    assert record_from_json(json.loads(json.dumps(record_to_json(record)))) == record
    assert record.along(1) == filled
    assert record.present.labelled == (9,)


def test_roll_up_of_slices() -> None:
    def together(*statuses: SliceStatus) -> SliceStatus:
        rows = [ReviewRow(index=k, origin=Origin.FILLED, status=status) for k, status in enumerate(statuses)]
        return combined_status(rows)

    assert together() is NOT_STARTED
    assert together(ACCEPTED, ACCEPTED) is ACCEPTED
    assert together(ACCEPTED, NOT_STARTED) is together(ACCEPTED, IN_PROGRESS) is IN_PROGRESS
    assert together(ACCEPTED, FLAGGED, IN_PROGRESS) is FLAGGED


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.hypot(rows - 30, columns - 33) <= radius


def test_disagreement_is_small_where_the_shape_goes_on_and_great_where_it_does_not() -> None:
    labelled = {0: {"a": disc(10)}, 10: {"a": disc(20), "b": disc(4)}}
    found = [
        (5, {"a": disc(15)}),
        (8, {"a": disc(18)}),
        (6, {"a": disc(8)}),
        (7, {}),
        (12, {"a": disc(20), "b": disc(4)}),
    ]
    result = disagreements(iter(found), labelled)
    assert result[5] < 0.05
    assert result[8] < 0.06
    assert 0.4 < result[6] < 0.8
    assert result[7] == 1
    assert result[12] == 0


def test_nothing_agrees_with_nothing() -> None:
    assert disagreements([(1, {})], {0: {}, 2: {}}) == {1: 0.0}
    whole = np.ones((5, 6), bool)
    assert disagreements([(1, {"a": whole})], {0: {"a": whole}, 2: {"a": whole}}) == {1: 0.0}
