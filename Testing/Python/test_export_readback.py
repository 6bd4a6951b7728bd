"""Verification by reading back: every difference is found, and a file that differs is removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.structures import TISSUE
from fewshot_annotate.core.volume import LabelMap, Segment
from fewshot_annotate.export import delivery
from fewshot_annotate.export.delivery import deliver
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.export.preflight import Preflight, check
from fewshot_annotate.export.request import Derivation, ExportRequest, Remedy, Target
from fewshot_annotate.export.verification import compare_label_maps
from fewshot_annotate.io.files import write_label_maps
from fewshot_annotate.io.label_names import sidecar_path
from pydicom import Dataset, dcmread
from support.dicom import cropped_labels, write_cropped_headers
from support.labels import small_case
from test_export_dicom_seg import ENGINE


def checked_export(tmp_path: Path) -> Preflight:
    """The checked export of the cropped series, ready to be written."""
    series = read_series(write_cropped_headers(tmp_path / "series"))
    output = tmp_path / "out" / "seg.dcm"
    output.parent.mkdir()
    agreed = frozenset({Remedy.SUGGEST_CODES})
    return check(
        ExportRequest(
            layers=(cropped_labels(),),
            output=output,
            target=Target.DICOM_SEG,
            software_version="0.1.0",
            algorithm=ENGINE,
            series=series,
            agreed=agreed,
        )
    )


def flip_a_voxel(dataset: Dataset) -> None:
    pixels = bytearray(dataset.PixelData)
    pixels[1000] ^= 0b100
    dataset.PixelData = bytes(pixels)


def move_a_frame(dataset: Dataset) -> None:
    frame = dataset.PerFrameFunctionalGroupsSequence[3]
    frame.PlanePositionSequence[0].ImagePositionPatient[2] += 0.5


def change_the_segment_of_a_frame(dataset: Dataset) -> None:
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 5


def change_the_source(dataset: Dataset) -> None:
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[0].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def remove_a_reference(dataset: Dataset) -> None:
    del dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]


def change_the_name(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].SegmentLabel = "another"


def change_the_code(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeValue = "78961009"


def remove_the_laterality(dataset: Dataset) -> None:
    del dataset.SegmentSequence[3].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence


def change_the_colour(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].RecommendedDisplayCIELabValue = [30000, 30000, 30000]


def change_the_algorithm_version(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion = "9"


def change_the_pixel_spacing(dataset: Dataset) -> None:
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [0.9, 0.9765625]


def change_the_algorithm_name(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].SegmentAlgorithmName = "another"


def change_the_algorithm_type(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentAlgorithmType = "AUTOMATIC"


def change_the_modality(dataset: Dataset) -> None:
    dataset.Modality = "CT"


def change_the_patient(dataset: Dataset) -> None:
    dataset.PatientID = "another"


CHANGES = {
    flip_a_voxel: "voxels of segment ",
    move_a_frame: "ImagePositionPatient of frame 4",
    change_the_segment_of_a_frame: "segment vertebrae_T12",
    change_the_source: "frame 1 does not refer to its source",
    remove_a_reference: "and to 0 other images",
    change_the_name: "SegmentLabel of segment liver",
    change_the_code: "SegmentedPropertyTypeCodeSequence of segment stomach",
    remove_the_laterality: "SegmentedPropertyTypeModifierCodeSequence of segment adrenal_gland_right",
    change_the_colour: "colour of segment liver",
    change_the_algorithm_version: "AlgorithmVersion of segment liver",
    change_the_pixel_spacing: "PixelSpacing of frame 1",
    change_the_algorithm_name: "SegmentAlgorithmName of segment liver",
    change_the_algorithm_type: "SegmentAlgorithmType of segment stomach",
    change_the_modality: "Modality",
    change_the_patient: "PatientID is not that of the images",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_difference_is_named_and_the_file_removed(
    change: Callable[[Dataset], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight = checked_export(tmp_path)
    write = delivery.write_segmentation

    def write_and_change(path: Path, content: object) -> None:
        write(path, content)  # type: ignore[arg-type]
        dataset = dcmread(path)
        change(dataset)
        dataset.save_as(path)

    monkeypatch.setattr(delivery, "write_segmentation", write_and_change)
    report = deliver(preflight)
    assert not report.verified
    assert any(CHANGES[change] in str(difference) for difference in report.differences), report.differences
    assert report.paths == ()
    assert list(preflight.request.output.parent.iterdir()) == []


@pytest.mark.parametrize("length", [0, 100, 3000, 20000])
def test_a_truncated_file_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    preflight = checked_export(tmp_path)
    write = delivery.write_segmentation

    def write_and_truncate(path: Path, content: object) -> None:
        write(path, content)  # type: ignore[arg-type]
        path.write_bytes(path.read_bytes()[:length])

    monkeypatch.setattr(delivery, "write_segmentation", write_and_truncate)
    assert not deliver(preflight).verified
    assert list(preflight.request.output.parent.iterdir()) == []


def test_a_full_disk_leaves_no_new_file_and_an_older_one_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight = checked_export(tmp_path)
    output = preflight.request.output
    output.write_bytes(b"older")

    def fail(path: Path, content: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(delivery, "write_segmentation", fail)
    with pytest.raises(InputError, match="No space left"):
        deliver(preflight)
    assert [path.name for path in output.parent.iterdir()] == ["seg.dcm"]
    assert output.read_bytes() == b"older"


def test_a_derived_series_is_removed_with_its_segmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, label_map = small_case()
    derivation = Derivation(volume, tmp_path / "images")
    request = ExportRequest(
        layers=(label_map,),
        output=tmp_path / "seg.dcm",
        target=Target.DICOM_SEG,
        software_version="0.1.0",
        algorithm=ENGINE,
        derivation=derivation,
        codes={"*": TISSUE},
    )
    monkeypatch.setattr(delivery, "compare_series", lambda folder, volume: ["something"])
    assert not deliver(check(request)).verified
    assert list(tmp_path.iterdir()) == []


def test_an_image_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, label_map = small_case()
    write = delivery.write_label_maps

    def write_shifted(path: Path, layers: list[LabelMap]) -> None:
        write(path, [layer.with_array(np.roll(layer.array, 1, axis=0)) for layer in layers])

    monkeypatch.setattr(delivery, "write_label_maps", write_shifted)
    report = deliver(
        check(
            ExportRequest(
                layers=(label_map,), output=tmp_path / "a.nii.gz", target=Target.NIFTI, software_version="0.1.0"
            )
        )
    )
    assert ["voxels" in str(difference) for difference in report.differences] == [True]
    assert list(tmp_path.iterdir()) == []


def test_names_colours_and_tags_are_compared(tmp_path: Path) -> None:
    _, label_map = small_case()
    path = tmp_path / "a.nrrd"
    write_label_maps(path, [label_map])
    assert compare_label_maps(path, [label_map]) == []
    first, *others = label_map.segments
    changed = Segment(value=first.value, name="another", colour=(0.0, 0.0, 0.0), tags={"Terminology": "x"})
    found = compare_label_maps(path, [LabelMap(label_map.array, label_map.geometry, (changed, *others))])
    properties = [difference.data["what"].data["what"].code for difference in found]
    assert properties == ["segment_name", "segment_tags", "segment_colour"]
    sidecar_path(path).unlink()
    assert compare_label_maps(path, [label_map]) != []
