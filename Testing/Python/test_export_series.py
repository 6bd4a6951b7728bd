"""DICOM folders for export: a series that cannot be used is refused in one line that names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.export.dicom_series import read_series
from fewshot_annotate.io.dicom.slice_stack import ImagePlane, stack_slices
from fewshot_annotate.io.files import read_volume
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from support.data import load_case
from support.dicom import CASE, COUNT, series_folder, write_cropped_headers
from support.refusals import refusal_of


def refusal(folder: Path) -> InputError:
    refused = refusal_of(read_series, folder)
    assert str(folder) in str(refused)
    return refused


def test_the_grid_equals_that_of_itk() -> None:
    assert read_series(series_folder()).geometry.difference(load_case(CASE)[0].geometry) is None


def test_other_objects_in_the_folder_are_ignored(tmp_path: Path) -> None:
    folder = write_cropped_headers(tmp_path / "series")
    (folder / "notes.txt").write_text("notes")
    (folder / "inner").mkdir()
    assert len(read_series(folder).headers) == COUNT


CHANGED_SLICE = 4


def series_with_a_changed_slice(folder: Path, change: Callable[[Dataset], None]) -> Path:
    def change_one(header: Dataset, index: int) -> None:
        if index == CHANGED_SLICE:
            change(header)

    return write_cropped_headers(folder, change_one)


def test_two_series_are_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    other = generate_uid()

    def split(header: Dataset, index: int) -> None:
        if index >= 5:
            header.SeriesInstanceUID = other

    folder = write_cropped_headers(tmp_path / "series", split)
    assert refusal(folder).code == "many_series"
    assert len(read_series(folder, other).headers) == COUNT - 5
    with pytest.raises(InputError) as refused:
        read_series(folder, "1.2.3")
    assert refused.value.code == "series_unknown"


def test_mixed_orientations_are_refused_and_one_is_named(tmp_path: Path) -> None:
    def rotate(header: Dataset) -> None:
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    error = refusal(series_with_a_changed_slice(tmp_path / "series", rotate))
    assert error.code == "series_mixed"
    assert (
        error.data["first"] == f"{(CHANGED_SLICE * 5 + 3) % COUNT:02}.dcm"
    )  # as `write_cropped_headers` names its files
    assert error.data["count"] == 1


def test_two_slices_at_one_position_are_refused_and_named(tmp_path: Path) -> None:
    folder = write_cropped_headers(tmp_path / "series")
    other = dcmread(folder / "03.dcm")
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    other.save_as(folder / "other.dcm")
    error = refusal(folder)
    assert error.code == "series_doubled"
    assert (error.data["first"], error.data["second"]) == ("03.dcm", "other.dcm")


def test_a_copy_of_a_file_changes_nothing(tmp_path: Path) -> None:
    folder = write_cropped_headers(tmp_path / "series")
    original = read_series(folder)
    shutil.copyfile(folder / "03.dcm", folder / "copy.dcm")
    assert read_series(folder).geometry == original.geometry


def test_uneven_slices_are_refused(tmp_path: Path) -> None:
    def shift(header: Dataset) -> None:
        x, y, z = header.ImagePositionPatient
        header.ImagePositionPatient = [x, y, z + 0.7]

    assert refusal(series_with_a_changed_slice(tmp_path / "series", shift)).code == "series_uneven"


@pytest.mark.parametrize(("name", "value"), [("Rows", 40), ("Columns", 40), ("PixelSpacing", [0.5, 0.5])])
def test_slices_of_several_sizes_are_refused(tmp_path: Path, name: str, value: object) -> None:
    error = refusal(series_with_a_changed_slice(tmp_path / "series", lambda header: setattr(header, name, value)))
    assert (error.code, error.data["what"]) == ("series_sizes", name)


def test_images_without_a_position_in_the_patient_are_refused(tmp_path: Path) -> None:
    def remove_position(header: Dataset, index: int) -> None:
        del header.ImagePositionPatient

    assert refusal(write_cropped_headers(tmp_path / "series", remove_position)).code == "series_no_place"


def test_a_series_without_frame_of_reference_is_refused(tmp_path: Path) -> None:
    def remove_frame_of_reference(header: Dataset, index: int) -> None:
        del header.FrameOfReferenceUID

    error = refusal(write_cropped_headers(tmp_path / "series", remove_frame_of_reference))
    assert (error.code, error.data["what"]) == ("series_frames", "FrameOfReferenceUID")


def test_several_frames_without_functional_groups_are_refused(tmp_path: Path) -> None:
    def claim_frames(header: Dataset) -> None:
        header.NumberOfFrames = 3

    assert refusal(series_with_a_changed_slice(tmp_path / "series", claim_frames)).code == "series_no_place"


def test_a_single_slice_an_empty_folder_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    assert refusal(folder).code == "no_series"
    shutil.copyfile(next(series_folder().iterdir()), folder / "1.dcm")
    assert refusal(folder).code == "series_one_slice"
    assert refusal(folder / "1.dcm").code == "series_is_file"
    assert refusal(tmp_path / "nowhere").code == "file_missing"


def test_a_truncated_slice_is_refused(tmp_path: Path) -> None:
    folder = write_cropped_headers(tmp_path / "series")
    os.truncate(folder / "03.dcm", 900)
    with pytest.raises(InputError):
        read_series(folder)


@pytest.mark.parametrize(("fault", "code"), [("mixed", "series_mixed"), ("doubled", "series_doubled")])
def test_an_unusable_series_is_refused_as_an_image_too(tmp_path: Path, fault: str, code: str) -> None:
    for path in sorted(series_folder().iterdir())[:6]:
        shutil.copyfile(path, tmp_path / path.name)
    header = dcmread(tmp_path / "003.dcm")
    if fault == "mixed":
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    else:
        header.ImagePositionPatient = dcmread(tmp_path / "005.dcm").ImagePositionPatient
    header.save_as(tmp_path / "003.dcm")
    with pytest.raises(InputError) as refused:
        read_volume(tmp_path)
    assert refused.value.code == code
    assert "003.dcm" in str(refused.value)


@given(
    count=st.integers(2, 40),
    spacing=st.floats(0.05, 20),
    tilt=st.floats(-0.6, 0.6),
    seed=st.integers(0, 999),
    missing=st.sets(st.integers(0, 39), max_size=3),
)
def test_slices_in_any_order_are_sorted_by_position(
    count: int, spacing: float, tilt: float, seed: int, missing: set[int]
) -> None:
    kept = [index for index in range(count) if index not in missing or count < 12]
    row, column = (1.0, 0.0, 0.0), (0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    shuffled = np.random.default_rng(seed).permutation(kept)
    slices = [ImagePlane(str(index), (3.0, -4.0, 5 + index * spacing), row, column) for index in shuffled.tolist()]
    stack = stack_slices(slices, "the series")
    assert [int(slices[position].name) - min(kept) for position in stack.order] == list(stack.lattice_indices)
    assert stack.count == max(kept) - min(kept) + 1
    assert np.allclose(stack.step, (0, 0, spacing))
    assert stack.tilt == pytest.approx(np.degrees(abs(tilt)) if abs(np.tan(tilt)) > 0.01 else 0, abs=1e-3)
