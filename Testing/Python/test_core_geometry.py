"""Geometry of volumes, and that every file format keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.regrid import regrid
from fewshot_annotate.core.volume import GEOMETRY_TOLERANCE, Geometry, LabelMap, Volume, nearest_orthogonal_matrix
from fewshot_annotate.io.files import read_label_maps, read_volume, write_array, write_label_maps
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.data import REPOSITORY_CASES, every_case, load_case
from support.labels import oblique, small_case

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

spacings = st.floats(0.05, 20.0)
positions = st.floats(-500.0, 500.0)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    shape = draw(st.tuples(*[st.integers(2, 9)] * 3))
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    return Geometry(
        shape,
        draw(st.tuples(spacings, spacings, spacings)),
        draw(st.tuples(positions, positions, positions)),
        tuple(float(part) for part in rotation.flat),
    )


@given(geometries())
def test_a_geometry_is_unchanged_by_conversion_to_json(geometry: Geometry) -> None:
    assert Geometry.from_json(json.loads(json.dumps(geometry.to_json()))) == geometry


@given(geometries(), st.integers(0, 2), st.sampled_from([-1, 1]))
def test_a_grid_moved_by_a_tenth_of_a_voxel_is_another_grid(geometry: Geometry, axis: int, sign: int) -> None:
    along = np.reshape(geometry.direction, (3, 3))[:, axis]
    x, y, z = np.add(geometry.origin, sign * 0.1 * geometry.spacing[axis] * along)
    other = Geometry(geometry.shape, geometry.spacing, (float(x), float(y), float(z)), geometry.direction)
    with pytest.raises(InputError) as error:
        regrid([LabelMap(np.ones(geometry.shape, np.uint8), other)], geometry, path="labels.nrrd")
    assert error.value.code == "labels_off_grid"
    assert "position" in str(error.value)


@given(geometries(), st.integers(0, 2))
def test_grids_differ_from_a_thousandth_of_a_voxel_on(geometry: Geometry, axis: int) -> None:
    def moved(offset: float) -> Geometry:
        x, y, z = np.add(geometry.origin, offset * min(geometry.spacing) * np.eye(3)[axis])
        return Geometry(geometry.shape, geometry.spacing, (float(x), float(y), float(z)), geometry.direction)

    assert geometry.difference(moved(1e-7)) is None
    assert geometry.difference(moved(1e-3)) is not None


@given(geometries())
def test_a_grid_equals_itself(geometry: Geometry) -> None:
    assert geometry.difference(geometry) is None


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": [1, 1, 0]},
        {"spacing": [1, float("nan"), 1]},
        {"origin": [0, float("inf"), 0]},
        {"direction": [1, 0, 0] * 3},
        {"direction": [1, 0, 0]},
        {"shape": [4, 0, 4]},
    ],
    ids=lambda change: "-".join(change),
)
def test_an_invalid_grid_is_refused(change: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        Geometry.from_json(Geometry((4, 4, 4)).to_json() | change)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(geometry=geometries())
def test_files_keep_the_geometry_of_oblique_and_anisotropic_volumes(
    suffix: str, geometry: Geometry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any grid{suffix}"
    array = np.arange(np.prod(geometry.shape), dtype=np.int16).reshape(geometry.shape)
    write_array(path, array, geometry)
    read = read_volume(path)
    assert np.array_equal(read.array, array)
    # NIfTI stores 32-bit floats, so the rounding error of a position is relative to its size.
    scale = max(1.0, *map(abs, geometry.origin)) if ".nii" in suffix else 1.0
    assert np.allclose(read.geometry.spacing, geometry.spacing, rtol=1e-6, atol=0)
    assert np.allclose(read.geometry.origin, geometry.origin, rtol=0, atol=GEOMETRY_TOLERANCE * scale)
    assert np.allclose(read.geometry.direction, geometry.direction, rtol=0, atol=GEOMETRY_TOLERANCE)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".seg.nrrd"])
def test_labels_of_a_tilted_image_keep_their_position_in_every_format(suffix: str, tmp_path: Path) -> None:
    volume, label_map = oblique(*small_case())
    write_array(tmp_path / f"image{suffix.replace('.seg', '')}", volume.array, volume.geometry)
    write_label_maps(tmp_path / f"label{suffix}", [label_map])
    image = read_volume(tmp_path / f"image{suffix.replace('.seg', '')}")
    (read,) = read_label_maps(tmp_path / f"label{suffix}", image.geometry)
    assert np.array_equal(image.array, volume.array)
    assert np.array_equal(read.array, label_map.array)
    assert read.geometry.difference(volume.geometry, 1e-4) is None
    assert np.allclose(read.geometry.direction, volume.geometry.direction, rtol=0, atol=1e-6)
    assert len(read.segments) == len(label_map.segments)
    if suffix != ".seg.nrrd":  # which adds segment IDs
        assert read.segments == label_map.segments


@pytest.mark.parametrize("name", every_case())
def test_every_case_is_unchanged_after_writing_and_reading_nrrd_and_nifti(name: Path, tmp_path: Path) -> None:
    volume, label_map = load_case(name)
    write_label_maps(tmp_path / "label.nrrd", [label_map])
    write_array(tmp_path / "image.nii", volume.array, volume.geometry)
    image = read_volume(tmp_path / "image.nii")
    (labels,) = read_label_maps(tmp_path / "label.nrrd", image.geometry)
    assert np.array_equal(image.array, volume.array)
    assert image.array.dtype == volume.array.dtype
    assert image.geometry.difference(volume.geometry) is None
    assert np.array_equal(labels.array, label_map.array)
    assert [segment.name for segment in labels.segments] == [segment.name for segment in label_map.segments]


def test_a_dicom_folder_equals_the_volume_that_slicer_read_from_it() -> None:
    from_dicom = read_volume(REPOSITORY_CASES / "dicom_ct" / "series")
    from_nifti, _ = load_case("dicom_ct")
    assert np.array_equal(from_dicom.array, from_nifti.array)
    assert from_dicom.geometry.difference(from_nifti.geometry, 1e-3) is None


def test_voxels_and_grid_must_have_one_size() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Volume(np.zeros((2, 3, 4)), Geometry((2, 3, 5)))


def test_a_direction_matrix_with_rounded_cosines_is_orthogonalised() -> None:
    rotation = Rotation.from_euler("x", 30, degrees=True).as_matrix()
    orthogonal = nearest_orthogonal_matrix(rotation.round(2))
    np.testing.assert_allclose(orthogonal @ orthogonal.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(orthogonal, rotation, atol=0.01)
