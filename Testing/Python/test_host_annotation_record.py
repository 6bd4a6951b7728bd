"""The stored record of slices: it is saved with the segmentation, and records of version 0.1 are still read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.host.annotation.record import (
    AnnotationRecord,
    AxisRecord,
    Fill,
    RunRecord,
    SliceRecord,
    SliceStatus,
)
from fewshot_annotate.host.annotation.record_store import (
    RECORD_ATTRIBUTE,
    read_record,
    take_over_earlier_reviews,
    write_record,
)
from fewshot_annotate.host.annotation.review_rows import Origin, review_rows
from support import mrml, saved_scenes, scene_cases
from support.review_scene import Review, parameter_node

PAINTED = "FewShotAnnotate.PaintedSlices"  # of version 0.1
ACCEPTED, FLAGGED, IN_PROGRESS = SliceStatus.ACCEPTED, SliceStatus.FLAGGED, SliceStatus.IN_PROGRESS

# Attributes as version 0.1 wrote them after a run that filled slices 2, 3 and 4 between the painted slices 1 and 5.
PAINTED_TEXT = json.dumps(
    {
        "axis": 0,
        "marked": [1, 5],
        "left_out": [7],
        "chosen": {"a": True, "b": False},
        "filled": {"2": [12, 102], "3": [13, 103], "4": [14, 104]},
        "filled_ids": ["a"],
    }
)
REVIEW_TEXT = json.dumps(
    {
        "0": {
            "segment_ids": ["a"],
            "engine": "adapt",
            "runs": 2,
            "slices": {
                "2": ["accepted", 12, [[2, 12, 0.9, 0.1, 30]]],
                "3": ["flagged", None, [[2, 13, 0.5, None, None], [1, 33, 0.4, 0.3, 20]]],
                "4": ["in progress", None, [[2, 14, 0.8, 0.2, 10]]],
            },
            "expected": {"a": {"label": 1, "dice": 0.8, "low": 0.7, "high": 0.9}},
        },
        "2": {
            "segment_ids": ["b"],
            "engine": "propagate",
            "runs": 1,
            "slices": {"8": ["flagged", None, []]},
            "expected": {},
        },
    }
)
EXPECTED = AnnotationRecord(
    0,
    {"a": True, "b": False},
    {
        0: AxisRecord(
            segment_ids=("a",),
            engine="adapt",
            runs=2,
            slices={
                1: SliceRecord(labelled=True),
                2: SliceRecord(None, ACCEPTED, 12, (12, 102), (Fill(2, 12, 0.9, 0.1, 30),)),
                3: SliceRecord(None, FLAGGED, None, (13, 103), (Fill(2, 13, 0.5), Fill(1, 33, 0.4, 0.3, 20))),
                4: SliceRecord(None, IN_PROGRESS, None, (14, 104), (Fill(2, 14, 0.8, 0.2, 10),)),
                5: SliceRecord(labelled=True),
                7: SliceRecord(labelled=False),
            },
            expected={"a": ExpectedDice(1, 0.8, 0.7, 0.9)},
        ),
        2: AxisRecord(segment_ids=("b",), engine="propagate", runs=1, slices={8: SliceRecord(status=FLAGGED)}),
    },
)


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    mrml.clear_scene()
    scene_cases.require_quiet(capfd.readouterr())


def add_segmentation(name: str = "Segmentation") -> tuple[Any, Any]:
    """Volume and segmentation of ten slices of 5 x 6 voxels, with the segments a and b."""
    volume = mrml.add_volume(np.zeros((10, 5, 6), np.int16), name=f"{name} volume")
    masks = np.zeros((2, 10, 5, 6), np.uint8)
    masks[0, 1:6, 1:3] = 1
    masks[1, 1:6, 3:5] = 1
    return volume, mrml.add_segmentation(volume, {"a": masks[0], "b": masks[1]}, name)


def annotate_as_version_0_1(node: Any, name: str = "review.0") -> None:
    """Store the painted slices and the review as version 0.1 did."""
    node.SetAttribute(PAINTED, PAINTED_TEXT)
    parameter_node().SetParameter(name, REVIEW_TEXT)
    parameter_node().SetNodeReferenceID(name, node.GetID())


def test_attributes_of_version_0_1_are_read_and_written_as_one_record() -> None:
    mrml.new_scene()
    _, node = add_segmentation()
    annotate_as_version_0_1(node)
    assert read_record(node) == EXPECTED
    write_record(node, read_record(node).with_slice(9, True))
    node.RemoveAttribute(PAINTED)
    parameter_node().UnsetParameter("review.0")
    assert read_record(node) == EXPECTED.with_slice(9, True)


@pytest.mark.parametrize("suffix", ["mrml", "mrb"])
def test_a_scene_of_version_0_1_opens_with_its_painted_accepted_and_flagged_slices(
    suffix: str, tmp_path: Path
) -> None:
    mrml.new_scene()
    _, node = add_segmentation()
    annotate_as_version_0_1(node)
    saved_scenes.save_scene(tmp_path / "saved" / f"scene.{suffix}")
    saved_scenes.open_scene(tmp_path / "saved" / f"scene.{suffix}")
    node = slicer.util.getNode("Segmentation")
    assert read_record(node) == EXPECTED
    review = Review(slicer.util.getNode("Segmentation volume"), node)
    rows = {row.index: (row.origin, row.status) for row in review.controller.view.rows}
    assert rows[1] == (Origin.PAINTED, ACCEPTED)
    assert rows[2] == (Origin.FILLED, ACCEPTED)
    assert rows[3] == (Origin.FILLED, FLAGGED)
    assert review.controller.accepted_slices == {2}
    review.close()


def test_the_first_change_keeps_all_that_version_0_1_stored() -> None:
    mrml.new_scene()
    volume, node = add_segmentation()
    annotate_as_version_0_1(node)
    review = Review(volume, node)
    review.controller.flag([4])
    expected = EXPECTED.along(0).with_status([4], FLAGGED)
    assert read_record(node) == EXPECTED.with_along(0, expected)
    assert node.GetAttribute(PAINTED) == PAINTED_TEXT
    review.close()


def test_a_second_scene_of_version_0_1_replaces_no_review_of_the_first(tmp_path: Path) -> None:
    mrml.new_scene()
    _, node = add_segmentation("Other")
    annotate_as_version_0_1(node)
    saved_scenes.save_scene(tmp_path / "scene.mrml")
    mrml.new_scene()
    volume, node = add_segmentation()
    annotate_as_version_0_1(node)
    review = Review(volume, node)
    review.controller.poll()
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Import()
    review.controller.poll()
    assert read_record(node) == EXPECTED
    assert read_record(slicer.util.getNode("Other")) == EXPECTED
    review.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"marked": 5}', '{"marked": [NaN]}', '{"chosen": [1]}', "[" * 100_000]
)
def test_painted_slices_of_version_0_1_that_cannot_be_read_lose_no_review(text: str) -> None:
    mrml.new_scene()
    _, node = add_segmentation()
    annotate_as_version_0_1(node)
    node.SetAttribute(PAINTED, text)
    assert read_record(node).along(2) == EXPECTED.along(2)
    assert read_record(node).along(0).at(3).status is FLAGGED


@pytest.mark.parametrize("text", ["", "[", "[]", '{"0": {}}', '{"x": {}}', '{"0": {"slices": {"3": ["lost"]}}}'])
def test_a_review_of_version_0_1_that_cannot_be_read_loses_no_painted_slice(text: str) -> None:
    mrml.new_scene()
    _, node = add_segmentation()
    annotate_as_version_0_1(node)
    parameter_node().SetParameter("review.0", text)
    assert read_record(node).present.labelled == (1, 5)
    assert read_record(node).chosen == {"a": True, "b": False}
    take_over_earlier_reviews(parameter_node())
    parameter_node().SetParameter("review.0", REVIEW_TEXT)
    assert read_record(node).present.labelled == (1, 5)


def test_a_segmentation_without_a_record_has_an_empty_one() -> None:
    mrml.new_scene()
    _, node = add_segmentation()
    assert read_record(node) == AnnotationRecord()
    take_over_earlier_reviews(parameter_node())
    assert node.GetAttribute(RECORD_ATTRIBUTE) is None


# --- rules, on a hand-made record: slices 0 and 3 are painted, a run filled 1 and 2

RUN = RunRecord(
    axis=0,
    labelled=(0, 3),
    segment_ids=("a",),
    engine="propagate",
    states={1: (11, 101), 2: (12, 102)},
    confidence={1: 0.9, 2: 0.7},
)
FILLED = AnnotationRecord().after_run(RUN)


def origins(record: AnnotationRecord, checksums: dict[int, int]) -> list[Origin]:
    return [row.origin for row in review_rows(record.present, checksums)]


@pytest.mark.parametrize(
    ("checksum", "origin"),
    [(11, Origin.FILLED), (101, Origin.UNFILLED), (7, Origin.CORRECTED)],
    ids=["as filled", "undone", "painted over"],
)
def test_a_changed_filled_slice_is_undone_or_corrected_according_to_its_voxels(checksum: int, origin: Origin) -> None:
    found = origins(FILLED, {1: checksum, 2: 12})
    assert found == [Origin.PAINTED, origin, Origin.FILLED, Origin.PAINTED]


def test_an_acceptance_holds_only_for_the_accepted_voxels() -> None:
    record = FILLED.with_along(0, FILLED.present.with_accepted({1: 11}))
    assert review_rows(record.present, {1: 11, 2: 12})[1].status is ACCEPTED
    assert review_rows(record.present, {1: 101, 2: 12})[1].status is not ACCEPTED


def test_a_slice_left_out_is_filled_by_the_next_run_until_it_is_painted() -> None:
    record = FILLED.with_slice(3, False)
    assert (record.present.labelled, record.present.left_out) == ((0,), (3,))
    refilled = record.after_run(RUN)
    assert (refilled.present.labelled, refilled.present.left_out) == ((0, 3), ())


def test_a_run_of_other_segments_replaces_the_checksums_of_the_slices_it_fills() -> None:
    other = RunRecord(axis=0, labelled=(0,), segment_ids=("a", "b"), states={1: (21, 201)}, confidence={1: 0.6})
    record = FILLED.after_run(other)
    assert record.present.filled == (1,)
    assert [fill.checksum for fill in record.present.at(1).fills] == [21]
    assert record.present.at(2).fills == FILLED.present.at(2).fills


def test_only_the_last_states_of_a_slice_are_stored() -> None:
    record: AnnotationRecord = FILLED
    for number in range(20):
        states = {1: (number, 1000 + number)}
        record = record.after_run(RunRecord(axis=0, labelled=(0, 3), segment_ids=("a",), states=states))
    assert record.present.at(1).states == (19, 1019, 18, 1018, 17, 1017)


CHANGES: list[Callable[[AnnotationRecord], AnnotationRecord]] = [
    lambda record: record.with_slice(9, True),
    lambda record: record.with_segment("b", True),
    lambda record: record.with_axis(1),
    lambda record: record.with_along(0, record.present.with_status([1], FLAGGED)),
    lambda record: record.after_run(RUN),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_saved_with_the_segmentation(change: Callable[[AnnotationRecord], AnnotationRecord]) -> None:
    mrml.new_scene()
    _, node = add_segmentation()
    write_record(node, change(FILLED))
    assert read_record(node) == change(FILLED) != FILLED
