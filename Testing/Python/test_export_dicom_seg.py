"""DICOM SEG for a real CT series is valid, and other readers find its voxels, positions and codes."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.segment_tags import TERMINOLOGY_TAG
from fewshot_annotate.core.volume import Geometry, LabelMap
from fewshot_annotate.export.algorithm import Algorithm, AlgorithmType
from fewshot_annotate.export.delivery import Report, deliver
from fewshot_annotate.export.dicom_seg import SegType
from fewshot_annotate.export.dicom_series import DicomSeries, read_series
from fewshot_annotate.export.preflight import check
from fewshot_annotate.export.request import ExportRequest, Remedy, Target
from pydicom import Dataset, dcmread
from support.data import load_case
from support.dicom import (
    CASE,
    COUNT,
    cropped_labels,
    dciodvfy_errors,
    dcmqi_segments,
    names_of,
    needs_programs,
    series_folder,
    two_layers,
    write_cropped_headers,
)
from support.labels import OBLIQUE

ENGINE = Algorithm("FewShotAnnotate universeg", "0.1.0", "universeg_v1_nf64_ss64_STA sha256:0123abcd")


def request_for(
    layers: LabelMap | tuple[LabelMap, ...], series: DicomSeries, output: Path, *agreed: Remedy, **more: Any
) -> ExportRequest:
    layers = layers if isinstance(layers, tuple) else (layers,)
    values: dict[str, Any] = {"algorithm": ENGINE, "agreed": frozenset({Remedy.SUGGEST_CODES, *agreed}), **more}
    return ExportRequest(
        layers=layers, output=output, target=Target.DICOM_SEG, software_version="0.1.0", series=series, **values
    )


def export(layers: LabelMap | tuple[LabelMap, ...], series: DicomSeries, output: Path, *agreed: Remedy) -> Report:
    report = deliver(check(request_for(layers, series, output, *agreed)))
    assert report.verified, report.differences
    return report


def masks(layers: tuple[LabelMap, ...]) -> dict[str, np.ndarray]:
    return {segment.name: layer.array == segment.value for layer in layers for segment in layer.segments}


def read_by_highdicom(path: Path) -> dict[str, np.ndarray]:
    """Segment label -> mask [k, j, i] in the order of rising position along the normal."""
    from highdicom.seg import segread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = segread(path)
        volume = segmentation.get_volume(combine_segments=False)
    normal = np.cross(*np.array(volume.affine[:3, [2, 1]].T))
    array = volume.array if volume.affine[:3, 0] @ normal > 0 else volume.array[::-1]
    labels = [str(item.SegmentLabel) for item in segmentation.SegmentSequence if item.SegmentNumber > 0]
    return {label: array[..., number] > 0 for number, label in enumerate(labels)}


def same_labelled_slices(found: np.ndarray, expected: np.ndarray) -> bool:
    """Compare the slices with labels, because readers leave out slices before the first and after the last."""
    found, expected = (mask[mask.any(axis=(1, 2))] for mask in (found, expected))
    return len(expected) > 0 and found.shape == expected.shape and bool((found == expected).all())


@needs_programs("dciodvfy")
def test_the_whole_series_passes_the_validator_and_reads_back_the_same_by_dcmqi(tmp_path: Path) -> None:
    _, label_map = load_case(CASE)
    output = tmp_path / "seg.dcm"
    export(label_map, read_series(series_folder()), output)
    assert dciodvfy_errors(output) == []
    found = dcmqi_segments(output, tmp_path / "dcmqi")
    expected = masks((label_map,))
    assert found.keys() == expected.keys()
    for name, (mask, grid) in found.items():
        placed = np.zeros(label_map.array.shape, bool)
        first = round((grid.origin[2] - label_map.geometry.origin[2]) / label_map.geometry.spacing[2])
        placed[first : first + len(mask)] = mask
        assert (placed == expected[name]).all(), name
        assert np.allclose(grid.spacing, label_map.geometry.spacing)


@needs_programs("dciodvfy")
def test_overlapping_segments_are_kept_and_valid(tmp_path: Path) -> None:
    layers = two_layers(cropped_labels())
    output = tmp_path / "seg.dcm"
    export(layers, read_series(write_cropped_headers(tmp_path / "series")), output)
    assert dciodvfy_errors(output) == []
    expected = masks(layers)
    for name, mask in read_by_highdicom(output).items():
        assert same_labelled_slices(mask, expected[name]), name
    assert {name for name, _ in dcmqi_segments(output, tmp_path / "dcmqi").items()} == set(expected)


def test_a_label_map_segmentation_holds_the_same_voxels(tmp_path: Path) -> None:
    label_map = cropped_labels()
    output = tmp_path / "seg.dcm"
    series = read_series(write_cropped_headers(tmp_path / "series"))
    report = deliver(check(request_for(label_map, series, output, type=SegType.LABELMAP)))
    assert report.verified
    assert dcmread(output).SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage
    expected = masks((label_map,))
    found = dcmqi_segments(output, tmp_path / "dcmqi")
    assert {name for name in found if name in expected} == set(expected)
    for name, mask in expected.items():
        assert same_labelled_slices(found[name][0], mask), name


def test_a_label_map_segmentation_refuses_overlap_and_offers_binary(tmp_path: Path) -> None:
    series = read_series(write_cropped_headers(tmp_path / "series"))
    preflight = check(request_for(two_layers(cropped_labels()), series, tmp_path / "a.dcm", type=SegType.LABELMAP))
    assert [problem.error.code for problem in preflight.blocking] == ["export_overlap"]
    assert preflight.blocking[0].remedies == (Remedy.TYPE_BINARY,)


def test_layers_that_do_not_overlap_become_one_label_map(tmp_path: Path) -> None:
    label_map = cropped_labels()
    first, *others = label_map.segments
    layers = (
        LabelMap(np.where(label_map.array == first.value, label_map.array, 0), label_map.geometry, (first,)),
        LabelMap(np.where(label_map.array != first.value, label_map.array, 0), label_map.geometry, tuple(others)),
    )
    series = read_series(write_cropped_headers(tmp_path / "series"))
    output = tmp_path / "seg.dcm"
    assert deliver(check(request_for(layers, series, output, type=SegType.LABELMAP))).verified


def test_every_segment_has_a_code_and_an_algorithm(tmp_path: Path) -> None:
    label_map = cropped_labels()
    output = tmp_path / "seg.dcm"
    export(label_map, read_series(write_cropped_headers(tmp_path / "series")), output)
    dataset = dcmread(output)
    items = {item.SegmentLabel: item for item in dataset.SegmentSequence}
    assert list(items) == names_of(label_map.segments)
    assert [item.SegmentNumber for item in items.values()] == list(range(1, len(items) + 1))
    adrenal = items["adrenal_gland_right"]
    assert adrenal.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    kind = adrenal.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("23451007", "SCT", "Adrenal gland")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    for item in items.values():
        assert item.SegmentAlgorithmType == "SEMIAUTOMATIC"
        assert item.SegmentAlgorithmName == "FewShotAnnotate universeg"
        identification = item.SegmentationAlgorithmIdentificationSequence[0]
        assert identification.AlgorithmVersion == "0.1.0"
        assert "universeg_v1_nf64_ss64_STA sha256:0123abcd" in identification.AlgorithmParameters
        assert len(item.RecommendedDisplayCIELabValue) == 3


def test_the_algorithm_of_the_segments_tags_has_precedence(tmp_path: Path) -> None:
    label_map = cropped_labels()
    by_hand = Algorithm("someone", "", type=AlgorithmType.MANUAL)
    by_adapt = Algorithm("FewShotAnnotate adapt", "0.2.0")
    first, second, *others = label_map.segments
    segments = (replace(first, tags=by_hand.tags()), replace(second, tags=by_adapt.tags()), *others)
    output = tmp_path / "seg.dcm"
    tagged = LabelMap(label_map.array, label_map.geometry, segments)
    export(tagged, read_series(write_cropped_headers(tmp_path / "series")), output)
    items = list(dcmread(output).SegmentSequence)
    assert [item.SegmentAlgorithmType for item in items[:3]] == ["MANUAL", "SEMIAUTOMATIC", "SEMIAUTOMATIC"]
    assert "SegmentAlgorithmName" not in items[0]
    assert [item.SegmentAlgorithmName for item in items[1:3]] == ["FewShotAnnotate adapt", ENGINE.name]


@needs_programs("dciodvfy")
def test_region_and_laterality_are_exported(tmp_path: Path) -> None:
    label_map = cropped_labels()
    tag = (
        "any~SCT^49755003^Morphologically Altered Structure~SCT^367643001^Cyst~^^"
        "~any~SCT^64033007^Kidney~SCT^7771000^Left"
    )
    first, *others = label_map.segments
    segments = (replace(first, name="Zyste links Öl\\Niere", tags={TERMINOLOGY_TAG: tag}), *others)
    output = tmp_path / "seg.dcm"
    tagged = LabelMap(label_map.array, label_map.geometry, segments)
    report = export(tagged, read_series(write_cropped_headers(tmp_path / "series")), output)
    assert "labels_changed" in [note.error.code for note in report.notes]
    item = dcmread(output).SegmentSequence[0]
    assert item.SegmentLabel == "Zyste links Öl/Niere"
    assert item.AnatomicRegionSequence[0].CodeMeaning == "Kidney"
    assert item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Left"
    assert dciodvfy_errors(output) == []


def test_every_frame_refers_to_its_source_slice_whatever_the_file_names(tmp_path: Path) -> None:
    label_map = cropped_labels()
    output = tmp_path / "seg.dcm"
    series = read_series(write_cropped_headers(tmp_path / "series"))
    assert [Path(str(header.filename)).name for header in series.headers] != sorted(
        Path(str(header.filename)).name for header in series.headers
    )
    export(label_map, series, output)
    dataset = dcmread(output)
    index_by_uid = {str(header.SOPInstanceUID): index for index, header in enumerate(series.headers)}
    pixels = dataset.pixel_array
    for frame, mask in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        value = label_map.segments[number - 1].value
        assert (mask == (label_map.array[index_by_uid[str(source)]] == value)).all()
    (referenced,) = dataset.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == set(index_by_uid)


def test_patient_study_and_frame_of_reference_are_those_of_the_source(tmp_path: Path) -> None:
    def name_patient(header: Dataset, index: int) -> None:
        header.PatientName, header.PatientID = "Müller^Jürgen", "4711"
        del header.StudyID, header.AccessionNumber

    series = read_series(write_cropped_headers(tmp_path / "series", name_patient))
    output = tmp_path / "seg.dcm"
    export(cropped_labels(), series, output)
    dataset, source = dcmread(output), series.headers[0]
    assert str(dataset.PatientName) == "Müller^Jürgen"
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset.get(name) == source.get(name), name
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID


def oblique_series(folder: Path) -> tuple[Path, Geometry]:
    """The cropped series with slices that are oblique to all patient axes."""
    direction = np.array(OBLIQUE).reshape(3, 3)
    origin, shape = np.array((-17.25, 33.1, -204.7)), cropped_labels().array.shape

    def rotate(header: Dataset, index: int) -> None:
        header.ImageOrientationPatient = [round(float(part), 12) for part in direction[:, :2].T.reshape(-1)]
        header.ImagePositionPatient = [round(float(part), 6) for part in origin + index * 2.9 * direction[:, 2]]
        header.PixelSpacing = [1.3, 0.7]

    return write_cropped_headers(folder, rotate), Geometry(shape, (0.7, 1.3, 2.9), tuple(origin), OBLIQUE)


@needs_programs("dciodvfy")
def test_oblique_slices_keep_their_position(tmp_path: Path) -> None:
    folder, grid = oblique_series(tmp_path / "series")
    label_map = LabelMap(cropped_labels().array, grid, cropped_labels().segments)
    output = tmp_path / "seg.dcm"
    export(label_map, read_series(folder), output)
    assert dciodvfy_errors(output) == []
    expected = masks((label_map,))
    found = dcmqi_segments(output, tmp_path / "dcmqi")
    for name, (mask, other) in found.items():
        assert same_labelled_slices(mask, expected[name]), name
        assert np.allclose(other.direction, grid.direction, atol=1e-5)
        assert np.allclose(other.spacing, grid.spacing, atol=1e-5)


TILT_DEGREES = 18.0


def tilted_series(folder: Path) -> Path:
    """The cropped series with a tilted gantry: slices are rotated about axis i, and the table moves along z."""
    angle = math.radians(TILT_DEGREES)

    def tilt(header: Dataset, index: int) -> None:
        header.ImageOrientationPatient = [1, 0, 0, 0, round(math.cos(angle), 12), round(-math.sin(angle), 12)]
        header.GantryDetectorTilt = TILT_DEGREES

    return write_cropped_headers(folder, tilt)


@needs_programs("dciodvfy")
def test_slices_of_a_tilted_gantry_keep_their_position(tmp_path: Path) -> None:
    series = read_series(tilted_series(tmp_path / "series"))
    assert series.tilt == pytest.approx(TILT_DEGREES, abs=0.01)
    label_map = LabelMap(cropped_labels().array, series.geometry, cropped_labels().segments)
    output = tmp_path / "seg.dcm"
    export(label_map, series, output)
    assert dciodvfy_errors(output) == []
    positions = {tuple(np.round(position, 4)) for position in series.positions}
    dataset = dcmread(output)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert tuple(np.round(np.array(position, float), 4)) in positions
    voxels = sum(int(mask.sum()) for mask in dataset.pixel_array)
    assert voxels == np.count_nonzero(label_map.array)


def test_upright_labels_of_a_tilted_series_are_matched_by_slice_with_consent(tmp_path: Path) -> None:
    series = read_series(tilted_series(tmp_path / "series"))
    grid, direction = series.geometry, np.array(series.geometry.direction).reshape(3, 3).copy()
    direction[:, 2] = np.cross(direction[:, 0], direction[:, 1])
    # As ITK shows such a series: upright, with the distance between the slices' corners.
    upright = Geometry(grid.shape, grid.spacing, grid.origin, tuple(float(part) for part in direction.reshape(-1)))
    label_map = LabelMap(cropped_labels().array, upright, cropped_labels().segments)
    output = tmp_path / "seg.dcm"
    (problem,) = check(request_for(label_map, series, output)).blocking
    assert problem.error.code == "labels_upright"
    assert problem.remedies == (Remedy.SLICE_BY_SLICE, Remedy.RESAMPLE)
    export(label_map, series, output, Remedy.SLICE_BY_SLICE)
    voxels = sum(int(mask.sum()) for mask in dcmread(output).pixel_array)
    assert voxels == np.count_nonzero(label_map.array)


def test_rotated_and_cropped_labels_are_regridded_without_loss(tmp_path: Path) -> None:
    label_map = cropped_labels()
    series = read_series(write_cropped_headers(tmp_path / "series"))
    crop = (slice(1, 8), slice(2, 50), slice(3, 70))
    array = np.transpose(label_map.array[crop], (2, 0, 1))[:, ::-1]  # axes (i, -k, j)
    x, y, z = label_map.geometry.origin
    sx, sy, sz = label_map.geometry.spacing
    rotated = Geometry(array.shape, (sy, sz, sx), (x + 3 * sx, y + 2 * sy, z + 7 * sz), (0, 0, 1, 1, 0, 0, 0, -1, 0))
    output = tmp_path / "seg.dcm"
    export(LabelMap(np.ascontiguousarray(array), rotated, label_map.segments), series, output)
    cropped = np.zeros_like(label_map.array)
    cropped[crop] = label_map.array[crop]
    expected = masks((label_map.with_array(cropped),))
    for name, mask in read_by_highdicom(output).items():
        assert same_labelled_slices(mask, expected[name]), name


def test_missing_slices_are_named_and_left_out_by_consent(tmp_path: Path) -> None:
    folder = write_cropped_headers(tmp_path / "series")
    complete = read_series(folder)
    removed = [Path(str(complete.headers[index].filename)) for index in (3, 4, 6)]
    for path in removed:
        path.unlink()
    series = read_series(folder)
    label_map, output = cropped_labels(), tmp_path / "seg.dcm"
    names = [Path(str(complete.headers[index].filename)).name for index in (2, 5, 7)]
    assert series.missing == f"2 between {names[0]} and {names[1]}, 1 between {names[1]} and {names[2]}"
    (problem,) = check(request_for(label_map, series, output)).blocking
    assert problem.error.code == "series_gap_labels"
    assert series.missing in str(problem.error)
    assert str(np.count_nonzero(label_map.array[[3, 4, 6]])) in str(problem.error)
    export(label_map, series, output, Remedy.LEAVE_OUT_MISSING)
    kept = [index for index in range(COUNT) if index not in (3, 4, 6)]
    voxels = sum(int(mask.sum()) for mask in dcmread(output).pixel_array)
    assert voxels == np.count_nonzero(label_map.array[kept])


def test_labels_of_another_grid_are_refused_and_resampled_by_consent(tmp_path: Path) -> None:
    label_map = cropped_labels()
    x, y, z = label_map.geometry.origin
    shifted = replace(label_map.geometry, origin=(x + 0.4, y, z))
    series = read_series(write_cropped_headers(tmp_path / "series"))
    output = tmp_path / "seg.dcm"
    moved = LabelMap(label_map.array, shifted, label_map.segments)
    (problem,) = check(request_for(moved, series, output)).blocking
    assert (problem.error.code, problem.remedies) == ("labels_off_grid", (Remedy.RESAMPLE,))
    export(moved, series, output, Remedy.RESAMPLE)
    expected = masks((label_map,))  # less than half a voxel away, so the nearest voxel is the same
    for name, mask in read_by_highdicom(output).items():
        assert same_labelled_slices(mask, expected[name]), name


def test_labels_outside_the_images_are_counted_and_cropped_by_consent(tmp_path: Path) -> None:
    label_map = cropped_labels()
    folder = write_cropped_headers(tmp_path / "series")
    for header in read_series(folder).headers[-2:]:
        Path(str(header.filename)).unlink()
    series = read_series(folder)
    (problem,) = check(request_for(label_map, series, tmp_path / "seg.dcm")).blocking
    assert (problem.error.code, problem.remedies) == ("labels_outside", (Remedy.CROP,))
    assert str(np.count_nonzero(label_map.array[-2:])) in str(problem.error)
    export(label_map, series, tmp_path / "seg.dcm", Remedy.CROP)


def test_a_segment_without_voxels_is_left_out_and_reported(tmp_path: Path) -> None:
    label_map = cropped_labels()
    array = np.where(label_map.array == label_map.values[0], 0, label_map.array)
    series = read_series(write_cropped_headers(tmp_path / "series"))
    report = export(label_map.with_array(array), series, tmp_path / "seg.dcm")
    assert [note.segments for note in report.notes if note.error.code == "segments_empty"] == [("liver",)]
    labels = [item.SegmentLabel for item in dcmread(tmp_path / "seg.dcm").SegmentSequence]
    assert labels == names_of(label_map.segments)[1:]


def test_a_file_among_the_source_slices_is_refused(tmp_path: Path) -> None:
    folder = write_cropped_headers(tmp_path / "series")
    with pytest.raises(InputError) as refused:
        check(request_for(cropped_labels(), read_series(folder), folder / "seg.dcm"))
    assert refused.value.code == "output_is_input"
