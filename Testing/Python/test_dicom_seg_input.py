"""DICOM SEG of any writer is read as labels and refused as an image; other DICOM objects are refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.segment_tags import NAME_TAG, TERMINOLOGY_TAG, TYPE_TAG
from fewshot_annotate.core.terminology import parse_tag, segment_terminology
from fewshot_annotate.core.volume import Geometry, LabelMap, to_image
from fewshot_annotate.io.files import read_label_maps, read_layers, read_volume
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from highdicom.uid import UID
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, generate_uid
from support.labels import OBLIQUE
from support.synthetic_dicom import GRID, random_labels, write_ct_series

pytestmark = pytest.mark.usefixtures("forked_workers")
OBLIQUE_GRID = Geometry((6, 7, 9), (0.75, 1.25, 2.5), (-11.5, 23.25, -40.0), OBLIQUE)
LIVER, ORGAN = ("10200004", "SCT", "Liver"), ("123037004", "SCT", "Anatomical Structure")


def headers(series: Path) -> list[Dataset]:
    return sorted((dcmread(file) for file in series.iterdir()), key=lambda header: header.InstanceNumber)


def description(number: int) -> SegmentDescription:
    algorithm = AlgorithmIdentificationSequence("other program", CodedConcept("123110", "DCM", "AI"), "7")
    return SegmentDescription(
        number, f"Structure {number}", CodedConcept(*ORGAN), CodedConcept(*LIVER), "AUTOMATIC", algorithm,
        display_color=CIELabColor.from_rgb(200, 20 * number, 30),
    )  # fmt: skip


def by_highdicom(path: Path, series: Path, pixels: np.ndarray, kind: str, **more: Any) -> Path:
    """A segmentation of another program, made with highdicom."""
    count = pixels.shape[3] if pixels.ndim == 4 else int(pixels.max())
    segmentation = Segmentation(
        headers(series), pixels.copy(), kind, [description(number + 1) for number in range(count)],
        UID(), 1, UID(), 1, "maker", "model", "1", "0", **more,
    )  # fmt: skip
    segmentation.save_as(path)
    return path


def by_dcmqi(path: Path, series: Path, layers: Sequence[LabelMap]) -> Path:
    """A segmentation written by dcmqi, as Slicer does."""
    attributes = []
    for number, layer in enumerate(layers):
        sitk.WriteImage(to_image(layer.array, layer.geometry), str(path.with_name(f"{number}.nrrd")))
        attributes.append(
            [
                {
                    "labelID": segment.value,
                    "SegmentLabel": segment.name,
                    "SegmentAlgorithmType": "MANUAL",
                    "recommendedDisplayRGBValue": [round(255 * part) for part in segment.colour],
                    "SegmentedPropertyCategoryCodeSequence": dict(
                        zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), ORGAN, strict=True)
                    ),
                    "SegmentedPropertyTypeCodeSequence": dict(
                        zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), LIVER, strict=True)
                    ),
                }
                for segment in layer.segments
            ]
        )
    metadata = {"ContentCreatorName": "x", "SeriesDescription": "x", "segmentAttributes": attributes}
    meta = path.with_name("meta.json")
    meta.write_text(json.dumps(metadata), encoding="utf-8")
    program = Path(sys.executable).with_name("itkimage2segimage")
    names = ",".join(str(path.with_name(f"{number}.nrrd")) for number in range(len(layers)))
    command = [program, "--inputImageList", names, "--inputDICOMDirectory", series, "--outputDICOM", path,
               "--inputMetadata", meta]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return path


def run(*arguments: object) -> int:
    return main(list(map(str, arguments)))


def masks(layers: Sequence[LabelMap]) -> dict[str, np.ndarray]:
    return {segment.name: layer.array == segment.value for layer in layers for segment in layer.segments}


def require_same(found: Sequence[LabelMap], expected: Sequence[LabelMap], grid: Geometry) -> None:
    expected_masks, found_masks = masks(expected), masks(found)
    assert found_masks.keys() == expected_masks.keys()
    for name, mask in expected_masks.items():
        assert (found_masks[name] == mask).all(), name
    assert all(layer.geometry.difference(grid, 1e-3) is None for layer in found)


SLICES = {"all": slice(None), "one": slice(3, 4), "every third": slice(0, None, 3), "two apart": slice(1, 6, 4)}


@pytest.mark.parametrize("grid", [GRID, OBLIQUE_GRID], ids=["upright", "oblique"])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("slices", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("count", [1, 3])
def test_segmentations_of_another_writer_are_read_on_the_grid_of_their_images(
    tmp_path: Path, count: int, slices: slice, kind: str, grid: Geometry
) -> None:
    label_map = random_labels(count, slices, grid)
    series = write_ct_series(tmp_path / "series", grid)
    path = by_highdicom(tmp_path / "x.img", series, label_map.array, kind)
    require_same(read_label_maps(path, read_volume(series).geometry), (label_map,), grid)


@pytest.mark.parametrize("slices", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("overlap", [False, True])
def test_segmentations_written_by_dcmqi_are_read(tmp_path: Path, overlap: bool, slices: slice) -> None:
    first = random_labels(3, slices)
    layers = [first]
    if overlap:
        overlapping = random_labels(1, slices)
        layers.append(LabelMap(overlapping.array, GRID, (random_labels(4).segments[3],)))
        layers[1] = layers[1].with_array(np.where(overlapping.array == 1, 4, 0).astype(np.uint8))
    series = write_ct_series(tmp_path / "series")
    found = read_label_maps(by_dcmqi(tmp_path / "seg.dcm", series, layers), GRID)
    require_same(found, layers, GRID)
    assert len(found) == len(layers)


def test_overlapping_segments_become_as_many_layers_as_they_need(tmp_path: Path) -> None:
    pixels = np.zeros((*GRID.shape, 4), np.uint8)
    pixels[1:3, 1:4, 1:4, 0] = pixels[2:5, 3:6, 3:8, 1] = pixels[1:3, 5:7, 5:9, 2] = pixels[:, :, :, 3] = 1
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), pixels, "BINARY")
    found = read_label_maps(path, GRID)
    assert [layer.values for layer in found] == [(1, 3), (2,), (4,)]
    read = masks(found)
    assert all((read[f"Structure {number + 1}"] == pixels[..., number]).all() for number in range(4))


def test_names_colours_codes_and_algorithm_are_kept(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    for segment in read_layers(path)[0].segments:
        assert segment.name == f"Structure {segment.value}"
        assert np.allclose(segment.colour, np.array([200, 20 * segment.value, 30]) / 255, atol=1.01 / 255)
        terms = segment_terminology(segment)
        assert terms is not None
        assert terms.type.value == "10200004"
        assert terms.category.value == "123037004"
        assert parse_tag(segment.tags[TERMINOLOGY_TAG]) == terms
        assert (segment.tags[TYPE_TAG], segment.tags[NAME_TAG]) == ("AUTOMATIC", "other program")


@pytest.mark.parametrize("max_value", [1, 100, 255])
def test_fractions_of_at_least_half_become_labels_and_this_is_reported(
    tmp_path: Path, max_value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fractions = np.random.default_rng(0).random((*GRID.shape, 2)).astype(np.float32)
    series = write_ct_series(tmp_path / "series")
    path = by_highdicom(tmp_path / "a.dcm", series, fractions, "FRACTIONAL", max_fractional_value=max_value)
    stored = np.round(fractions * max_value)
    read = masks(read_label_maps(path, GRID))
    assert all((read[f"Structure {n + 1}"] == (stored[..., n] * 2 >= max_value)).all() for n in (0, 1))
    assert run("export", path, "--to", "seg-nrrd", "-o", tmp_path / "a.seg.nrrd") == 0
    assert f"{max_value / 2:g} of {max_value} or more" in capsys.readouterr().err


def test_compressed_frames_are_read(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(3).array, "LABELMAP")
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    require_same(read_label_maps(path, GRID), (random_labels(3),), GRID)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_deflated_files_are_read(tmp_path: Path, kind: str) -> None:
    pixels = random_labels(1).array if kind == "FRACTIONAL" else random_labels(3).array
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), pixels, kind)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    require_same(read_label_maps(path, GRID), (random_labels(int(pixels.max())),), GRID)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_segmentations_without_file_meta_information_are_read(tmp_path: Path, kind: str) -> None:
    pixels = random_labels(1).array if kind == "FRACTIONAL" else random_labels(3).array
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), pixels, kind)
    content = path.read_bytes()
    (length,) = np.frombuffer(content[140:144], "<u4")  # of the group that follows the preamble and this element
    path.write_bytes(content[144 + int(length) :])
    require_same(read_label_maps(path, GRID), (random_labels(int(pixels.max())),), GRID)


def test_two_segments_of_one_number_are_refused(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    dataset = dcmread(path)
    dataset.SegmentSequence[1].SegmentNumber = 1  # whose name would be that of either
    dataset.save_as(path)
    with pytest.raises(InputError) as refused:
        read_label_maps(path, GRID)
    assert refused.value.code == "segmentation_unplaced"


@pytest.mark.parametrize("total", [2, None])
def test_a_part_of_a_segmentation_is_not_mistaken_for_all_of_it(tmp_path: Path, total: int | None) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    dataset = dcmread(path)
    dataset.ConcatenationUID, dataset.InConcatenationNumber = generate_uid(), 1
    if total:
        dataset.InConcatenationTotalNumber = total
    dataset.save_as(path)
    with pytest.raises(InputError) as refused:
        read_label_maps(path, GRID)
    assert refused.value.code == "segmentation_part"


def test_a_folder_with_one_segmentation_is_read_as_that_segmentation(tmp_path: Path) -> None:
    series = write_ct_series(tmp_path / "series")
    by_highdicom(series / "a.dcm", series, random_labels(2).array, "BINARY")
    require_same(read_label_maps(series, GRID), (random_labels(2),), GRID)
    (series / "b.dcm").write_bytes((series / "a.dcm").read_bytes())
    with pytest.raises(InputError, match=r"2 DICOM segmentations \(a.dcm, b.dcm\)"):
        read_label_maps(series, GRID)
    (series / "a.dcm").unlink()
    (series / "b.dcm").unlink()
    with pytest.raises(InputError, match="no DICOM segmentation"):
        read_label_maps(series, GRID)


@pytest.mark.parametrize("name", ["seg.dcm", "seg", "seg.nii.gz", "IM0001.seg.nrrd"])
def test_a_segmentation_is_refused_as_an_image_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = by_highdicom(tmp_path / name, write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    with pytest.raises(InputError, match="DICOM segmentation") as refused:
        read_volume(path)
    assert refused.value.code == "segmentation_as_image"


def test_a_segmentation_without_the_usual_preamble_is_recognised(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    path.write_bytes(path.read_bytes()[132:])
    require_same(read_label_maps(path, GRID), (random_labels(2),), GRID)
    with pytest.raises(InputError) as refused:
        read_volume(path)
    assert refused.value.code == "segmentation_as_image"


def test_a_segmentation_is_recognised_by_its_data_and_not_by_its_preamble(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    dataset = dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.3")
    dataset.save_as(path)
    require_same(read_label_maps(path, GRID), (random_labels(2),), GRID)
    with pytest.raises(InputError) as refused:
        read_volume(path)
    assert refused.value.code == "segmentation_as_image"


def test_labels_in_a_dicom_image_without_position_are_refused(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "LABELMAP")
    dataset = dcmread(path)
    dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7.2")  # a multi-frame screenshot
    dataset.Modality = "OT"
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(path)
    with pytest.raises(InputError):
        read_label_maps(path)


def test_frames_without_position_are_refused(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(2).array, "BINARY")
    dataset = dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    dataset.save_as(path)
    with pytest.raises(InputError) as refused:
        read_label_maps(path, GRID)
    assert refused.value.code == "segmentation_unplaced"


def test_frames_without_a_common_grid_are_refused(tmp_path: Path) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(1).array, "BINARY")
    dataset = dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient[0] += 1.0
    dataset.save_as(path)
    with pytest.raises(InputError) as refused:
        read_label_maps(path, GRID)
    assert refused.value.code == "segmentation_grids"


@pytest.mark.parametrize("gaps", [10**5, 10**9, 10**25])
def test_a_frame_very_far_from_the_others_is_refused_before_memory_is_filled(tmp_path: Path, gaps: int) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(1).array, "BINARY")
    dataset = dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient[2] = 2.5 * gaps - 40
    dataset.save_as(path)
    with pytest.raises(InputError) as refused:
        read_label_maps(path, GRID)
    assert refused.value.code == "segmentation_grids"


def test_a_segmentation_on_another_grid_needs_consent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Geometry(GRID.shape, (0.5, 1.25, 2.5), GRID.origin)
    path = by_highdicom(
        tmp_path / "a.dcm", write_ct_series(tmp_path / "other", other), random_labels(2).array, "BINARY"
    )
    output = tmp_path / "out.nrrd"
    assert run("fill", write_ct_series(tmp_path / "series"), path, "-o", output, "--engine", "propagate") == 2
    assert "--resample" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fill", "export", "batch"])
@pytest.mark.parametrize(("patient", "noted"), [("0816", True), ("0815", False), ("", False)])
def test_a_segmentation_of_another_patient_is_noted_without_the_identifiers(
    tmp_path: Path, command: str, patient: str, noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 5], 2:5, 3:7] = 1
    series = write_ct_series(tmp_path / "series")
    path = by_highdicom(tmp_path / "in.dcm", series, array, "BINARY")
    dataset = dcmread(path)
    dataset.PatientID = patient
    dataset.save_as(path)
    output, manifest = tmp_path / "out.nii.gz", tmp_path / "cases.csv"
    manifest.write_text("image,support,name,engine\nseries,in.dcm,one,propagate\n", encoding="utf-8")
    arguments = {
        "fill": ("fill", series, path, "-o", output, "--engine", "propagate"),
        "export": ("export", path, "--to", "nifti", "-o", output, "--reference", series),
        "batch": ("batch", manifest, "-o", tmp_path / "out", "--progress", "none"),
    }
    assert run(*arguments[command]) == 0
    errors = capsys.readouterr().err
    assert errors.count(f"{path}: its Patient ID differs from that of the images") == noted
    assert "081" not in errors


@pytest.mark.parametrize("case", ["other", "same", "missing", "of a second series"])
def test_a_segmentation_in_another_frame_of_reference_is_noted(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 5], 2:5, 3:7] = 1
    images = tmp_path / "images"
    images.mkdir()
    series = write_ct_series(images / "b")
    path = by_highdicom(tmp_path / "in.dcm", series, array, "BINARY")
    more = []
    if case == "of a second series":  # the first one, in the order of the files, is no reason for a note
        write_ct_series(images / "a")
        more = ["--series", headers(series)[0].SeriesInstanceUID]
    elif case != "same":
        dataset = dcmread(path)
        dataset.FrameOfReferenceUID = generate_uid() if case == "other" else ""
        dataset.save_as(path)
    assert run("fill", images, path, "-o", tmp_path / "out.nii.gz", "--engine", "propagate", *more) == 0
    note = f"{path}: its Frame of Reference UID differs from that of the images"
    assert capsys.readouterr().err.count(note) == (case == "other")


@pytest.mark.parametrize("command", ["fill", "suggest", "batch"])
@pytest.mark.parametrize(
    ("keyword", "text"),
    [("PatientID", "Patient ID"), ("FrameOfReferenceUID", "Frame of Reference UID"), ("SeriesInstanceUID", "")],
)
def test_a_further_volume_of_another_patient_or_frame_of_reference_is_noted(
    tmp_path: Path, command: str, keyword: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    series, other = write_ct_series(tmp_path / "series"), tmp_path / "other"
    shutil.copytree(series, other)
    for file in other.iterdir():
        dataset = dcmread(file)
        setattr(dataset, keyword, "1.2.3")
        dataset.save_as(file)
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 5], 2:5, 3:7] = 1
    path = by_highdicom(tmp_path / "in.dcm", series, array, "BINARY")
    manifest = tmp_path / "cases.csv"
    manifest.write_text("image,support,name,engine,also\nseries,in.dcm,one,propagate,other\n", encoding="utf-8")
    arguments = {
        "fill": ("fill", series, path, "-o", tmp_path / "out.nii.gz", "--engine", "propagate", "--also", other),
        "suggest": ("suggest", series, path, "--also", other),
        "batch": ("batch", manifest, "-o", tmp_path / "out", "--progress", "none"),
    }
    assert run(*arguments[command]) == 0
    errors = capsys.readouterr().err
    assert errors.count("differs from that of the images") == bool(text)
    assert not text or f"{other}: its {text} differs" in errors


def test_a_batch_accepts_segmentations_and_folders_that_hold_one(tmp_path: Path) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 5], 2:5, 3:7] = 1
    series = write_ct_series(tmp_path / "series")
    folder = tmp_path / "seg"
    folder.mkdir()
    by_highdicom(folder / "in.dcm", series, array, "BINARY")
    manifest = tmp_path / "cases.csv"
    manifest.write_text(
        "image,support,name,engine\nseries,seg/in.dcm,one,propagate\nseries,seg,two,propagate\n", encoding="utf-8"
    )
    assert run("batch", manifest, "-o", tmp_path / "out", "--progress", "none") == 0
    for name in ("one", "two"):
        (found,) = read_label_maps(tmp_path / "out" / name / "label.nii.gz")
        assert found.segments[0].name == "Structure 1"


def test_a_segmentation_in_a_subfolder_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 5], 2:5, 3:7] = 1
    inner = tmp_path / "study" / "seg"
    inner.mkdir(parents=True)
    series = write_ct_series(tmp_path / "study" / "series")
    by_highdicom(inner / "in.dcm", series, array, "BINARY")
    assert len(read_label_maps(inner)) == 1
    assert run("fill", series, tmp_path / "study", "-o", tmp_path / "out.nii.gz") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("study: no DICOM segmentation lies in this folder itself; give the file of the labels.")


OTHERS = {
    "RTSTRUCT": ("1.2.840.10008.5.1.4.1.1.481.3", "structure set (RTSTRUCT)"),
    "RTDOSE": ("1.2.840.10008.5.1.4.1.1.481.2", "dose map (RTDOSE)"),
    "RTPLAN": ("1.2.840.10008.5.1.4.1.1.481.5", "radiotherapy object"),
    "PR": ("1.2.840.10008.5.1.4.1.1.11.1", "presentation state"),
    "SR": ("1.2.840.10008.5.1.4.1.1.88.22", "structured report"),
    "DOC": ("1.2.840.10008.5.1.4.1.1.104.1", "document"),
}


@pytest.mark.parametrize("modality", OTHERS)
@pytest.mark.parametrize("in_folder", [False, True])
def test_other_dicom_objects_are_refused_as_labels_by_name(tmp_path: Path, modality: str, in_folder: bool) -> None:
    uid, name = OTHERS[modality]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.Modality = "Geheim^Name", modality
    folder = tmp_path / "labels"
    folder.mkdir()
    dataset.save_as(folder / "x.dcm", enforce_file_format=True)
    with pytest.raises(InputError) as refused:
        read_label_maps(folder if in_folder else folder / "x.dcm", GRID)
    if in_folder and modality != "RTSTRUCT":
        assert refused.value.code == "no_segmentation"
        return
    assert name in str(refused.value)
    assert "Geheim" not in str(refused.value)
    if modality != "RTDOSE":  # which is made of voxels
        with pytest.raises(InputError, match="no image"):
            read_volume(folder / "x.dcm")
    if modality == "RTSTRUCT":
        assert ".seg.nrrd" in str(refused.value)
        assert "plastimatch" in str(refused.value)


@pytest.mark.parametrize("length", [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.95])
def test_a_segmentation_that_ends_too_early_is_refused_in_one_line(tmp_path: Path, length: float) -> None:
    path = by_highdicom(tmp_path / "a.dcm", write_ct_series(tmp_path / "series"), random_labels(1).array, "BINARY")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * length)])
    with pytest.raises(InputError) as refused:
        read_label_maps(path, GRID)
    assert refused.value.code in ("file_truncated", "segmentation_unplaced")


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_an_exported_segmentation_can_be_exported_again(tmp_path: Path, kind: str) -> None:
    series = write_ct_series(tmp_path / "series")
    path = by_highdicom(tmp_path / "in.dcm", series, random_labels(3, slice(0, None, 2)).array, kind)
    first, second = tmp_path / "out.dcm", tmp_path / "out.seg.nrrd"
    assert run("export", path, "--to", "dicom-seg", "--reference", series, "--type", kind.lower(), "-o", first) == 0
    assert run("export", first, "--to", "seg-nrrd", "--reference", series, "-o", second) == 0
    require_same(read_label_maps(second), (random_labels(3, slice(0, None, 2)),), GRID)


def test_fill_accepts_a_segmentation_as_support(tmp_path: Path) -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[[0, 5], 2:5, 3:7] = 1
    image = np.full(GRID.shape, 100, np.int16)
    image[:, 2:5, 3:7] = 700
    series = write_ct_series(tmp_path / "series", array=image)
    path = by_highdicom(tmp_path / "in.dcm", series, array, "BINARY")
    output = tmp_path / "out.seg.nrrd"
    assert run("fill", series, path, "-o", output, "--engine", "propagate", "--progress", "none") == 0
    (filled,) = read_label_maps(output)
    assert filled.segments[0].name == "Structure 1"
    assert (filled.array[[0, 5]] == array[[0, 5]]).all()
    assert all(filled.array[k].any() for k in range(6))
