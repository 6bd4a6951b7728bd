"""Labels on another grid than their image: they are regridded without displacement."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.cli import main
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.regrid import Alignment, Consent, GridChange, align_grids, regrid
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import read_label_maps, read_on_grid, write_array, write_label_maps
from fewshot_annotate.io.label_notes import regrid_note
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.labels import OBLIQUE

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID = Geometry((14, 16, 18), (0.7, 0.8, 2.5), (-31.5, 12.25, -204.7), OBLIQUE)
PAINTED = (2, 6, 10)
ORDERS = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1, -1), repeat=3))


def to_lps(geometry: Geometry) -> np.ndarray:
    """4x4 matrix of voxel (i, j, k) to LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(geometry.direction, (3, 3)) * geometry.spacing
    matrix[:3, 3] = geometry.origin
    return matrix


def geometry_of(matrix: np.ndarray, shape: tuple[int, ...]) -> Geometry:
    """The grid of a matrix of voxel (i, j, k) to LPS."""
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    x, y, z = (float(part) for part in matrix[:3, 3])
    sx, sy, sz = (float(part) for part in spacing)
    k, j, i = shape
    return Geometry((k, j, i), (sx, sy, sz), (x, y, z), tuple((matrix[:3, :3] / spacing).ravel().tolist()))


def reoriented(label_map: LabelMap, order: tuple[int, ...], signs: tuple[int, ...]) -> LabelMap:
    """The same labels with array axes permuted and flipped: nibabel moves the voxels and computes the matrix."""
    image = nibabel.Nifti1Image(label_map.array.T, RAS @ to_lps(label_map.geometry))
    turned = image.as_reoriented(np.column_stack([order, signs]))
    array = np.asarray(turned.dataobj).T
    return LabelMap(np.ascontiguousarray(array), geometry_of(RAS @ turned.affine, array.shape), label_map.segments)


def cut(label_map: LabelMap, first: tuple[int, int, int], shape: tuple[int, int, int]) -> LabelMap:
    """A cropped or padded label map; `first` is the index (k, j, i) of its first voxel in the original."""
    array = np.zeros(shape, label_map.array.dtype)
    for index in np.argwhere(label_map.array):
        position = index - first
        if (position >= 0).all() and (position < shape).all():
            array[tuple(position)] = label_map.array[tuple(index)]
    matrix = to_lps(label_map.geometry)
    matrix[:3, 3] = (matrix @ [*first[::-1], 1])[:3]
    return LabelMap(array, geometry_of(matrix, shape), label_map.segments)


def world(array: np.ndarray, geometry: Geometry) -> dict[tuple[float, ...], int]:
    """Label of each labelled voxel by its position in LPS, computed from index and matrix alone."""
    indices = np.argwhere(array)
    positions = indices[:, ::-1] @ to_lps(geometry)[:3, :3].T + geometry.origin
    return {
        tuple(np.round(position, 2).tolist()): int(array[tuple(index)])
        for position, index in zip(positions, indices, strict=True)
    }


def painted() -> LabelMap:
    """Two bars on a few slices, which grow from slice to slice, well inside the grid."""
    array = np.zeros(GRID.shape, np.uint8)
    for k in PAINTED:
        array[k, 3 : 8 + k // 4, 4:9] = 1
        array[k, 10:14, 5 : 9 + k // 5] = 2
    return LabelMap(
        array,
        GRID,
        (Segment(value=1, name="left", colour=(1, 0, 0)), Segment(value=2, name="right", colour=(0, 1, 0))),
    )


def image_file(folder: Path) -> Path:
    array = np.random.default_rng(0).normal(0, 5, GRID.shape).astype(np.float32)
    for k in range(GRID.shape[0]):
        array[k, 3 : 8 + k // 4, 4:9] += 100
        array[k, 10:14, 5 : 9 + k // 5] += 60
    write_array(folder / "image.nrrd", array, GRID)
    return folder / "image.nrrd"


def shifted(geometry: Geometry, index: tuple[float, float, float]) -> Geometry:
    """The grid shifted by (i, j, k) voxels."""
    matrix = to_lps(geometry)
    matrix[:3, 3] = (matrix @ [*index, 1])[:3]
    return geometry_of(matrix, geometry.shape)


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("signs", SIGNS, ids=str)
def test_labels_with_axes_in_any_order_and_direction_are_regridded_to_the_image(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    label_map = painted()
    stored = reoriented(label_map, order, signs)
    assert world(stored.array, stored.geometry) == world(label_map.array, GRID), (
        "the test itself reorients labels correctly"
    )
    result = regrid([stored], GRID)
    assert np.array_equal(result.layers[0].array, label_map.array)
    assert result.layers[0].geometry == GRID
    assert (GridChange.REORIENTED in result.changes) == ((order, signs) != ((0, 1, 2), (1, 1, 1)))


@given(
    order=st.sampled_from(ORDERS),
    signs=st.sampled_from(SIGNS),
    first=st.tuples(*[st.integers(-6, 9)] * 3),
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
)
def test_any_box_of_the_image_is_regridded_or_refused_with_the_number_of_labels_outside(
    order: tuple[int, ...],
    signs: tuple[int, ...],
    first: tuple[int, int, int],
    shape: tuple[int, int, int],
    angles: tuple[float, float, float],
) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    grid = Geometry((6, 7, 8), (0.7, 0.8, 2.5), (-31.5, 12.25, -204.7), tuple(turn.ravel().tolist()))
    whole = LabelMap(np.random.default_rng(1).integers(0, 4, (6, 7, 8), dtype=np.uint8), grid)
    box = cut(whole, first, shape)
    stray = np.random.default_rng(2).integers(0, 2, shape, dtype=np.uint8) * 9
    inside = np.zeros(shape, bool)
    for index in np.ndindex(*shape):
        inside[index] = all(0 <= a + b < c for a, b, c in zip(index, first, grid.shape, strict=True))
    stray[inside] = 0
    stored = reoriented(box, order, signs)
    (result,) = regrid([stored], grid).layers
    expected = np.zeros(grid.shape, np.uint8)
    region = tuple(slice(max(0, a), max(0, a + n)) for a, n in zip(first, shape, strict=True))
    expected[region] = whole.array[region]
    assert np.array_equal(result.array, expected)
    outside = reoriented(LabelMap(box.array + stray, box.geometry), order, signs)
    count = int(np.count_nonzero(stray))
    if count:
        with pytest.raises(InputError) as refused:
            regrid([outside], grid)
        assert (refused.value.code, refused.value.data["count"]) == ("labels_outside", count)
    cropped = regrid([outside], grid, {Consent.CROP})
    assert np.array_equal(cropped.layers[0].array, expected)
    assert cropped.cropped == count


SIZES = {"narrow": 40, "wide": 512}


@pytest.mark.parametrize(
    ("spacing", "written"),
    [(0.703125, 0.7031), (0.703125, 0.703), (0.9765625, 0.977), (0.78125, 0.781), (0.5859375, 0.586), (0.3, 0.3)],
)
@pytest.mark.parametrize("width", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1)], ids=["as stored", "flipped"])
def test_a_rounded_spacing_is_taken_for_the_same_voxels(
    spacing: float, written: float, width: int, signs: tuple[int, int, int]
) -> None:
    grid = Geometry((3, 4, width), (spacing, spacing, 5.0), (-250.0, -171.5, 33.0))
    array = np.random.default_rng(3).integers(0, 3, grid.shape, dtype=np.uint8)
    stored = reoriented(LabelMap(array, grid), (0, 1, 2), signs)
    rounded = Geometry(
        stored.geometry.shape, (written, written, 5.0), stored.geometry.origin, stored.geometry.direction
    )
    assert np.array_equal(regrid([LabelMap(stored.array, rounded)], grid).layers[0].array, array)


@pytest.mark.parametrize("by", [(0.001, 0, 0), (0, -0.01, 0), (0.004, 0.004, -0.01)], ids=str)
def test_an_origin_off_by_rounding_is_taken_for_the_same_voxels(by: tuple[float, float, float]) -> None:
    label_map = painted()
    x, y, z = np.add(GRID.origin, by).tolist()
    off = Geometry(GRID.shape, GRID.spacing, (x, y, z), GRID.direction)
    result = regrid([LabelMap(label_map.array, off)], GRID)
    assert np.array_equal(result.layers[0].array, label_map.array)
    assert result.layers[0].geometry == GRID


@given(
    turn=st.tuples(*[st.floats(-0.15, 0.15)] * 3),
    stretch=st.tuples(*[st.floats(0.997, 1.003)] * 3),
    shift=st.tuples(*[st.floats(-0.7, 0.7)] * 3),
    order=st.sampled_from(ORDERS),
    signs=st.sampled_from(SIGNS),
)
def test_grids_accepted_as_the_same_differ_by_less_than_half_a_voxel(
    turn: tuple[float, ...],
    stretch: tuple[float, ...],
    shift: tuple[float, float, float],
    order: tuple[int, ...],
    signs: tuple[int, ...],
) -> None:
    grid = Geometry((9, 10, 300), (0.7, 0.8, 2.5), (-31.5, 12.25, -204.7), OBLIQUE)
    stored = reoriented(LabelMap(np.zeros(grid.shape, np.uint8), grid), order, signs).geometry
    matrix = to_lps(stored)
    rotation = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    matrix[:3, :3] = rotation @ matrix[:3, :3] * stretch
    matrix[:3, 3] = (matrix @ [*np.multiply(shift, 0.1), 1])[:3]
    own = geometry_of(matrix, stored.shape)
    found = align_grids(own, grid)
    if isinstance(found, Alignment):
        corners = np.array(list(itertools.product(*[(0, n - 1) for n in own.shape[::-1]])))
        positions = np.linalg.inv(to_lps(grid)) @ to_lps(own) @ np.column_stack([corners, np.ones(8)]).T
        index = np.array(found.offset)[:, None] + np.array(found.signs)[:, None] * corners.T[::-1][list(found.axes)]
        assert np.abs(positions[:3][::-1] - index).max() == pytest.approx(found.deviation, abs=1e-6)
        assert found.deviation < 0.5


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, -1)], ids=["as stored", "flipped"])
@pytest.mark.parametrize(
    ("grid", "shift"),
    [
        (GRID, (0.5, 0, 0)),
        (GRID, (0, -0.5, 0)),
        (GRID, (0, 0, 0.5)),
        (Geometry((5, 6, 7), (0.001, 0.001, 0.001), (12.5, 12.5, 12.5)), (0.5, 0, 0)),
        (Geometry((5, 6, 7), (0.0001, 0.0001, 0.0001), (1, 1, 1)), (0, 0.5, 0)),
        (Geometry((5, 6, 7), (1, 1, 1), (1000, 1000, 1000)), (0, 0.1, 0)),
    ],
)
def test_a_shift_of_half_a_voxel_is_refused_with_numbers_that_differ(
    grid: Geometry, shift: tuple[float, float, float], signs: tuple[int, int, int]
) -> None:
    whole = LabelMap(np.ones(grid.shape, np.uint8), shifted(grid, shift))
    with pytest.raises(InputError) as refused:
        regrid([reoriented(whole, (0, 1, 2), signs)], grid, path="labels.nrrd")
    assert refused.value.code == "labels_off_grid"
    data = refused.value.data
    assert str(data["what"]) == "position"
    assert data["found"] != data["expected"]
    found, expected = (
        [float(part) for part in str(data[key]).strip("()").split(", ")] for key in ("found", "expected")
    )
    assert np.linalg.norm(np.subtract(found, expected)) == pytest.approx(
        np.linalg.norm(np.multiply(shift, grid.spacing)), rel=0.05
    )
    assert f"up to {max(map(abs, shift)):g} voxels off" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"spacing": (0.72, 0.8, 2.5)}, "spacing"),
        ({"spacing": (0.7, 0.8, 5.0)}, "spacing"),
        ({"direction": tuple(Rotation.from_euler("x", 20, degrees=True).as_matrix().ravel().tolist())}, "direction"),
        ({"direction": tuple(Rotation.from_euler("x", 45, degrees=True).as_matrix().ravel().tolist())}, "direction"),
    ],
)
def test_another_spacing_or_direction_is_refused_by_name(change: dict[str, tuple[float, ...]], what: str) -> None:
    other = Geometry(**{"shape": GRID.shape, "spacing": GRID.spacing, "direction": GRID.direction} | change)  # type: ignore[arg-type]
    with pytest.raises(InputError) as refused:
        regrid([LabelMap(np.ones(GRID.shape, np.uint8), other)], GRID)
    assert (refused.value.code, str(refused.value.data["what"])) == ("labels_off_grid", what)


# --- resampling


@pytest.mark.parametrize(
    "spacing", [(0.35, 0.4, 2.5), (1.4, 1.6, 2.5), (0.5, 0.9, 2.5)], ids=["finer", "coarser", "other"]
)
def test_resampled_labels_keep_their_position(spacing: tuple[float, float, float]) -> None:
    label_map = painted()
    size = np.ceil(np.multiply(GRID.shape[::-1], GRID.spacing) / spacing).astype(int)
    own = Geometry(tuple(size[::-1].tolist()), spacing, GRID.origin, GRID.direction)  # type: ignore[arg-type]
    reference = sitk.Image(size.tolist(), sitk.sitkUInt8)
    reference.SetSpacing(spacing)
    reference.SetOrigin(GRID.origin)
    reference.SetDirection(GRID.direction)
    image = sitk.GetImageFromArray(label_map.array)
    image.SetSpacing(GRID.spacing)
    image.SetOrigin(GRID.origin)
    image.SetDirection(GRID.direction)
    stored = sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkNearestNeighbor))
    with pytest.raises(InputError):
        regrid([LabelMap(stored, own)], GRID)
    result = regrid([LabelMap(stored, own, label_map.segments)], GRID, {Consent.RESAMPLE})
    (back,) = result.layers
    assert result.changes == (GridChange.RESAMPLED,)
    assert back.geometry == GRID
    for value in (1, 2):
        both = np.count_nonzero((back.array == value) & (label_map.array == value))
        dice = 2 * both / (np.count_nonzero(back.array == value) + np.count_nonzero(label_map.array == value))
        assert dice > (0.9 if max(spacing[:2]) < 0.5 else 0.8)  # of nearest neighbours twice
    assert set(np.flatnonzero(back.array.any(axis=(1, 2))).tolist()) == set(PAINTED)


@given(shift=st.tuples(*[st.floats(-0.49, 0.49)] * 3))
def test_resampling_by_a_small_shift_keeps_a_block_on_its_nearest_voxels(shift: tuple[float, float, float]) -> None:
    array = np.zeros((8, 9, 10), np.uint8)
    array[2:6, 3:7, 2:8] = 7
    grid = Geometry(array.shape, (0.7, 0.8, 2.5), (1, 2, 3), OBLIQUE)
    (back,) = regrid([LabelMap(array, shifted(grid, shift))], grid, {Consent.RESAMPLE}).layers
    inner = array.copy()
    inner[2:6, 3:7, 2:8] = 0
    inner[3:5, 4:6, 3:7] = 7
    assert (back.array[inner == 7] == 7).all()
    assert (back.array[array == 0] == 0).all()


def test_resampling_reports_vanished_labels_and_counts_voxels_outside() -> None:
    array = np.zeros((12, 12, 12), np.uint8)
    array[1, 1, 1] = 1
    array[4:9, 4:9, 4:9] = 2
    segments = (Segment(value=1, name="speck"), Segment(value=2, name="block"))
    own = LabelMap(array, Geometry(array.shape, (1, 1, 1)), segments)
    grid = Geometry((6, 6, 6), (2, 2, 2))
    result = regrid([own], grid, {Consent.RESAMPLE})
    assert result.vanished == ("speck",)
    assert "speck" in str(regrid_note(result, "a.nrrd"))
    assert (result.layers[0].array[2:5, 2:5, 2:5] == 2).all()
    smaller = Geometry((3, 6, 6), (2, 2, 2))
    with pytest.raises(InputError) as refused:
        regrid([own], smaller, {Consent.RESAMPLE})
    assert refused.value.code == "labels_outside"
    cropped = regrid([own], smaller, {Consent.RESAMPLE, Consent.CROP})
    # Slices 6, 7 and 8 lie outside; slice 5 touches the last voxels.
    assert cropped.cropped == refused.value.data["count"] == 3 * 25


# --- through files and commands


def stored_as(kind: str, folder: Path) -> Path:
    """The painted labels as other programs may write them."""
    label_map = painted()
    rows_flipped = reoriented(label_map, (0, 1, 2), (1, -1, 1))
    name, layers = {
        "rows flipped nifti": ("a.nii.gz", [rows_flipped]),
        "permuted nifti": ("a.nii", [reoriented(label_map, (2, 0, 1), (-1, 1, 1))]),
        "cut-out nrrd": ("a.nrrd", [cut(label_map, (2, 2, 3), (9, 13, 8))]),
        "flipped cut-out mha": ("a.mha", [cut(rows_flipped, (1, 1, 3), (11, 13, 9))]),
        "smaller seg.nrrd": ("a.seg.nrrd", [cut(label_map, (2, 2, 3), (9, 13, 8))]),
        "larger seg.nrrd": ("a.seg.nrrd", [cut(label_map, (-3, -2, -1), (24, 25, 26))]),
        "flipped seg.nrrd": ("a.seg.nrrd", [rows_flipped]),
    }[kind]
    write_label_maps(folder / name, layers)
    return folder / name


KINDS = (
    "rows flipped nifti",
    "permuted nifti",
    "cut-out nrrd",
    "flipped cut-out mha",
    "smaller seg.nrrd",
    "larger seg.nrrd",
    "flipped seg.nrrd",
)


@pytest.mark.parametrize("kind", KINDS)
def test_fill_regrids_labels_with_a_note_and_writes_on_the_grid_of_the_image(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image, support, output = image_file(tmp_path), stored_as(kind, tmp_path), tmp_path / "out.nii.gz"
    words = ["fill", str(image), str(support), "-o", str(output), "--engine", "propagate", "--progress", "none"]
    assert main(words) == 0
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 1
    assert err[0].startswith(f"Note: {support}: the labels were put on the image's grid voxel by voxel")
    written = nibabel.load(output)
    assert np.allclose(written.affine, RAS @ to_lps(GRID), atol=1e-4)
    array = np.asarray(written.dataobj).T
    only_painted = np.zeros_like(array)
    only_painted[list(PAINTED)] = array[list(PAINTED)]
    expected = painted()
    assert world(only_painted, GRID) == world(expected.array, GRID)
    assert array[2:11].any(axis=(1, 2)).all()
    (named,) = read_label_maps(output)
    assert [segment.name for segment in named.segments] == ["left", "right"]


def test_every_command_regrids_labels(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWSHOT_ANNOTATE_HOME", str(tmp_path / "home"))
    image, support = image_file(tmp_path), stored_as("rows flipped nifti", tmp_path)
    pair = [str(image), str(support)]
    assert main(["suggest", *pair]) == 0
    words = ["--engines", "propagate", "--sizes", "1", "--draws", "1", "--progress", "none"]
    assert main(["compare", *pair, *words, "-o", str(tmp_path / "report")]) == 0
    (tmp_path / "cases.csv").write_text(f"name,image,support\na,{image},{support}\n")
    out = tmp_path / "batch"
    assert (
        main(["batch", str(tmp_path / "cases.csv"), "-o", str(out), "--engine", "propagate", "--progress", "none"])
        == 0
    )
    (filled,) = read_label_maps(out / "a" / "label.nii.gz", GRID)
    assert np.array_equal(filled.array[list(PAINTED)], painted().array[list(PAINTED)])
    assert "axes were flipped" in (out / "status.csv").read_text(encoding="utf-8")
    capfd.readouterr()


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        (lambda label_map: LabelMap(label_map.array, shifted(GRID, (0, 0.5, 0)), label_map.segments), "--resample"),
        (lambda label_map: LabelMap(label_map.array, shifted(GRID, (10, 0, 0)), label_map.segments), "--crop"),
    ],
    ids=["half a voxel off", "outside"],
)
def test_resampling_needs_an_option_that_the_refusal_names(
    change: object, flag: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert callable(change)
    image, support = image_file(tmp_path), tmp_path / "a.nrrd"
    write_label_maps(support, [change(painted())])
    output = tmp_path / "out.nii.gz"
    words = ["fill", str(image), str(support), "-o", str(output), "--engine", "propagate", "--progress", "none"]
    assert main(words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"fewshot-annotate: {support}: ")
    assert line.endswith(f" ({flag})")
    assert not output.exists()
    assert main([*words, flag]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"Note: {support}: the labels were put on the image's grid")
    assert ("a painted slice may have spread" in line) == (flag == "--resample")
    assert read_on_grid(output, GRID).layers[0].array.any()
    (tmp_path / "cases.csv").write_text(f"name,image,support\na,{image},{support}\n")
    batch = ["batch", str(tmp_path / "cases.csv"), "-o", str(tmp_path / "b"), "--engine", "propagate"]
    assert main([*batch, "--progress", "none"]) == 1
    assert f"({flag})" in capfd.readouterr().err
    assert str(support) in (tmp_path / "b" / "status.csv").read_text(encoding="utf-8")
    assert main([*batch, "--progress", "none", "--resume", flag]) == 0
