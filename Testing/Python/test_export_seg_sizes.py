"""DICOM SEG with any number of segments and slices: independent readers find the same voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.structures import TISSUE
from fewshot_annotate.core.volume import LabelMap
from fewshot_annotate.export import delivery as deliver_module
from fewshot_annotate.export.delivery import deliver
from fewshot_annotate.export.dicom_seg import SegContent, SegType
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.export.preflight import check
from fewshot_annotate.export.request import ExportRequest, Target
from fewshot_annotate.export.seg_verification import compare_segmentation
from highdicom.seg import segread
from pydicom import Dataset, dcmread
from support.dicom import dcmqi_segments
from support.synthetic_dicom import GRID, random_labels, write_ct_series

EVERYWHERE, ONE_SLICE, FIRST, EVERY_THIRD = slice(None), slice(2, 3), slice(0, 1), slice(0, None, 3)


def exported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layers: tuple[LabelMap, ...],
    kind: SegType = SegType.BINARY,
) -> tuple[Path, SegContent]:
    """The verified file and its expected content."""
    contents: list[SegContent] = []

    def compare(path: Path, content: SegContent) -> list[object]:
        contents.append(content)
        return list(compare_segmentation(path, content))

    monkeypatch.setattr(deliver_module, "compare_segmentation", compare)
    series, path = read_series(write_ct_series(tmp_path / "series")), tmp_path / "seg.dcm"
    request = ExportRequest(
        layers=layers,
        output=path,
        target=Target.DICOM_SEG,
        software_version="0.1.0",
        series=series,
        type=kind,
        codes={"*": TISSUE},
    )
    report = deliver(check(request))
    assert report.verified, report.differences
    return path, contents[0]


@pytest.mark.parametrize("kind", SegType)
@pytest.mark.parametrize(
    ("count", "slices"),
    [
        (1, EVERYWHERE),
        (1, ONE_SLICE),
        (1, FIRST),
        (2, EVERY_THIRD),
        (2, ONE_SLICE),
        (40, EVERYWHERE),
        (40, EVERY_THIRD),
    ],
    ids=["1 all", "1 one", "1 first", "2 every third", "2 one", "40 all", "40 every third"],
)
def test_other_readers_see_the_same_voxels_at_the_same_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, slices: slice, kind: SegType
) -> None:
    label_map = random_labels(count, slices)
    path, _ = exported(tmp_path, monkeypatch, (label_map,), kind)
    expected = {segment.name: label_map.array == segment.value for segment in label_map.segments}

    by_dcmqi = dcmqi_segments(path, tmp_path / "dcmqi")
    assert set(by_dcmqi) - {"Background"} == set(expected)
    for name, mask in expected.items():
        found, grid = by_dcmqi[name]
        first = (grid.origin[2] - GRID.origin[2]) / GRID.spacing[2]
        assert first == pytest.approx(round(first), abs=1e-4)
        assert grid.origin[:2] == pytest.approx(GRID.origin[:2])
        placed = np.zeros(GRID.shape, bool)
        placed[round(first) : round(first) + len(found)] = found
        assert (placed == mask).all(), name

    segmentation = segread(path)
    uids = [header.SOPInstanceUID for header in read_series(tmp_path / "series").headers]
    masks = segmentation.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert (np.moveaxis(masks, -1, 0) == np.array(list(expected.values()))).all()


def test_a_label_map_of_more_than_255_segments_has_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label_map = random_labels(300)
    path, _ = exported(tmp_path, monkeypatch, (label_map,), SegType.LABELMAP)
    segmentation = segread(path)
    assert segmentation.BitsAllocated == 16
    uids = [header.SOPInstanceUID for header in read_series(tmp_path / "series").headers]
    assert (segmentation.get_pixels_by_source_instance(uids, combine_segments=True) == label_map.array).all()


@pytest.mark.parametrize("overlapping", [True, False])
def test_whether_segments_overlap_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlapping: bool
) -> None:
    one, two = random_labels(1, slice(0, 3)), random_labels(1, slice(2 if overlapping else 3, 6), seed=1)
    path, _ = exported(tmp_path, monkeypatch, (one, two))
    assert dcmread(path).SegmentsOverlap == ("YES" if overlapping else "NO")


def share_the_segment(dataset: Dataset) -> None:
    (shared,) = dataset.SharedFunctionalGroupsSequence
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        if "SegmentIdentificationSequence" in frame:
            shared.SegmentIdentificationSequence = frame.SegmentIdentificationSequence
            del frame.SegmentIdentificationSequence


def repeat_the_segment(dataset: Dataset) -> None:
    (shared,) = dataset.SharedFunctionalGroupsSequence
    if "SegmentIdentificationSequence" in shared:
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence


def repeat_orientation_and_measures(dataset: Dataset) -> None:
    (shared,) = dataset.SharedFunctionalGroupsSequence
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence


@pytest.mark.parametrize("rearrange", [share_the_segment, repeat_the_segment, repeat_orientation_and_measures])
@pytest.mark.parametrize("slices", [EVERYWHERE, ONE_SLICE], ids=["all", "one"])
def test_functional_groups_are_read_whether_shared_or_per_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: slice, rearrange: Callable[[Dataset], None]
) -> None:
    path, content = exported(tmp_path, monkeypatch, (random_labels(1, slices),))
    dataset = dcmread(path)
    rearrange(dataset)
    dataset.save_as(path)
    assert compare_segmentation(path, content) == []
    pixels = bytearray(dataset.PixelData)
    pixels[1] ^= 0b100
    dataset.PixelData = bytes(pixels)
    dataset.save_as(path)
    assert "voxels" in str(compare_segmentation(path, content)[0])
