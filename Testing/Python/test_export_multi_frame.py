"""DICOM SEG of multi-frame images: every frame of the segmentation refers to its source frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.io.files import read_layers, read_volume, write_label_maps
from highdicom.seg import segread
from pydicom import Dataset, dcmread
from support.dicom import dcmqi_segments
from support.image_series import write_multi_frame
from support.labels import OBLIQUE
from support.synthetic_dicom import GRID, random_labels, write_ct_series

OBLIQUE_GRID = Geometry(GRID.shape, (0.75, 1.25, 2.5), (-11.5, 23.25, -40.0), OBLIQUE)
# Slice indices of the frames in stored order, file by file.
FORMS = {
    "one file": [(3, 0, 5, 4, 1, 2)],
    "two files": [(3, 1), (0, 5, 4, 2)],
    "a file for each slice": [(index,) for index in (3, 0, 5, 4, 1, 2)],
}


def multi_frame_series(folder: Path, grid: Geometry, files: Sequence[Sequence[int]], modality: str = "CT") -> Path:
    """Multi-frame files of one series, parts of a concatenation where there are several."""
    folder.mkdir()
    common: Dataset | None = None
    for number, indices in enumerate(files, start=1):
        file = folder / f"part {number}.dcm"
        write_multi_frame(file, grid, indices, shared=number % 2 == 0, modality=modality)
        dataset = dcmread(file)
        common = common or dataset
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(dataset, name, common[name].value)
        if len(files) > 1:
            dataset.ConcatenationUID, dataset.SOPInstanceUIDOfConcatenationSource = "1.2.3", "1.2.4"
            dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = number, len(files)
            dataset.ConcatenationFrameOffsetNumber = len(list(chain(*files[: number - 1])))
        dataset.save_as(file)
    return folder


def label_layers(kind: str, grid: Geometry) -> list[LabelMap]:
    label_map = random_labels(3, slice(1, 5), grid)
    if kind != "overlapping":
        return [label_map]
    whole = LabelMap(
        (label_map.array > 0).astype(np.uint8), grid, (Segment(value=1, name="Whole", colour=(0.1, 0.9, 0.4)),)
    )
    return [label_map, whole]


def exported(folder: Path, layers: Sequence[LabelMap], reference: Path, *options: str) -> Path:
    write_label_maps(folder / "in.seg.nrrd", layers)
    command = ["export", str(folder / "in.seg.nrrd"), "--to", "dicom-seg", "-o", str(folder / "seg.dcm")]
    assert main([*command, "--default-code", "--reference", str(reference), *options]) == 0
    return folder / "seg.dcm"


def masks_by_name(layers: Sequence[LabelMap]) -> dict[str, np.ndarray]:
    return {segment.name: layer.array == segment.value for layer in layers for segment in layer.segments}


def assert_refers_to_frames(path: Path, series: Path) -> None:
    """Check with pydicom that the referenced frames exist, at the positions of the segmentation's frames."""
    sources = {str(dataset.SOPInstanceUID): dataset for dataset in map(dcmread, series.iterdir())}
    dataset = dcmread(path)
    (referenced,) = dataset.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == next(iter(sources.values())).SeriesInstanceUID
    for items in (referenced.ReferencedInstanceSequence, dataset.SourceImageSequence):
        assert sorted(str(item.ReferencedSOPInstanceUID) for item in items) == sorted(sources)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        (derivation,) = groups.DerivationImageSequence
        (reference,) = derivation.SourceImageSequence
        source = sources[str(reference.ReferencedSOPInstanceUID)]
        assert reference.ReferencedSOPClassUID == source.SOPClassUID
        frame = source.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
        expected = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        found = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("grid", [GRID, OBLIQUE_GRID], ids=["upright", "oblique"])
@pytest.mark.parametrize("kind", ["binary", "labelmap", "overlapping"])
@pytest.mark.parametrize("form", FORMS)
def test_a_segmentation_refers_to_its_source_frames(form: str, kind: str, grid: Geometry, tmp_path: Path) -> None:
    series = multi_frame_series(tmp_path / "series", grid, FORMS[form])
    layers = label_layers(kind, grid)
    path = exported(tmp_path, layers, series, *(("--type", "labelmap") if kind == "labelmap" else ()))
    assert_refers_to_frames(path, series)
    expected = masks_by_name(layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = segread(path)
    numbers = {str(item.SegmentLabel): int(item.SegmentNumber) for item in segmentation.SegmentSequence}
    for number, indices in enumerate(FORMS[form], start=1):
        found = segmentation.get_pixels_by_source_frame(
            dcmread(series / f"part {number}.dcm").SOPInstanceUID,
            list(range(1, len(indices) + 1)),
            [numbers[name] for name in expected],
            assert_missing_frames_are_empty=True,
        )
        for channel, mask in enumerate(expected.values()):
            assert (found[..., channel].astype(bool) == mask[list(indices)]).all()
    for name, (mask, found_grid) in dcmqi_segments(path, tmp_path / "dcmqi").items():
        if name != "Background":
            assert np.allclose(found_grid.spacing, grid.spacing)
            assert np.allclose(found_grid.direction, grid.direction, atol=1e-6)
            assert int(mask.sum()) == int(expected[name].sum())
    read_back = masks_by_name(read_layers(path, grid))
    assert {name: mask.sum() for name, mask in read_back.items()} == {
        name: mask.sum() for name, mask in expected.items()
    }


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_a_multi_frame_file_serves_as_a_reference_like_its_folder(modality: str, tmp_path: Path) -> None:
    series = multi_frame_series(tmp_path / "series", GRID, FORMS["one file"], modality)
    file = series / "part 1.dcm"
    assert read_series(file).geometry.difference(read_volume(file).geometry) is None
    assert_refers_to_frames(exported(tmp_path, label_layers("binary", GRID), file), series)


def test_slices_that_a_multi_frame_image_lacks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = multi_frame_series(tmp_path / "series", GRID, [(5, 0, 1, 4, 2)])
    write_label_maps(tmp_path / "in.seg.nrrd", label_layers("binary", GRID))
    command = ["export", str(tmp_path / "in.seg.nrrd"), "--to", "dicom-seg", "-o", str(tmp_path / "seg.dcm")]
    assert main([*command, "--default-code", "--reference", str(series / "part 1.dcm")]) == 2
    assert "1 between frame 5 of part 1.dcm and frame 4 of part 1.dcm" in capsys.readouterr().err
    path = exported(tmp_path, label_layers("binary", GRID), series, "--leave-out-missing-slices")
    assert_refers_to_frames(path, series)


def test_all_files_of_a_concatenation_must_be_there(tmp_path: Path) -> None:
    series = multi_frame_series(tmp_path / "series", GRID, FORMS["two files"])
    with pytest.raises(InputError) as refused:
        read_series(series / "part 1.dcm")
    assert refused.value.code == "series_part"


def test_a_file_that_is_no_image_series_is_refused(tmp_path: Path) -> None:
    series = write_ct_series(tmp_path / "series")
    write_label_maps(tmp_path / "in.nrrd", label_layers("binary", GRID))
    path = exported(tmp_path, label_layers("binary", GRID), series)
    codes = {}
    for file in (series / "001.dcm", tmp_path / "in.nrrd", path):
        with pytest.raises(InputError) as refused:
            read_series(file)
        codes[file.name] = refused.value.code
    assert codes == {
        "001.dcm": "series_is_file",
        "in.nrrd": "series_is_file",
        "seg.dcm": "segmentation_as_image",
    }
