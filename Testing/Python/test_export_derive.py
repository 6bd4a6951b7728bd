"""Volumes not from DICOM: with consent, a valid series is derived, which has only the given patient data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.regrid import Alignment, align_grids, apply_alignment, regrid
from fewshot_annotate.core.structures import TISSUE
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.export.delivery import deliver
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.export.preflight import check
from fewshot_annotate.export.request import Derivation, ExportRequest, Modality, Remedy, Target
from fewshot_annotate.io.files import read_volume
from pydicom import dcmread
from support.dicom import dciodvfy_errors, dcmqi_segments, needs_programs
from support.labels import oblique, small_case

# The only attributes of the patient in a slice; any other would be invented or leaked.
PATIENT_GROUP = {"PatientName", "PatientID", "PatientBirthDate", "PatientSex"}


def derived(
    tmp_path: Path, volume: Volume, label_map: LabelMap, modality: Modality = Modality.MR, **patient: str
) -> tuple[Path, Path]:
    """Folder of the series and file of the segmentation."""
    folder, output = tmp_path / "images", tmp_path / "seg.dcm"
    request = ExportRequest(
        layers=(label_map,),
        output=output,
        target=Target.DICOM_SEG,
        software_version="0.1.0",
        derivation=Derivation(volume, folder, modality, **patient),
        codes={"*": TISSUE},
    )
    report = deliver(check(request))
    assert report.verified, report.differences
    assert set(report.paths) == {folder, output}
    return folder, output


@needs_programs("dciodvfy")
@pytest.mark.parametrize("modality", list(Modality))
def test_series_and_segmentation_are_valid_and_the_same_as_the_volume(modality: Modality, tmp_path: Path) -> None:
    volume, label_map = oblique(*small_case())
    folder, output = derived(tmp_path, volume, label_map, modality)
    slices = sorted(folder.iterdir())
    assert len(slices) == volume.array.shape[0]
    for path in (output, slices[0], slices[-1]):
        assert dciodvfy_errors(path) == []
    read = read_volume(folder)
    alignment = align_grids(read.geometry, volume.geometry)
    assert isinstance(alignment, Alignment)
    assert np.allclose(apply_alignment(read.array, alignment, volume.geometry.shape), volume.array, atol=0.51)
    found = dcmqi_segments(output, tmp_path / "dcmqi")
    assert sorted(found) == sorted(segment.name for segment in label_map.segments)
    for segment in label_map.segments:
        mask, _ = found[segment.name]
        assert np.count_nonzero(mask) == np.count_nonzero(label_map.array == segment.value)


def test_no_series_is_derived_without_consent(tmp_path: Path) -> None:
    _, label_map = small_case()
    request = ExportRequest(
        layers=(label_map,),
        output=tmp_path / "seg.dcm",
        target=Target.DICOM_SEG,
        software_version="0.1.0",
        codes={"*": TISSUE},
    )
    (problem,) = check(request).blocking
    assert problem.error.code == "reference_missing"
    assert problem.remedies == (Remedy.GIVE_REFERENCE, Remedy.DERIVE_SERIES)
    assert list(tmp_path.iterdir()) == []


def test_the_patient_is_anonymous_by_default(tmp_path: Path) -> None:
    volume, label_map = small_case()
    folder, output = derived(tmp_path, volume, label_map)
    header = dcmread(next(folder.iterdir()))
    patient = {element.keyword: str(element.value) for element in header if element.tag.group == 0x0010}
    assert patient.keys() == PATIENT_GROUP
    assert patient["PatientName"] == "Anonymous^"
    assert patient["PatientBirthDate"] == patient["PatientSex"] == header.StudyDate == header.AccessionNumber == ""
    other_folder, _ = derived(tmp_path_of(tmp_path), volume, label_map)
    assert dcmread(next(other_folder.iterdir())).PatientID != patient["PatientID"]
    assert dcmread(output).PatientID == patient["PatientID"]


def tmp_path_of(tmp_path: Path) -> Path:
    other = tmp_path / "other"
    other.mkdir()
    return other


def test_the_patient_is_the_one_named(tmp_path: Path) -> None:
    volume, label_map = small_case()
    folder, output = derived(tmp_path, volume, label_map, patient_id="4711", patient_name="Müller^Jürgen")
    for path in (next(folder.iterdir()), output):
        dataset = dcmread(path)
        assert (dataset.PatientID, str(dataset.PatientName)) == ("4711", "Müller^Jürgen")


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        (lambda array: array.astype(np.int16) - 500, 0.0),
        (lambda array: array.astype(np.float32) / 255.0 - 0.3, 2e-5),
        (lambda array: array.astype(np.float64) * 1e6, 30.0),
        (lambda array: array.astype(np.uint8), 0.0),
        (lambda array: np.where(array == array.min(), -32768, array).astype(np.int16), 0.0),
    ],
    ids=["signed", "fractions", "large", "bytes", "padding"],
)
def test_values_are_kept_within_the_precision_of_sixteen_bits(change: Any, tolerance: float, tmp_path: Path) -> None:
    volume, label_map = small_case()
    changed = Volume(change(volume.array), volume.geometry)
    folder, _ = derived(tmp_path, changed, label_map, Modality.CT)
    read = read_volume(folder)
    alignment = align_grids(read.geometry, volume.geometry)
    assert isinstance(alignment, Alignment)
    values = apply_alignment(read.array, alignment, volume.geometry.shape)
    step = (float(changed.array.max()) - float(changed.array.min())) / 65535 if tolerance else 0
    assert np.abs(values - changed.array).max() <= max(tolerance, step)


def test_slices_stored_from_top_to_bottom_are_put_in_order(tmp_path: Path) -> None:
    volume, label_map = small_case()
    grid = volume.geometry
    flipped = Geometry(
        grid.shape,
        grid.spacing,
        grid.origin,
        tuple(float(part) for part in (np.array(grid.direction).reshape(3, 3) @ np.diag((1, 1, -1))).reshape(-1)),
    )
    folder, output = derived(
        tmp_path, Volume(volume.array, flipped), LabelMap(label_map.array, flipped, label_map.segments)
    )
    read = read_series(folder)
    assert read.geometry.origin[2] != pytest.approx(grid.origin[2]) or grid.shape[0] == 1
    found = dcmqi_segments(output, tmp_path / "dcmqi")
    for segment in label_map.segments:
        mask, other = found[segment.name]
        cropped = LabelMap(mask.astype(np.uint8), other)
        (moved,) = regrid([cropped], flipped).layers
        assert (moved.array.astype(bool) == (label_map.array == segment.value)).all()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    volume, label_map = small_case()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x").write_text("x")
    with pytest.raises(InputError) as refused:
        derived(tmp_path, volume, label_map)
    assert refused.value.code == "folder_not_empty"


def test_labels_of_another_volume_are_refused(tmp_path: Path) -> None:
    volume, label_map = small_case()
    elsewhere = replace(label_map.geometry, spacing=(2.0, 2.0, 2.0))
    request = ExportRequest(
        layers=(LabelMap(label_map.array, elsewhere, label_map.segments),),
        output=tmp_path / "seg.dcm",
        target=Target.DICOM_SEG,
        software_version="0.1.0",
        derivation=Derivation(volume, tmp_path / "images"),
        codes={"*": TISSUE},
    )
    assert [problem.error.code for problem in check(request).blocking] == ["labels_off_grid"]
