"""Review of a batch folder in Slicer, with real MRML and real files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import LPS_TO_RAS_4X4
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.case_table import ReviewState
from fewshot_annotate.datasets.review_lock import reviewer_name
from fewshot_annotate.datasets.status import CaseStatus, Status
from fewshot_annotate.host.datasets.case_review import CaseReview
from fewshot_annotate.host.messages import error_text
from fewshot_annotate.host.mrml.reading import image_array
from fewshot_annotate.host.tasks import wait_for_threads
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps
from support import mrml
from support.batches import AXIS, Dataset, copy_of, finish_but_one, make_dataset
from support.disk import largest_file
from support.labels import every_nth, keep_slices, oblique, small_case
from support.processes import poll_while_busy


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A batch of four cases on a tilted grid, one of which failed. Tests work on copies."""
    dataset = make_dataset(tmp_path_factory.mktemp("batch"), ["a", "b", "c"])
    volume, label_map = oblique(*small_case())
    write_array(dataset.image, volume.array, volume.geometry)
    write_label_maps(dataset.support, [keep_slices(label_map, AXIS, every_nth(label_map, AXIS, 8))])
    finish_but_one(dataset)
    return dataset


@pytest.fixture
def dataset(finished: Dataset, awkward_path: Path) -> Dataset:
    return copy_of(finished, awkward_path)


@pytest.fixture
def review(dataset: Dataset) -> Iterator[CaseReview]:
    mrml.new_scene()
    opened = CaseReview(slicer.mrmlScene, dataset.output)
    poll_while_busy(opened)
    yield opened
    opened.close()


def show(review: CaseReview, name: str) -> None:
    review.show(name)
    poll_while_busy(review)


def accept(review: CaseReview) -> None:
    review.accept()
    poll_while_busy(review)


def labels(review: CaseReview) -> dict[str, np.ndarray]:
    """Voxels of the segments in the scene, by name."""
    node = review.nodes.segmentation
    ids = node.GetSegmentation().GetSegmentIDs()
    return {
        node.GetSegmentation().GetSegment(segment_id).GetName(): mrml.segment_array(node, segment_id)
        for segment_id in ids
    }


def test_the_table_is_that_of_the_folder(review: CaseReview, dataset: Dataset) -> None:
    assert [case.name for case in review.cases] == ["a", "failed", "b", "c"]
    assert review.cases[1].state is ReviewState.FAILED
    assert "row 3: " in review.cases[1].message
    pictures = {case.name: case.picture for case in review.cases}
    assert (pictures["a"], pictures["failed"]) == (dataset.case("a").preview, None)


def test_a_case_is_shown_with_image_and_result_at_their_position_in_the_patient(
    review: CaseReview, dataset: Dataset
) -> None:
    show(review, "a")
    volume, truth = oblique(*small_case())
    assert review.current == "a"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(review.nodes.volume), volume.array)
    assert review.nodes.volume.GetOrigin() == pytest.approx((17.25, -33.1, -204.7))  # RAS
    assert review.nodes.volume.GetSpacing() == pytest.approx(volume.geometry.spacing)
    (filled,) = read_label_maps(dataset.case("a").label, volume.geometry)
    shown = labels(review)
    assert list(shown) == [segment.name for segment in truth.segments]
    for segment in truth.segments:
        np.testing.assert_array_equal(shown[segment.name], filled.array == segment.value)
        node_segment = review.nodes.segmentation.GetSegmentation().GetSegment(f"Segment_{segment.value}")
        assert node_segment.GetColor() == pytest.approx(segment.colour, abs=1e-6)
    assert not review.changed


def test_the_next_case_replaces_the_previous_one_in_the_scene(review: CaseReview) -> None:
    show(review, "a")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    show(review, "b")
    assert review.current == "b"
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    review.clear()
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def test_accepting_is_written_to_the_table_and_changes_no_other_file(review: CaseReview, dataset: Dataset) -> None:
    before = dataset.results()
    show(review, "a")
    accept(review)
    lines = (dataset.output / "status.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("name,status,seconds,message,")
    assert lines[0].endswith(",accepted")
    assert [line.endswith(",yes") for line in lines[1:]] == [True, False, False, False]
    assert [case.state is ReviewState.ACCEPTED for case in review.cases] == [True, False, False, False]
    assert dataset.results() == before
    review.reset()
    poll_while_busy(review)
    assert not dataset.status()["a"].accepted


def test_next_goes_through_the_filled_cases_that_are_not_accepted(review: CaseReview) -> None:
    seen = []
    while (name := review.next()) is not None:
        seen.append(name)
        show(review, name)
        accept(review)
    assert seen == ["a", "b", "c"]
    show(review, "b")
    review.reset()
    poll_while_busy(review)
    show(review, "c")
    assert review.next() == "b"


def test_a_corrected_result_is_written_and_the_filled_one_kept(review: CaseReview, dataset: Dataset) -> None:
    files = dataset.case("a")
    filled, picture = files.label.read_bytes(), files.preview.read_bytes()
    show(review, "a")
    node, volume = review.nodes.segmentation, oblique(*small_case())[0]
    first = node.GetSegmentation().GetNthSegmentID(0)
    mask = mrml.segment_array(node, first)
    mask[:12] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, first, review.nodes.volume)
    node.GetSegmentation().GetSegment(first).SetName("Tête")
    node.GetSegmentation().AddEmptySegment("cyst", "Cyst", (1.0, 1.0, 0.0))
    cyst = np.zeros(mask.shape, np.uint8)
    cyst[:2, :3, :4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(cyst, node, "cyst", review.nodes.volume)
    expected = labels(review)
    assert review.changed
    accept(review)
    assert not review.changed
    (written,) = read_label_maps(files.label, volume.geometry)
    assert {segment.name for segment in written.segments} == set(expected) >= {"Tête", "Cyst"}
    for segment in written.segments:
        np.testing.assert_array_equal(written.array == segment.value, expected[segment.name])
    assert files.filled.read_bytes() == filled
    assert files.preview.read_bytes() != picture
    show(review, "b")
    show(review, "a")
    for name, voxels in labels(review).items():
        np.testing.assert_array_equal(voxels, expected[name])


def erase_row(review: CaseReview, row: int) -> None:
    """Erase a row of all segments, in the labelmap itself as the Segment Editor does."""
    image = review.nodes.segmentation.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    image_array(image)[:, row] = 0
    image.GetPointData().GetScalars().Modified()
    image.Modified()


def test_what_is_edited_while_the_labels_are_copied_is_accepted_too(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    rows = np.flatnonzero(np.logical_or.reduce(list(labels(review).values())).any(axis=(0, 2)))[:4]
    erase_row(review, rows[0])
    review.accept()
    for row in rows[1:]:
        erase_row(review, row)
        review.poll()
    poll_while_busy(review)
    assert not review.changed
    (written,) = read_label_maps(dataset.case("a").label, oblique(*small_case())[0].geometry)
    for segment in written.segments:
        np.testing.assert_array_equal(written.array == segment.value, labels(review)[segment.name])


def test_a_case_is_accepted_although_the_data_set_is_closed_at_once(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    rows = np.flatnonzero(np.logical_or.reduce(list(labels(review).values())).any(axis=(0, 2)))
    erase_row(review, rows[0])
    review.accept()
    review.close()
    assert wait_for_threads(60)
    assert dataset.status()["a"].accepted
    (written,) = read_label_maps(dataset.case("a").label, oblique(*small_case())[0].geometry)
    assert not written.array[:, rows[0]].any()
    assert written.array[:, rows[1]].any()


def test_a_result_corrected_on_a_larger_grid_is_written_on_the_grid_of_the_image(
    review: CaseReview, dataset: Dataset
) -> None:
    show(review, "a")
    node, geometry = review.nodes.segmentation, oblique(*small_case())[0].geometry
    (before,) = read_label_maps(dataset.case("a").label, geometry)
    corner = np.array(geometry.origin) - np.reshape(geometry.direction, (3, 3)) @ (2 * np.array(geometry.spacing))
    larger = mrml.add_volume(
        np.zeros([size + 4 for size in geometry.shape], np.float32),
        geometry.spacing,
        corner,
        np.reshape(geometry.direction, (3, 3)),
    )
    node.SetReferenceImageGeometryParameterFromVolumeNode(larger)
    node.GetSegmentation().AddEmptySegment("cyst", "Cyst")
    cyst = np.zeros([size + 4 for size in geometry.shape], np.uint8)
    cyst[2:4, 2:5, 2:6] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(cyst, node, "cyst", larger)
    accept(review)
    (written,) = read_label_maps(dataset.case("a").label, geometry)
    (value,) = [segment.value for segment in written.segments if segment.name == "Cyst"]
    np.testing.assert_array_equal(np.argwhere(written.array == value), np.argwhere(cyst) - 2)
    np.testing.assert_array_equal(np.where(written.array == value, before.array, written.array), before.array)
    kept = dataset.results()
    cyst[0, 0, 0] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(cyst, node, "cyst", larger)
    with pytest.raises(InputError, match="review_off_grid"):
        accept(review)
    assert dataset.results() == kept


def test_a_transform_of_the_labels_alone_is_applied_to_what_is_written(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    geometry = oblique(*small_case())[0].geometry
    (before,) = read_label_maps(dataset.case("a").label, geometry)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    review.nodes.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    review.nodes.volume.SetAndObserveTransformNodeID(transform.GetID())
    to_next_column = np.eye(4)
    to_next_column[:3, 3] = (LPS_TO_RAS_4X4[:3, :3] @ geometry.index_to_world)[:, 0]
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_next_column))
    accept(review)
    (kept,) = read_label_maps(dataset.case("a").label, geometry)
    np.testing.assert_array_equal(kept.array, before.array)
    review.nodes.volume.SetAndObserveTransformNodeID(None)
    accept(review)
    (moved,) = read_label_maps(dataset.case("a").label, geometry)
    np.testing.assert_array_equal(moved.array[:, :, 1:], before.array[:, :, :-1])
    to_next_column[:3, 3] *= 0.3
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_next_column))
    with pytest.raises(InputError, match="review_off_grid"):
        accept(review)


def test_overlapping_segments_are_refused_and_nothing_is_written(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    node = review.nodes.segmentation
    node.GetSegmentation().AddEmptySegment("other", "Other")
    whole_volume = np.ones(small_case()[0].array.shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(whole_volume, node, "other", review.nodes.volume)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    before = dataset.results()
    review.accept()  # voxels are compared by the thread, so that nothing blocks meanwhile
    with pytest.raises(InputError, match="review_overlap"):
        poll_while_busy(review)
    assert dataset.results() == before
    assert not dataset.status()["a"].accepted


def test_cases_that_cannot_be_shown_or_accepted_are_refused_in_one_line(review: CaseReview, dataset: Dataset) -> None:
    with pytest.raises(InputError, match="review_nothing"):
        review.accept()
    with pytest.raises(InputError, match="has no result to review"):
        show(review, "failed")
    dataset.case("b").label.write_bytes(b"")
    show(review, "a")
    with pytest.raises(InputError, match="the file is empty"):
        show(review, "b")
    assert review.current == "a"
    review.show("c")
    with pytest.raises(InputError, match="review_busy"):
        review.accept()
    poll_while_busy(review)
    slicer.mrmlScene.RemoveNode(review.nodes.segmentation)
    with pytest.raises(InputError, match="review_nothing"):
        review.accept()
    with pytest.raises(InputError, match="no batch was written here"):
        CaseReview(slicer.mrmlScene, dataset.folder)


def test_the_application_stays_responsive_while_files_are_read_and_written(review: CaseReview) -> None:
    review.show("a")
    assert review.busy
    assert review.current is None
    poll_while_busy(review)
    review.accept()
    assert review.busy
    assert review.cases[0].state is ReviewState.IN_REVIEW
    poll_while_busy(review)
    assert review.cases[0].state is ReviewState.ACCEPTED


def test_a_running_batch_keeps_acceptances_made_meanwhile(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    accept(review)
    review.folder.status.update([CaseStatus(name="late", status=Status.RUNNING)])
    review.reload()
    poll_while_busy(review)
    assert [case.name for case in review.cases][-1] == "late"
    show(review, "c")
    accept(review)
    assert [row.accepted for row in dataset.status().values()] == [True, False, False, True, False]


def correct(review: CaseReview) -> np.ndarray:
    """Label three more slices of the first segment in the scene; returns its mask."""
    node = review.nodes.segmentation
    (first, *_) = node.GetSegmentation().GetSegmentIDs()
    mask = mrml.segment_array(node, first).astype(bool)
    mask[:3] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, first, review.nodes.volume)
    return mask


@pytest.mark.parametrize("max_bytes", [0, 40, 400])
def test_accepting_on_a_full_disk_keeps_the_result_and_does_not_accept(
    max_bytes: int, review: CaseReview, dataset: Dataset
) -> None:
    show(review, "a")
    correct(review)
    files = dataset.case("a")
    before = {path.name: path.read_bytes() for path in files.folder.iterdir()}
    with largest_file(max_bytes), pytest.raises(InputError) as error:
        accept(review)
    assert error.value.code == "output_unwritable"
    assert {path.name: path.read_bytes() for path in files.folder.iterdir()} == before
    assert not dataset.status()["a"].accepted
    assert review.changed


def test_a_case_in_review_is_locked_until_the_reviewer_leaves_it(review: CaseReview, dataset: Dataset) -> None:
    other = CaseReview(slicer.mrmlScene, dataset.output)
    poll_while_busy(other)
    try:
        show(review, "a")
        with pytest.raises(InputError, match=f"Case 'a' is being reviewed by {reviewer_name()}"):
            show(other, "a")
        other.reload()
        poll_while_busy(other)
        assert [case.state.value for case in other.cases] == ["in review", "failed", "filled", "filled"]
        assert other.next() == "b"
        show(review, "a")  # again
        show(review, "b")
        assert [case.state.value for case in review.cases] == ["filled", "failed", "in review", "filled"]
        show(other, "a")
    finally:
        other.close()


def test_a_simultaneous_correction_by_another_program_is_kept_too(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    correct(review)
    files = dataset.case("a")
    geometry = oblique(*small_case())[0].geometry
    (filled,) = read_label_maps(files.label, geometry)
    shutil.copy(files.label, files.filled)
    other_correction = filled.array.copy()
    other_correction[-3:] = filled.segments[0].value
    write_label_maps(files.label, [filled.with_array(other_correction)])
    accept(review)
    assert dataset.status()["a"].accepted
    found = [read_label_maps(path, geometry)[0].array for path in files.folder.glob("label.*nii.gz")]
    assert len(found) == 3, "the filled one, and both corrections"
    assert any((array == other_correction).all() for array in found)


def test_a_case_that_a_batch_is_filling_again_is_not_accepted(review: CaseReview, dataset: Dataset) -> None:
    show(review, "a")
    correct(review)
    files = dataset.case("a")
    before = {path.name: path.read_bytes() for path in files.folder.iterdir()}
    folder = BatchFolder(dataset.output)
    folder.status.update([CaseStatus(name="a", status=Status.RUNNING)])
    with folder.exclusive(resume=True), pytest.raises(InputError) as error:
        accept(review)
    assert error.value.code == "review_running"
    assert {path.name: path.read_bytes() for path in files.folder.iterdir()} == before
    assert not dataset.status()["a"].accepted
    assert review.changed
    accept(review)  # once the batch has ended
    assert dataset.status()["a"].accepted


def test_a_result_deleted_during_its_review_is_not_accepted_until_it_is_corrected(
    review: CaseReview, dataset: Dataset
) -> None:
    show(review, "a")
    files = dataset.case("a")
    files.label.unlink()
    with pytest.raises(InputError) as error:
        accept(review)
    assert error.value.code == "review_not_done"
    assert not dataset.status()["a"].accepted
    correct(review)
    accept(review)
    assert files.label.is_file()
    assert dataset.status()["a"].accepted


def test_corrections_of_a_case_whose_folder_was_deleted_during_its_review_are_kept(
    review: CaseReview, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(review, "a")
    mask = correct(review)
    files, kept = dataset.case("a"), tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    shutil.rmtree(files.folder)
    with pytest.raises(InputError) as error:
        accept(review)
    (written,) = kept.glob("*/label.nii.gz")
    sentence = error_text(error.value)
    assert sentence == (
        f"{files.label}: its folder does not exist or was deleted; the finished result is kept in {written}: move it "
        "from there."
    )
    assert str(error.value) == sentence
    (label_map,) = read_label_maps(written)
    np.testing.assert_array_equal(label_map.array == label_map.segments[0].value, mask)
    assert not dataset.status()["a"].accepted


def test_a_case_is_unchanged_if_the_table_cannot_be_written(
    review: CaseReview, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(review, "a")
    correct(review)
    files = dataset.case("a")
    before = {path: path.read_bytes() for path in dataset.output.rglob("*") if path.is_file()}
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if target.name == "status.csv":  # as while a spreadsheet program has the file open on Windows
            raise PermissionError(13, "Permission denied", str(target))
        return replace(self, target)

    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refused)
        with pytest.raises(InputError) as error:
            accept(review)
    assert error.value.code == "output_kept_elsewhere"
    after = {path: path.read_bytes() for path in dataset.output.rglob("*") if path.is_file()}
    assert after == before
    assert str(kept) in str(error.value)
    (written,) = kept.glob("*/label.nii.gz")
    assert (read_label_maps(written)[0].array != read_label_maps(files.label)[0].array).any()
    assert review.changed
    accept(review)
    assert dataset.status()["a"].accepted
    assert files.filled.read_bytes() == before[files.label]
