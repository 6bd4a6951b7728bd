"""Reading and writing of image and label files, and the files that are refused."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.io import files
from fewshot_annotate.io.files import (
    WRITABLE_SUFFIXES,
    image_suffix,
    merge_layers,
    read_label_maps,
    read_volume,
    require_writable,
    write_array,
    write_label_maps,
)
from fewshot_annotate.io.voxel_stream import Writable
from support.data import REPOSITORY_CASES, load_case
from support.labels import TERMINOLOGY, small_case
from support.refusals import refusal_of

NAMED = (
    Segment(value=1, name="corps calleux", colour=(0.25, 0.5, 0.75), tags={"TerminologyEntry": TERMINOLOGY}),
    Segment(value=2, name="白質", colour=(0.1, 0.2, 0.3)),
)


def small_volume() -> Volume:
    """A corner of a real volume, so that writing and reading it again many times is quick."""
    volume = small_case()[0]
    array = np.ascontiguousarray(volume.array[:20, -30:, -24:])
    return Volume(array, Geometry(array.shape, volume.geometry.spacing))


def refusal(path: Path, read: Callable[[Path], object] = read_volume) -> InputError:
    error = refusal_of(read, path)
    assert str(path) in str(error)
    return error


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], is_vector: bool = False) -> None:
    image = sitk.GetImageFromArray(change(small_volume().array), isVector=is_vector)
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_names_and_colours_are_kept(suffix: str, tmp_path: Path) -> None:
    label_map = small_case()[1]
    path = tmp_path / f"label{suffix}"
    write_label_maps(path, [LabelMap(label_map.array, label_map.geometry, NAMED)])
    (read,) = read_label_maps(path, label_map.geometry)
    assert [(s.value, s.name, s.tags) for s in read.segments] == [(s.value, s.name, s.tags) for s in NAMED]
    assert np.allclose([s.colour for s in read.segments], [s.colour for s in NAMED], atol=1e-6)


def test_labels_without_names_get_a_number_and_distinct_colours(tmp_path: Path) -> None:
    label_map = small_case()[1]
    sitk.WriteImage(sitk.GetImageFromArray(label_map.array), str(tmp_path / "label.nrrd"))
    (read,) = read_label_maps(tmp_path / "label.nrrd", Geometry(label_map.array.shape))
    assert [segment.name for segment in read.segments] == [f"Label {value}" for value in read.values]
    assert len({segment.colour for segment in read.segments}) == len(read.segments)


def test_label_values_above_255_are_kept(tmp_path: Path) -> None:
    label_map = small_case()[1]
    large = label_map.array.astype(np.uint16) * 20_000
    for suffix in WRITABLE_SUFFIXES:
        write_label_maps(tmp_path / f"a{suffix}", [label_map.with_array(large)])
        (read,) = read_label_maps(tmp_path / f"a{suffix}", label_map.geometry)
        assert np.array_equal(read.array, large)


def test_a_plain_list_of_names_beside_the_file_is_read(tmp_path: Path) -> None:
    label_map = small_case()[1]
    write_array(tmp_path / "label.nii.gz", label_map.array, label_map.geometry)
    (tmp_path / "label.nii.gz.labels.json").write_text('{"1": "head"}', encoding="utf-8")
    (read,) = read_label_maps(tmp_path / "label.nii.gz", label_map.geometry)
    assert [segment.name for segment in read.segments][:2] == ["head", "Label 2"]


@pytest.mark.parametrize(
    "content", ["", "[", "[]", "3", '{"x": "head"}', '{"1": {}}', '{"1": {"name": "a", "colour": [1]}}', "[" * 99999]
)
def test_a_damaged_list_of_names_is_refused(content: str, tmp_path: Path) -> None:
    label_map = small_case()[1]
    write_array(tmp_path / "label.nrrd", label_map.array, label_map.geometry)
    (tmp_path / "label.nrrd.labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="label names") as error:
        read_label_maps(tmp_path / "label.nrrd", label_map.geometry)
    assert error.value.code == "sidecar_unreadable"


def test_names_of_an_overwritten_file_are_not_given_to_the_new_labels(tmp_path: Path) -> None:
    label_map = small_case()[1]
    path = tmp_path / "label.nrrd"
    write_label_maps(path, [LabelMap(label_map.array, label_map.geometry, NAMED)])
    write_label_maps(path, [LabelMap(label_map.array, label_map.geometry)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["label.nrrd"]


def test_two_formats_of_one_name_keep_their_own_names(tmp_path: Path) -> None:
    label_map = small_case()[1]
    write_label_maps(tmp_path / "a.nii.gz", [LabelMap(label_map.array, label_map.geometry, NAMED)])
    other = (Segment(value=1, name="other"), *NAMED[1:])
    write_label_maps(tmp_path / "a.nrrd", [LabelMap(label_map.array, label_map.geometry, other)])
    (first,) = read_label_maps(tmp_path / "a.nii.gz", label_map.geometry)
    assert first.segments[0].name == "corps calleux"


def test_writing_leaves_no_temporary_files(tmp_path: Path) -> None:
    label_map = small_case()[1]
    write_label_maps(tmp_path / "a.seg.nrrd", [label_map])
    write_array(tmp_path / "b.nii.gz", label_map.array, label_map.geometry)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.seg.nrrd", "b.nii.gz"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_map = small_case()[1]
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"old")

    def fail_half_way(stream: Writable, *_: object) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(files, "write_image", fail_half_way)
    with pytest.raises(InputError) as error:
        write_label_maps(path, [LabelMap(label_map.array, label_map.geometry, NAMED)])
    assert error.value.code == "output_unwritable"
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]


# --- files that are refused


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.nii.gz").code == "file_missing"


@pytest.mark.parametrize("suffix", [*WRITABLE_SUFFIXES, ".dcm", ".xyz"])
def test_an_empty_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    assert refusal(path).code == "file_empty"


@pytest.mark.parametrize("suffix", [*WRITABLE_SUFFIXES, ".dcm", ".xyz", ".png"])
def test_garbage_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(random.Random(1).randbytes(5000))
    assert refusal(path).code == "file_unreadable"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.995])
@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_a_truncated_file_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    volume = small_volume()
    path = tmp_path / f"a{suffix}"
    write_array(path, volume.array, volume.geometry)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert refusal(path).code in ("file_truncated", "file_unreadable")


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_a_file_with_flipped_bits_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    volume = small_volume()
    path = tmp_path / f"a{suffix}"
    labels = (volume.array > np.median(volume.array)).astype(np.uint8)
    layers = [LabelMap(labels, volume.geometry, NAMED[:1])]
    write_label_maps(path, layers)
    content = path.read_bytes()
    rng = random.Random(2)
    refused = 0
    for _ in range(150):
        data = bytearray(content)
        data[rng.randrange(min(len(data), rng.choice([400, 2000, len(data)])))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        for read in (read_volume, lambda file: read_label_maps(file, volume.geometry)):
            try:
                read(path)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused


@pytest.mark.parametrize("where", [0.3, 0.6, 0.95])
def test_a_compressed_nifti_with_a_damaged_middle_is_refused(where: float, tmp_path: Path) -> None:
    volume = small_volume()
    path = tmp_path / "a.nii.gz"
    write_array(path, volume.array, volume.geometry)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 0xFF
    path.write_bytes(data)
    assert refusal(path).code == "file_unreadable"


def test_a_nifti_of_several_gzip_members_is_read(tmp_path: Path) -> None:
    volume = small_volume()
    write_array(tmp_path / "a.nii", volume.array, volume.geometry)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data[:9000]) + gzip.compress(data[9000:]))
    assert np.array_equal(read_volume(tmp_path / "b.nii.gz").array, volume.array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("change", "is_vector", "code"),
    [
        (lambda array: array[5], False, "not_3d"),
        (lambda array: array[5:6], False, "not_3d"),
        (lambda array: np.stack([array, array]), False, "not_3d"),
        (lambda array: np.stack([array] * 3, axis=-1), True, "not_scalar"),
        (lambda array: np.full_like(array, 7), False, "volume_constant"),
        (
            lambda array: np.where(np.arange(array.size).reshape(array.shape) == 99, np.nan, array),
            False,
            "volume_nan",
        ),
        (lambda array: np.where(np.arange(array.size).reshape(array.shape) == 9, np.inf, array), False, "volume_nan"),
    ],
    ids=["2D", "one slice", "4D", "vector", "constant", "NaN", "infinite"],
)
def test_a_file_that_holds_no_single_volume_is_refused(
    suffix: str, change: Callable[[np.ndarray], np.ndarray], is_vector: bool, code: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    rewrite(path, change, is_vector)
    assert refusal(path).code == code


def test_complex_numbers_are_refused_as_image_and_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    rewrite(path, lambda array: array.astype(np.complex64))
    grid = Geometry(small_volume().array.shape)
    assert refusal(path).code == "not_scalar"
    assert refusal(path, lambda file: read_label_maps(file, grid)).code == "not_scalar"


def test_a_fourth_dimension_of_size_one_is_dropped(tmp_path: Path) -> None:
    rewrite(tmp_path / "a.nii.gz", lambda array: array[None])
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, small_volume().array)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.5, "label_not_integer"),
        (-1, "label_out_of_range"),
        (65536, "label_out_of_range"),
        (np.nan, "label_not_integer"),
    ],
)
def test_values_that_are_not_labels_are_refused(value: float, code: str, tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), dtype=np.float64)
    array[1, 2, 3] = value
    write_array(tmp_path / "a.nrrd", array, Geometry(array.shape))
    assert refusal(tmp_path / "a.nrrd", lambda file: read_label_maps(file, Geometry(array.shape))).code == code


def test_whole_numbers_stored_as_floats_are_accepted_as_labels(tmp_path: Path) -> None:
    label_map = small_case()[1]
    write_array(tmp_path / "a.nii.gz", label_map.array.astype(np.float32), label_map.geometry)
    (read,) = read_label_maps(tmp_path / "a.nii.gz", label_map.geometry)
    assert np.array_equal(read.array, label_map.array)


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        ({"spacing": [1, 1, 1.01]}, "labels_off_grid", "spacing (1, 1, 1.01) instead of (1, 1, 1)"),
        ({"origin": [0, 0.1, 0]}, "labels_off_grid", "position (0, 0.1, 0) instead of (0, 0, 0)"),
        ({"direction": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}, "labels_outside", " labelled voxels lie outside"),
        ({"shape": [20, 30, 25]}, "labels_outside", "600 labelled voxels lie outside"),
    ],
)
def test_labels_on_another_grid_are_refused_with_the_difference_named(
    change: dict[str, list[float]], code: str, what: str, tmp_path: Path
) -> None:
    grid = Geometry((20, 30, 24))
    other = Geometry.from_json(grid.to_json() | change)
    write_array(tmp_path / "a.nrrd", np.ones(other.shape, np.uint8), other)
    error = refusal(tmp_path / "a.nrrd", lambda file: read_label_maps(file, grid))
    assert error.code == code
    assert what in str(error)


# --- DICOM folders


def dicom_slices() -> list[Path]:
    return sorted((REPOSITORY_CASES / "dicom_ct" / "series").iterdir())


@pytest.mark.parametrize(
    ("missing", "code"), [([9], "series_gap"), ([0], None), (range(1, 20), "not_3d"), (range(20), "no_series")]
)
def test_a_series_with_a_gap_is_refused(missing: list[int], code: str | None, tmp_path: Path) -> None:
    for number, source in enumerate(dicom_slices()):
        if number not in missing:
            shutil.copyfile(source, tmp_path / source.name)
    if code is None:
        assert read_volume(tmp_path).array.shape[0] == len(dicom_slices()) - 1
    else:
        assert refusal(tmp_path).code == code


def test_a_series_with_a_truncated_slice_is_refused(tmp_path: Path) -> None:
    for source in dicom_slices():
        shutil.copyfile(source, tmp_path / source.name)
    truncated = tmp_path / dicom_slices()[7].name
    os.truncate(truncated, truncated.stat().st_size // 2)
    assert refusal(tmp_path).code in ("file_unreadable", "series_gap")


def test_positions_of_dicom_slices_do_not_depend_on_file_names(tmp_path: Path) -> None:
    for number, source in enumerate(dicom_slices()):
        shutil.copyfile(source, tmp_path / f"{(number * 7) % 20:03}.dcm")
    (tmp_path / "readme.txt").write_text("notes")
    assert np.array_equal(read_volume(tmp_path).array, load_case("dicom_ct")[0].array)


def test_a_folder_without_images_is_refused_as_a_series(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "no_series"


# --- output paths


@pytest.mark.parametrize("name", ["a.png", "a", "a.nii.gzz", ".nii.gz", "a.json"])
def test_unknown_file_types_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    label_map = small_case()[1]
    with pytest.raises(InputError) as error:
        write_label_maps(tmp_path / name, [label_map])
    assert error.value.code == "suffix_unknown"
    assert not list(tmp_path.iterdir())


def test_the_longest_known_suffix_determines_the_format() -> None:
    assert image_suffix(Path("a.b.SEG.NRRD")) == ".seg.nrrd"
    assert image_suffix(Path("a.nii.gz")) == ".nii.gz"


@pytest.mark.parametrize("link", ["itself", "symlink", "hard link", "through a linked folder"])
def test_an_output_that_is_an_input_is_refused_under_any_name(link: str, tmp_path: Path) -> None:
    source = tmp_path / "image.nii.gz"
    source.write_bytes(b"x")
    output = tmp_path / "output.nii.gz"
    if link == "itself":
        output = tmp_path / "." / ".." / tmp_path.name / "image.nii.gz"
    elif link == "symlink":
        output.symlink_to(source)
    elif link == "hard link":
        output.hardlink_to(source)
    else:
        (tmp_path / "linked").symlink_to(tmp_path)
        output = tmp_path / "linked" / "image.nii.gz"
    with pytest.raises(InputError) as error:
        require_writable(output, source)
    assert error.value.code == "output_is_input"


def test_an_output_that_exists_does_not_hide_a_missing_input(tmp_path: Path) -> None:
    (tmp_path / "output.nii.gz").write_bytes(b"x")
    require_writable(tmp_path / "output.nii.gz", tmp_path / "missing.nii.gz")


def test_the_check_that_an_output_can_be_written_leaves_no_file(tmp_path: Path) -> None:
    require_writable(tmp_path / "output.nii.gz", tmp_path / "image.nii.gz")
    assert not list(tmp_path.iterdir())


# --- layers


def test_layers_that_do_not_overlap_become_one_label_map() -> None:
    label_map = small_case()[1]
    layers = [
        LabelMap(
            (label_map.array == value).astype(np.uint8), label_map.geometry, (Segment(value=1, name=f"part {value}"),)
        )
        for value in (1, 2)
    ]
    merged = merge_layers(layers, "out.nii.gz")
    assert np.array_equal(merged.array, np.where(label_map.array <= 2, label_map.array, 0))
    assert [(segment.value, segment.name) for segment in merged.segments] == [(1, "part 1"), (2, "part 2")]


def test_layers_that_overlap_need_a_format_with_layers(tmp_path: Path) -> None:
    label_map = small_case()[1]
    layers = [LabelMap((label_map.array > 0).astype(np.uint8), label_map.geometry, (Segment(value=1, name="a"),))] * 2
    with pytest.raises(InputError) as error:
        write_label_maps(tmp_path / "a.nii.gz", layers)
    assert error.value.code == "layers_overlap"
    assert not list(tmp_path.iterdir())


def test_the_sidecar_is_plain_json(tmp_path: Path) -> None:
    label_map = small_case()[1]
    write_label_maps(tmp_path / "a.nii.gz", [LabelMap(label_map.array, label_map.geometry, NAMED)])
    content = json.loads((tmp_path / "a.nii.gz.labels.json").read_text(encoding="utf-8"))
    assert content["1"] == {"name": "corps calleux", "colour": [0.25, 0.5, 0.75], "tags": dict(NAMED[0].tags)}
