"""Files of DICOM series: which belong to a volume, how a series is chosen, and which series are refused."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.volume import Geometry
from fewshot_annotate.io.files import read_volume
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless, generate_uid
from support.image_series import (
    GRID,
    add_other_object,
    assert_same_world,
    rescaled,
    set_pixels,
    stored_values,
    values_by_pydicom,
    write_multi_frame,
    write_series,
)
from support.refusals import refusal_of

refusal = partial(refusal_of, read_volume)


# --- files that belong to a series


@pytest.mark.parametrize("name", ["plain", "IM0001", "slice.ima"])
def test_files_without_a_suffix_are_read(name: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    expected = values_by_pydicom(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{name}{number}")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "empty").touch()
    assert_same_world(read_volume(folder), expected)


def test_slices_without_the_usual_preamble_are_read(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    expected = values_by_pydicom(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        content = path.read_bytes()
        start = 132 if number % 2 else 132 + 12 + int.from_bytes(content[140:144], "little")
        path.write_bytes(content[start:])  # with and without the file meta information
    assert_same_world(read_volume(folder), expected)


def test_a_tree_of_folders_is_searched_where_the_folder_itself_holds_no_image(tmp_path: Path) -> None:
    inner = tmp_path / "DICOM" / "PA1" / "ST1" / "SE1"
    inner.parent.mkdir(parents=True)
    write_series(inner)
    (tmp_path / "DICOMDIR").write_bytes(b"nothing to see")
    assert_same_world(read_volume(tmp_path), values_by_pydicom(inner))
    write_series(
        tmp_path / "DICOM" / "PA1" / "ST1" / "SE2", lambda dataset, index: setattr(dataset, "SeriesNumber", 8)
    )
    error = refusal(tmp_path)
    assert error.code == "many_series"
    assert "3 (5 CT images" in str(error)
    assert "8 (5 CT images" in str(error)
    assert_same_world(read_volume(tmp_path, "3"), values_by_pydicom(inner))


def test_folders_within_a_series_are_ignored(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    expected = values_by_pydicom(folder)
    write_series(folder / "older")
    assert_same_world(read_volume(folder), expected)


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT", "SR", "PR", "RTDOSE", "localizer", "screenshot", "colour"])
def test_other_objects_beside_the_images_are_ignored(kind: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    expected = values_by_pydicom(folder)
    add_other_object(folder, kind)
    assert_same_world(read_volume(folder), expected)


@pytest.mark.parametrize("kind", ["localizer", "colour"])
def test_other_objects_of_the_same_series_are_ignored(kind: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    expected = values_by_pydicom(folder)
    uid = dcmread(next(folder.iterdir())).SeriesInstanceUID
    other = add_other_object(folder, kind)
    dataset = dcmread(other)
    dataset.SeriesInstanceUID = uid
    dataset.save_as(other)
    assert_same_world(read_volume(folder), expected)


@pytest.mark.parametrize("nested", [False, True])
def test_copies_of_a_file_count_once(nested: bool, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    folder = write_series(tmp_path / "all" / "series")
    expected = values_by_pydicom(folder)
    if nested:
        shutil.copytree(folder, tmp_path / "all" / "again")
    else:
        shutil.copy(folder / "002.dcm", folder / "002 (copy).dcm")
    assert_same_world(read_volume(tmp_path / "all" if nested else folder), expected)


def test_another_slice_with_the_same_uid_is_not_taken_for_a_copy(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", lambda dataset, index: setattr(dataset, "SOPInstanceUID", "1.2.3"))
    assert_same_world(read_volume(folder), values_by_pydicom(folder))
    other = dcmread(folder / "002.dcm")
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(folder / "changed.dcm")
    assert refusal(folder).code == "series_doubled"


@pytest.mark.parametrize("count", [2, 3])
def test_several_images_at_each_position_are_reported_as_several_volumes(count: int, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    for path in sorted(folder.iterdir()):
        for number in range(1, count):
            dataset = dcmread(path)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.save_as(folder / f"phase {number} {path.name}")
    error = refusal(folder)
    assert error.code == "series_many_volumes"
    assert f"{count} images at each position" in str(error)


@pytest.mark.parametrize("total", [2, 3])
def test_a_part_of_a_concatenation_is_not_mistaken_for_all_of_it(total: int, tmp_path: Path) -> None:
    expected = write_multi_frame(tmp_path / "a.dcm", order=(3, 1))
    expected |= write_multi_frame(tmp_path / "b.dcm", order=(0, 4, 2))
    for number, name in enumerate(("a.dcm", "b.dcm"), start=1):
        dataset = dcmread(tmp_path / name)
        dataset.SeriesInstanceUID = dataset.ConcatenationUID = "1.2.3"
        dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = number, total
        dataset.save_as(tmp_path / name)
    if total == 2:
        assert_same_world(read_volume(tmp_path), expected)
    error = refusal(tmp_path / "b.dcm" if total == 2 else tmp_path)
    assert error.code == "series_part"
    assert f"{total - 1} of the {total} files" in str(error)


@pytest.mark.parametrize(
    ("present", "message"),
    [((1, 3), "2 of the 3 or more"), ((2,), "1 of the 2 or more"), ((1,), "1 of the 2 or more"), ((1, 2, 3), "")],
)
def test_a_concatenation_may_lack_its_number_of_files(present: tuple[int, ...], message: str, tmp_path: Path) -> None:
    expected: dict[tuple[float, ...], float] = {}
    for number, order in enumerate([(4, 1), (0,), (3, 2)], start=1):
        if number not in present:
            continue
        file = tmp_path / f"{9 - number}.dcm"
        expected |= write_multi_frame(file, order=order)
        dataset = dcmread(file)
        dataset.SeriesInstanceUID = dataset.ConcatenationUID = "1.2.3"
        dataset.InConcatenationNumber = number
        dataset.save_as(file)
    if message:
        error = refusal(tmp_path)
        assert error.code == "series_part"
        assert message in str(error)
    else:
        assert_same_world(read_volume(tmp_path), expected)


def test_a_single_slice_is_refused_with_the_advice_to_name_its_folder(tmp_path: Path) -> None:
    error = refusal(sorted(write_series(tmp_path / "series").iterdir())[0])
    assert error.code == "series_is_file"
    assert "name the folder" in str(error)


def two_series(folder: Path) -> dict[str, dict]:
    """Two series with a SEG and a localizer beside them; values of each by its Series Number."""
    write_series(folder)
    expected = {"3": values_by_pydicom(folder)}
    other = folder.parent / "other"
    write_series(other, lambda dataset, index: (rescaled(dataset, 2, 1), setattr(dataset, "SeriesNumber", 4)))
    expected["4"] = values_by_pydicom(other)
    for path in other.iterdir():
        shutil.move(path, folder / f"other{path.name}")
    add_other_object(folder, "SEG")
    add_other_object(folder, "localizer")
    return expected


def test_one_of_two_series_is_chosen_by_number_by_uid_or_by_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    expected = two_series(folder)
    error = refusal(folder)
    assert error.code == "many_series"
    assert "2 DICOM series: 3 (5 CT images, such as 001.dcm), 4 (5 CT images, such as other001.dcm)" in str(error)
    uid = dcmread(folder / "other001.dcm").SeriesInstanceUID
    assert uid not in str(error)
    for choice, number in {"3": "3", "4": "4", uid: "4", "other002.dcm": "4", "001.dcm": "3"}.items():
        assert_same_world(read_volume(folder, choice), expected[number])
    unknown = refusal(folder, "7")
    assert unknown.code == "series_unknown"
    assert "3 (5 CT images" in str(unknown)
    assert uid not in str(unknown)


# --- series that are refused in one line


@pytest.mark.parametrize("gaps", [10**5, 10**9, 10**25])
def test_a_slice_very_far_from_the_others_is_refused_before_memory_is_filled(gaps: int, tmp_path: Path) -> None:
    def far_away(dataset: Dataset, index: int) -> None:
        if index == 4:
            dataset.ImagePositionPatient = [-11.5, 23.25, 2.5 * gaps - 40]

    assert refusal(write_series(tmp_path / "series", far_away)).code == "series_uneven"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PatientID", "0816"), ("StudyInstanceUID", "1.2.840.99.7"), ("FrameOfReferenceUID", "1.2.840.99.8")],
)
def test_slices_of_another_patient_study_or_frame_of_reference_are_refused_without_their_identifiers(
    name: str, value: str, tmp_path: Path
) -> None:
    def of_another(dataset: Dataset, index: int) -> None:
        dataset.PatientID = "0815"
        if index == 2:
            setattr(dataset, name, value)

    folder = write_series(tmp_path / "series", of_another)
    (other,) = (path for path in folder.iterdir() if dcmread(path)[name].value == value)
    error = refusal(folder)
    assert (error.code, error.data["what"], error.data["count"]) == ("series_patients", name, 1)
    assert other.name in str(error)
    assert value not in str(error)
    assert "0815" not in str(error)


def test_one_series_uid_in_the_folders_of_two_patients_is_refused(tmp_path: Path) -> None:
    for number, patient in enumerate(("0815", "0816")):

        def of_patient(dataset: Dataset, index: int, patient: str = patient, number: int = number) -> None:
            dataset.PatientID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = patient, "1.2.3", "1.2"
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + 5 * 2.5 * number]

        write_series(tmp_path / patient, of_patient)
    assert refusal(tmp_path).code == "series_patients"
    assert read_volume(tmp_path / "0816").geometry.shape[0] == 5


@pytest.mark.parametrize("name", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_uid_of_its_own_for_each_slice_is_taken_for_a_habit_of_the_writer(name: str, tmp_path: Path) -> None:
    def of_own_uid(dataset: Dataset, index: int) -> None:
        setattr(dataset, name, f"1.2.{index}")

    assert read_volume(write_series(tmp_path / "series", of_own_uid)).geometry.shape[0] == 5


def test_a_series_in_pairs_of_slices_of_one_frame_of_reference_is_refused(tmp_path: Path) -> None:
    def in_pairs(dataset: Dataset, index: int) -> None:
        dataset.FrameOfReferenceUID = f"1.2.{index // 2}"

    error = refusal(write_series(tmp_path / "series", in_pairs))
    assert (error.code, error.data["count"]) == ("series_patients", 3)


def test_a_slice_without_patient_id_belongs_to_the_others(tmp_path: Path) -> None:
    def some_without(dataset: Dataset, index: int) -> None:
        dataset.PatientID = "" if index == 2 else "0815"

    assert read_volume(write_series(tmp_path / "series", some_without)).geometry.shape[0] == 5


@pytest.mark.parametrize("name", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("indices", [range(5), (2,)], ids=["all", "one"])
def test_images_without_position_are_refused(name: str, indices: object, tmp_path: Path) -> None:
    def remove(dataset: Dataset, index: int) -> None:
        if index in indices:
            del dataset[name]

    error = refusal(write_series(tmp_path / "series", remove))
    assert error.code == "series_no_place"
    assert "Image Position" in str(error)


@pytest.mark.parametrize("orientation", [[0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, -1, 0.01, 0]])
def test_orientations_that_span_no_plane_are_refused(orientation: list[float], tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.ImageOrientationPatient = orientation

    assert refusal(write_series(tmp_path / "series", change)).code == "series_no_place"


def test_rounded_direction_cosines_become_perpendicular_and_of_unit_length(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.ImageOrientationPatient = [0.98, 0, 0, 0.01, 1.03, 0]

    geometry = read_volume(write_series(tmp_path / "series", change)).geometry
    assert np.allclose(geometry.direction_matrix, np.eye(3), rtol=0, atol=1e-9)
    assert np.allclose(geometry.spacing, GRID.spacing, rtol=0, atol=1e-6)


def test_images_without_pixel_spacing_are_refused(tmp_path: Path) -> None:
    def remove(dataset: Dataset, index: int) -> None:
        del dataset.PixelSpacing

    assert refusal(write_series(tmp_path / "series", remove)).code == "series_no_spacing"


@pytest.mark.parametrize("name", ["SC_rgb_small_odd.dcm", "examples_palette.dcm"])
def test_colour_images_are_refused_by_name(name: str, tmp_path: Path) -> None:
    for index in range(2):
        dataset = dcmread(get_testdata_file(name, download=False))
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, index], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SeriesInstanceUID = [1, 1], "1.2.3"
        dataset.save_as(tmp_path / f"{index}.dcm")
    error = refusal(tmp_path)
    assert error.code == "series_colour"
    assert "colour" in str(error)


def test_slices_of_several_sizes_are_refused(tmp_path: Path) -> None:
    def smaller(dataset: Dataset, index: int) -> None:
        if index == 2:
            dataset.Rows = 3
            set_pixels(dataset, stored_values()[2, :3])

    error = refusal(write_series(tmp_path / "series", smaller))
    assert (error.code, error.data["what"]) == ("series_sizes", "Rows")


def test_a_slice_whose_pixels_end_early_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    path = folder / "002.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    error = refusal(folder)
    assert error.code == "file_unreadable"
    assert "002.dcm" in str(error)


def test_a_compressed_slice_that_ends_early_is_not_said_to_lack_attributes(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", lambda dataset, index: dataset.compress(RLELossless))
    path = folder / "002.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    assert str(refusal(folder)).startswith(f"{path}: cannot be read as an image (the slice is damaged)")


@pytest.mark.parametrize("name", ["BitsStored", "PhotometricInterpretation", "SamplesPerPixel"])
def test_attributes_with_a_single_possible_value_may_be_missing(name: str, tmp_path: Path) -> None:
    volume = read_volume(write_series(tmp_path / "series", lambda dataset, index: delattr(dataset, name)))
    assert np.array_equal(volume.array, stored_values())


@pytest.mark.parametrize(
    ("name", "message"), [("PixelRepresentation", "Pixel Representation"), ("PixelData", "Pixel Data")]
)
def test_a_slice_without_required_pixel_attributes_is_not_called_damaged(
    name: str, message: str, tmp_path: Path
) -> None:
    error = refusal(write_series(tmp_path / "series", lambda dataset, index: delattr(dataset, name)))
    assert f"its header lacks {message}" in str(error)


# --- rounded positions


@pytest.mark.parametrize("gap", [0.5, 1.25, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_jitter_of_positions_is_not_taken_for_a_missing_slice(gap: float, seed: int, tmp_path: Path) -> None:
    grid = Geometry((12, 6, 8), (1, 1, gap))
    jitter = np.random.default_rng(seed).uniform(-1, 1, (12, 3)) * gap * 0.02 / 3

    def move(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = np.round(np.array(dataset.ImagePositionPatient) + jitter[index], 6).tolist()

    volume = read_volume(write_series(tmp_path / "series", move, grid))
    assert np.array_equal(volume.array, stored_values(grid=grid))
    assert np.allclose(volume.geometry.spacing, grid.spacing, rtol=0.005)


@pytest.mark.parametrize("gap", [1.0, 3.0])
def test_a_missing_slice_among_jitter_is_still_found(gap: float, tmp_path: Path) -> None:
    grid = Geometry((12, 6, 8), (1, 1, gap))
    jitter = np.random.default_rng(0).uniform(-1, 1, 12) * gap * 0.01

    def move(dataset: Dataset, index: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + jitter[index]]

    folder = write_series(tmp_path / "series", move, grid)
    (folder / "005.dcm").unlink()
    error = refusal(folder)
    assert error.code == "series_gap"
    assert "1 between 004.dcm and 006.dcm" in str(error) or "1 between 006.dcm and 004.dcm" in str(error)


def test_jitter_does_not_add_up_over_a_long_series(tmp_path: Path) -> None:
    grid = Geometry((120, 2, 2), (1, 1, 0.7))

    def round_off(dataset: Dataset, index: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, round(z, 2)]

    folder = write_series(tmp_path / "series", round_off, grid)
    assert read_volume(folder).array.shape == grid.shape
