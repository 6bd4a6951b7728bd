"""A written file has the position of its image, voxel by voxel, in every reader."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.volume import GEOMETRY_TOLERANCE, Geometry, LabelMap
from fewshot_annotate.io.files import read_label_maps, read_volume, write_array, write_label_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

SHAPE = (12, 10, 8)  # i, j, k
CODES = (0, 1, 2, 4)
MILLIMETRE, METRE, MICRON, UNKNOWN = 2, 1, 3, 0


def affine(angles: Sequence[float] = (0, 0, 0), flips: Sequence[int] = (-1, 1, 1)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = (
        Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(flips) @ np.diag([1, 2, 3])
    )
    matrix[:3, 3] = [11, -22, 33]
    return matrix


def nifti_file(
    path: Path,
    codes: tuple[int, int],
    qform: np.ndarray,
    sform: np.ndarray | None = None,
    units: int = MILLIMETRE,
    array: np.ndarray | None = None,
) -> Path:
    array = voxels() if array is None else array
    header = nibabel.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_qform(qform, code=codes[0])
    header.set_sform(qform if sform is None else sform, code=codes[1])
    header["xyzt_units"] = units
    nibabel.Nifti1Image(array, None, header).to_filename(path)
    return path


def voxels() -> np.ndarray:
    """A bright bar that is off centre along every axis, so that every flip is detected."""
    array = np.random.default_rng(1).integers(0, 50, SHAPE).astype(np.int16)
    array[2:5, 1:6, :] += 500
    return array


def truth() -> np.ndarray:
    return (voxels() > 400).astype(np.uint8)


def assert_same_position(output: Path, image: Path) -> None:
    """Both files have the same position for nibabel and ITK, also when reoriented to the nearest axes."""
    written, original = nibabel.load(output), nibabel.load(image)
    np.testing.assert_array_equal(written.affine, original.affine)
    for name in ("qform_code", "sform_code", "xyzt_units"):
        assert int(written.header[name]) == int(original.header[name]), name
    np.testing.assert_array_equal(written.header["pixdim"][:4], original.header["pixdim"][:4])
    for form in ("get_qform", "get_sform"):
        np.testing.assert_array_equal(getattr(written, form)(coded=False), getattr(original, form)(coded=False))
    reoriented, original_reoriented = nibabel.as_closest_canonical(written), nibabel.as_closest_canonical(original)
    found, expected = np.asarray(reoriented.dataobj) > 0, np.asarray(original_reoriented.dataobj) > 400
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) == 1.0
    with_itk = [Geometry.of_image(sitk.ReadImage(str(path))) for path in (output, image)]
    assert with_itk[0].difference(with_itk[1], 0.0) is None


@pytest.mark.parametrize("codes", list(itertools.product(CODES, CODES)))
@pytest.mark.parametrize("units", [MILLIMETRE, METRE, MICRON, UNKNOWN], ids=["mm", "m", "micron", "unknown"])
def test_a_label_map_has_the_position_of_its_nifti_image_in_every_reader(
    codes: tuple[int, int], units: int, tmp_path: Path
) -> None:
    shifted = affine((10, 20, 30))
    shifted[:3, 3] += 5
    image = nifti_file(tmp_path / "image.nii.gz", codes, affine((10, 20, 30)), shifted, units)
    volume = read_volume(image)
    write_label_maps(tmp_path / "label.nii.gz", [LabelMap(truth().T, volume.geometry)])
    assert_same_position(tmp_path / "label.nii.gz", image)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.sampled_from(CODES)] * 2),
    st.tuples(*[st.sampled_from((-1, 1))] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_flips_and_rotations_are_kept(
    tmp_path_factory: pytest.TempPathFactory,
    codes: tuple[int, int],
    flips: tuple[int, ...],
    angles: tuple[float, ...],
) -> None:
    folder = tmp_path_factory.mktemp("headers")
    image = nifti_file(folder / "image.nii", codes, affine(angles, flips))
    write_label_maps(folder / "label.nii.gz", [LabelMap(truth().T, read_volume(image).geometry)])
    assert_same_position(folder / "label.nii.gz", image)


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (4, 4)])
def test_the_geometry_equals_that_of_itk(codes: tuple[int, int], tmp_path: Path) -> None:
    other = affine((0, 0, 15))
    image = nifti_file(tmp_path / "image.nii", codes, affine((10, 20, 30)), other, MICRON)
    volume, itk = read_volume(image), sitk.ReadImage(str(image))
    assert volume.geometry.difference(Geometry.of_image(itk), 0.0) is None
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(itk))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_grid_without_a_source_file_is_written_as_itk_and_nibabel_read_it(suffix: str, tmp_path: Path) -> None:
    direction = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() @ np.diag([1, -1, 1])
    grid = Geometry(SHAPE[::-1], (1, 2, 3), (4, 5, 6), tuple(direction.ravel().tolist()))
    write_array(tmp_path / f"a{suffix}", truth().T, grid)
    image = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    assert grid.difference(Geometry.of_image(image), 1e-4) is None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), truth().T)
    if ".nii" in suffix:
        lps = np.diag([-1, -1, 1, 1]) @ nibabel.load(tmp_path / f"a{suffix}").affine
        np.testing.assert_allclose(lps[:3, 3], grid.origin, atol=1e-5)
        np.testing.assert_allclose(lps[:3, :3], direction * grid.spacing, atol=1e-5)


@pytest.mark.parametrize("target", [".nrrd", ".mha", ".seg.nrrd"])
def test_other_formats_have_the_position_of_the_nifti_image_in_itk(target: str, tmp_path: Path) -> None:
    image = nifti_file(tmp_path / "image.nii.gz", (1, 2), affine((10, 20, 30)), affine((0, 0, 15)), MICRON)
    write_label_maps(tmp_path / f"label{target}", [LabelMap(truth().T, read_volume(image).geometry)])
    written, original = (
        Geometry.of_image(sitk.ReadImage(str(path))) for path in (tmp_path / f"label{target}", image)
    )
    assert written.difference(original, GEOMETRY_TOLERANCE) is None


# --- NRRD and MetaImage

NRRD = """NRRD0005
type: int16
dimension: 3
space: {space}
sizes: 12 10 8
space directions: (0,1.5,0) (-2,0,0) (0,0,3)
kinds: domain domain space
space units: "um" "um" "um"
space origin: (1,2,3)
measurement frame: (0,1,0) (1,0,0) (0,0,-1)
endian: little
encoding: raw

"""


def nrrd_fields(path: Path) -> dict[str, str]:
    header = path.read_bytes().split(b"\n\n")[0].decode()
    return dict(line.split(": ", 1) for line in header.splitlines() if ": " in line)


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior", "LPS", "scanner-xyz"])
def test_a_label_map_has_the_geometry_of_its_nrrd_image(space: str, tmp_path: Path) -> None:
    image = tmp_path / "image.nrrd"
    image.write_bytes(NRRD.format(space=space).encode() + voxels().T.tobytes())
    volume = read_volume(image)
    np.testing.assert_array_equal(volume.array, voxels().T)
    assert volume.geometry.difference(Geometry.of_image(sitk.ReadImage(str(image))), 0.0) is None
    write_label_maps(tmp_path / "label.nrrd", [LabelMap(truth().T, volume.geometry)])
    original, written = nrrd_fields(image), nrrd_fields(tmp_path / "label.nrrd")
    for name in original.keys() - {"type", "encoding"}:
        assert original[name] == written[name], name
    label = sitk.ReadImage(str(tmp_path / "label.nrrd"))
    assert volume.geometry.difference(Geometry.of_image(label), 0.0) is None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), truth().T)
    write_label_maps(tmp_path / "label.nii.gz", [LabelMap(truth().T, volume.geometry)])
    lps = np.diag([-1, -1, 1, 1]) @ nibabel.load(tmp_path / "label.nii.gz").affine
    matrix = np.reshape(volume.geometry.direction, (3, 3)) * volume.geometry.spacing
    np.testing.assert_allclose(lps[:3], np.column_stack([matrix, volume.geometry.origin]), atol=1e-5)


def test_a_label_map_has_the_geometry_of_its_metaimage(tmp_path: Path) -> None:
    image = tmp_path / "image.mha"
    position = (
        "TransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 1 2.50 3\nCenterOfRotation = 7 8 9\n"
        "AnatomicalOrientation = LPS\nElementSpacing = 1 2 3.000\n"
    )
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{position}DimSize = 12 10 8\nElementType = MET_SHORT\n"
    )
    image.write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + voxels().T.tobytes())
    volume = read_volume(image)
    np.testing.assert_array_equal(volume.array, voxels().T)
    write_label_maps(tmp_path / "label.mha", [LabelMap(truth().T, volume.geometry)])
    assert position.encode() in (tmp_path / "label.mha").read_bytes()
    label = sitk.ReadImage(str(tmp_path / "label.mha"))
    assert Geometry.of_image(sitk.ReadImage(str(image))).difference(Geometry.of_image(label), 0.0) is None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), truth().T)


# --- commands


def painted(image: Path, folder: Path) -> Path:
    """Labels on every third slice."""
    array = truth().T.copy()
    array[[1, 2, 4, 5, 7]] = 0
    write_label_maps(folder / "painted.nii.gz", [LabelMap(array, read_volume(image).geometry)])
    return folder / "painted.nii.gz"


@pytest.mark.parametrize("codes", [(0, 0), (1, 2)])
def test_files_of_fill_and_export_cover_the_image(codes: tuple[int, int], tmp_path: Path) -> None:
    image = nifti_file(tmp_path / "image.nii.gz", codes, affine((0, 0, 15)), affine((0, 0, 20)), METRE)
    support = painted(image, tmp_path)
    label, confidence, exported = (tmp_path / name for name in ("label.nii.gz", "confidence.nii", "exported.nii"))
    command = ["fill", str(image), str(support), "-o", str(label), "--confidence", str(confidence)]
    assert main([*command, "--engine", "propagate", "--progress", "json"]) == 0
    for output in (label, confidence):
        np.testing.assert_array_equal(nibabel.load(output).affine, nibabel.load(image).affine)
        assert Geometry.of_image(sitk.ReadImage(str(output))).difference(read_volume(image).geometry, 0.0) is None
    assert int(nibabel.load(label).header["xyzt_units"]) == METRE
    assert main(["export", str(label), "--to", "nifti", "-o", str(exported)]) == 0
    np.testing.assert_array_equal(nibabel.load(exported).affine, nibabel.load(image).affine)
    assert int(nibabel.load(exported).header["qform_code"]) == codes[0]


def test_files_of_batch_cover_the_image(tmp_path: Path) -> None:
    image = nifti_file(tmp_path / "image.nii.gz", (0, 0), affine((0, 0, 15)))
    support = painted(image, tmp_path)
    manifest = tmp_path / "cases.csv"
    manifest.write_text(f"image,support,name,engine\n{image.name},{support.name},a,propagate\n", encoding="utf-8")
    assert main(["batch", str(manifest), "-o", str(tmp_path / "out"), "--progress", "json"]) == 0
    for name in ("label.nii.gz", "confidence.nii.gz"):
        written = nibabel.load(tmp_path / "out" / "a" / name)
        np.testing.assert_array_equal(written.affine, nibabel.load(image).affine)
        assert int(written.header["qform_code"]) == int(written.header["sform_code"]) == 0


def test_export_to_a_reference_uses_the_header_of_the_reference(tmp_path: Path) -> None:
    image = nifti_file(tmp_path / "image.nii.gz", (0, 0), affine())
    volume = read_volume(image)
    grid = Geometry(volume.geometry.shape, volume.geometry.spacing, volume.geometry.origin, volume.geometry.direction)
    write_label_maps(tmp_path / "labels.nrrd", [LabelMap(truth().T, grid)])
    out = tmp_path / "out.nii.gz"
    command = ["export", str(tmp_path / "labels.nrrd"), "--to", "nifti", "-o", str(out), "--reference", str(image)]
    assert main(command) == 0
    assert_same_position(out, image)


def test_the_files_of_a_case_share_the_interpretation_of_their_geometry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Geometry((4, 5, 6), (1.0, 2.0, 3.25), (7.0, 8.0, 9.5))
    for name in ("image", "confidence"):
        write_array(tmp_path / f"{name}.nii", np.arange(120, dtype=np.float32).reshape(4, 5, 6), written)
    assert read_volume(tmp_path / "image.nii").geometry == written
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))  # no temporary folder can be made
    assert read_volume(tmp_path / "confidence.nii").geometry == written


def test_an_axis_too_long_for_nifti_is_refused(tmp_path: Path) -> None:
    grid = Geometry((2, 2, 40_000))
    with pytest.raises(InputError, match="32767"):
        write_array(tmp_path / "a.nii.gz", np.zeros(grid.shape, np.uint8), grid)
    assert not list(tmp_path.iterdir())
    write_array(tmp_path / "a.nrrd", np.zeros(grid.shape, np.uint8), grid)
    assert read_label_maps(tmp_path / "a.nrrd")[0].array.shape == grid.shape
