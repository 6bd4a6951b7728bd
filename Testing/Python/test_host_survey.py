"""Painted slices: found from the voxels, remembered after a fill, and chosen by the user."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.annotation.painted_slices import painted_axis, segment_extents, slice_digests
from fewshot_annotate.host.annotation.record import AnnotationRecord, AxisRecord, RunRecord
from fewshot_annotate.host.annotation.record_store import (
    RECORD_ATTRIBUTE,
    UNREADABLE_ATTRIBUTE,
    read_record,
    write_record,
)
from fewshot_annotate.host.annotation.snapshot import Selection, select
from fewshot_annotate.host.annotation.survey import Survey
from fewshot_annotate.host.messages import error_text
from fewshot_annotate.host.mrml.reading import read_grid
from support import mrml, scene_cases
from support.data import every_case
from support.scene_cases import Scene, case, scene_of

SEVERAL_LABELS = ("ct_vertebrae", "mic_ovule_cells", "ct_abdomen_pelvis")


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    scene_cases.require_quiet(capfd.readouterr())


def _selection(scene: Scene) -> Selection:
    grid = read_grid(scene.volume_node, scene.node)
    return select(segment_extents(grid), read_record(scene.node), grid.geometry.shape)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", every_case())
def test_painted_slices_are_found_along_every_axis_with_their_segments(name: Path, axis: int) -> None:
    scene = scene_of(case(name, 3), axis, step=3)
    assert len(scene.labelled) >= 3
    found = _selection(scene)
    assert found.axis == axis
    assert list(found.labelled) == scene.labelled
    assert found.segment_ids == tuple(scene.ids)
    for index, segment_ids in found.slices.items():
        assert set(segment_ids) == {n for n, m in scene.painted().items() if scene.axis.slices(m)[index].any()}


@pytest.mark.parametrize("name", SEVERAL_LABELS)
def test_a_complete_segment_beside_painted_ones_is_not_mistaken_for_painted(name: str) -> None:
    original = case(name, 3)
    scene = scene_of(original, step=4)
    complete = scene.ids[0]
    mask = original.masks[complete].astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, scene.node, complete, scene.volume_node)
    found = _selection(scene)
    assert complete not in found.segment_ids
    assert set(found.segment_ids) == set(scene.ids) - {complete}
    painted = scene.painted()
    expected = [i for i in scene.labelled if any(painted[name][i].any() for name in scene.ids[1:])]
    assert list(found.labelled) == expected


def test_a_complete_segment_in_two_parts_is_not_mistaken_for_painted() -> None:
    scene = scene_of(case("ct_liver", 1))
    (name,) = scene.ids
    mask = scene.case.masks[name].astype(np.uint8)
    middle = scene.labelled[len(scene.labelled) // 2]
    mask[middle - 1 : middle + 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, scene.node, name, scene.volume_node)
    assert _selection(scene) == Selection()


def test_a_segmentation_without_voxels_or_segments_has_no_painted_slice() -> None:
    scene = scene_of(case("ct_vertebrae"))
    for name in scene.ids:
        scene.node.GetSegmentation().RemoveSegment(name)
    assert _selection(scene) == Selection()
    scene.node.GetSegmentation().AddEmptySegment("empty", "empty")
    assert _selection(scene) == Selection()


def test_a_locked_segment_is_not_selected_by_default() -> None:
    scene = scene_of(case("ct_vertebrae"))
    grid = read_grid(scene.volume_node, scene.node)
    locked, free = scene.ids
    assert select(segment_extents(grid), AnnotationRecord(), grid.geometry.shape, [locked]).segment_ids == (free,)


def test_extents_equal_those_counted_voxel_by_voxel() -> None:
    scene = scene_of(case("mic_ovule_cells", 8), step=3)
    extents = segment_extents(read_grid(scene.volume_node, scene.node))
    for name, mask in scene.painted().items():
        for axis in range(3):
            expected = [i for i, part in enumerate(SliceAxis(axis).slices(mask)) if part.any()]
            assert list(extents[name].slices[axis]) == expected
        padded = np.pad(mask, 1).astype(np.int8)
        for axis in range(3):
            starts = np.count_nonzero(np.diff(padded, axis=axis) == 1)
            assert extents[name].mean_run[axis] == pytest.approx(mask.sum() / starts)


def test_after_a_fill_the_painted_slices_are_remembered_in_a_saved_scene() -> None:
    scene = scene_of(case("ct_vertebrae"))
    marked = [*scene.labelled, 2]
    run = RunRecord(axis=0, labelled=marked, segment_ids=tuple(scene.ids))
    write_record(scene.node, AnnotationRecord().after_run(run).with_slice(scene.labelled[1], False))
    for name, mask in scene.case.masks.items():  # complete, as after a fill
        array = mask.astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.node, name, scene.volume_node)
    slicer.mrmlScene.SetSaveToXMLString(1)
    slicer.mrmlScene.Commit()
    text = slicer.mrmlScene.GetSceneXMLString()
    record = read_record(scene.node)

    other = mrml.new_scene()
    for _ in range(3):
        other.AddNewNodeByClass("vtkMRMLSegmentationNode")  # so that the ID of the saved node is taken
    other.SetLoadFromXMLString(1)
    other.SetSceneXMLString(text)
    other.Import()
    loaded = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if n.GetAttribute(RECORD_ATTRIBUTE)]
    assert len(loaded) == 1
    assert loaded[0].GetID() != "vtkMRMLSegmentationNode1"
    assert read_record(loaded[0]) == record
    assert record.present.left_out == (scene.labelled[1],)
    assert sorted({*record.present.labelled, *record.present.left_out}) == sorted(marked)


def test_after_a_fill_the_remembered_slices_count_and_filled_ones_do_not() -> None:
    scene = scene_of(case("ct_vertebrae"))
    run = RunRecord(axis=0, labelled=scene.labelled, segment_ids=tuple(scene.ids))
    write_record(scene.node, AnnotationRecord().after_run(run))
    for name, mask in scene.case.masks.items():
        array = mask.astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.node, name, scene.volume_node)
    found = _selection(scene)
    assert list(found.labelled) == scene.labelled
    assert found.segment_ids == tuple(scene.ids)


def test_an_empty_slice_counts_once_marked_and_a_painted_one_not_once_left_out() -> None:
    scene = scene_of(case("ct_vertebrae"))
    write_record(scene.node, AnnotationRecord().with_slice(0, True).with_slice(scene.labelled[1], False))
    found = _selection(scene)
    assert 0 in found.labelled
    assert found.slices[0] == []
    assert scene.labelled[1] in found.slices
    assert scene.labelled[1] not in found.labelled


def test_a_chosen_axis_is_used_and_slices_of_the_earlier_one_are_remembered() -> None:
    record = AnnotationRecord(0, {"a": True}).with_slice(1, True).with_slice(3, False)
    other = record.with_axis(2)
    assert (other.axis, other.present, other.chosen) == (2, AxisRecord(), {"a": True})
    assert other.with_axis(0) == record
    assert record.with_axis(0) is record


def test_after_a_run_along_another_axis_no_slice_counts_as_painted() -> None:
    run = RunRecord(axis=0, labelled=(1, 4), segment_ids=("a",), states={2: (8, 9)}, confidence={2: 0.5})
    record = AnnotationRecord().after_run(run)
    assert (record.present.labelled, record.present.filled) == ((1, 4), (2,))
    record = record.after_run(RunRecord(axis=2, labelled=(7,), segment_ids=("a",)))
    first_axis = record.with_axis(0).present
    assert (first_axis.labelled, first_axis.filled) == ((), ())
    assert first_axis.at(2).fills[0].confidence == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"axis": 0, "chosen": {}, "axes": 5}',
        '{"axis": 5, "chosen": {}, "axes": []}',
        '{"axis": 0, "chosen": [1], "axes": []}',
        '{"axis": NaN, "chosen": {}, "axes": []}',
        "[" * 100_000,
    ],
)
def test_a_malformed_record_is_ignored_and_kept_beside_its_replacement(text: str) -> None:
    scene = scene_of(case("ct_vertebrae"))
    scene.node.SetAttribute(RECORD_ATTRIBUTE, text)
    assert read_record(scene.node) == AnnotationRecord()
    assert list(_selection(scene).labelled) == scene.labelled
    write_record(scene.node, AnnotationRecord().with_slice(0, True))
    assert read_record(scene.node).present.labelled == (0,)
    assert (scene.node.GetAttribute(UNREADABLE_ATTRIBUTE) or "") == text


def test_slices_that_the_grid_does_not_have_are_ignored() -> None:
    scene = scene_of(case("ct_vertebrae"))
    record = AnnotationRecord(0).with_slice(-3, True).with_slice(4000, True).with_slice(5000, False)
    write_record(scene.node, record)
    assert list(_selection(scene).slices) == scene.labelled


def test_the_digest_of_a_slice_depends_on_segments_and_not_on_layers() -> None:
    scene = scene_of(case("ct_vertebrae"))
    indices = range(len(scene.case.volume.array))
    before = slice_digests(read_grid(scene.volume_node, scene.node), scene.ids, scene.axis, indices)
    scene.node.GetSegmentation().SeparateSegmentLabelmap(scene.ids[0])
    assert slice_digests(read_grid(scene.volume_node, scene.node), scene.ids, scene.axis, indices) == before
    first, second = (scene.array(name) for name in scene.ids)
    for name, mask in zip(scene.ids, (second, first), strict=True):
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)
    after = slice_digests(read_grid(scene.volume_node, scene.node), scene.ids, scene.axis, indices)
    changed = [index for index in indices if after[index] != before[index]]
    assert changed == [i for i in scene.labelled if not np.array_equal(first[i], second[i])]


def _surveyed(survey: Survey, scene: Scene) -> bool:
    end = time.monotonic() + 20
    while survey.busy:
        assert time.monotonic() < end
        if survey.poll(scene.nodes):
            return True
        time.sleep(0.001)
    return False


def test_a_survey_reads_in_the_background_once_painting_pauses() -> None:
    scene = scene_of(case("mni152", 4), step=10)
    survey = Survey()
    try:
        for _ in range(3):
            survey.request(0.2)
            assert not survey.poll(scene.nodes)
        assert survey.extents == {}
        assert _surveyed(survey, scene)
        assert painted_axis(survey.extents) == 0
        assert not survey.busy
        assert not survey.poll(scene.nodes)
    finally:
        survey.close()


def test_a_survey_reports_what_is_wrong_and_recovers() -> None:
    scene = scene_of(case("ct_vertebrae"))
    survey = Survey()
    try:
        assert scene.node.CreateClosedSurfaceRepresentation()
        scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
        survey.request(0.0)
        assert _surveyed(survey, scene)
        assert survey.error is not None
        assert "stored as Closed surface" in error_text(survey.error)
        assert scene.node.CreateBinaryLabelmapRepresentation()
        scene.node.GetSegmentation().SetSourceRepresentationName("Binary labelmap")
        survey.request(0.0)
        assert _surveyed(survey, scene)
        assert survey.error is None
        assert set(survey.extents) == set(scene.ids)
    finally:
        survey.close()
