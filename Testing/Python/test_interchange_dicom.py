"""Every DICOM file that is written, read by other programs and compared voxel by voxel in world coordinates."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import write_array, write_label_maps
from highdicom.seg import segread
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut
from support.dicom import dciodvfy_errors, dcmqi_segments, needs_programs
from support.labels import OBLIQUE
from support.orthanc import DICOMWEB_PLUGIN, running_orthanc
from support.synthetic_dicom import GRID, random_labels, write_ct_series

# Segment name -> centres of its voxels in mm, LPS, rounded to micrometres.
Points = dict[str, set[tuple[float, ...]]]
OBLIQUE_GRID = Geometry(GRID.shape, (0.75, 1.25, 2.5), (-11.5, 23.25, -40.0), OBLIQUE)
LEFT_HANDED = Geometry(GRID.shape, (0.75, 1.25, 2.5), (7.0, -3.0, 55.5), (1, 0, 0, 0, 1, 0, 0, 0, -1))
GRIDS = {"upright": GRID, "oblique": OBLIQUE_GRID, "left-handed": LEFT_HANDED}


def world(mask: np.ndarray, matrix: np.ndarray) -> set[tuple[float, ...]]:
    """Points of a mask, by the 4x4 matrix from its array indices to LPS."""
    index = np.argwhere(mask)
    points = index @ matrix[:3, :3].T + matrix[:3, 3]
    return {tuple(point) for point in (np.round(points, 3) + 0.0).tolist()}


def matrix_of(grid: Geometry) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = (np.array(grid.direction).reshape(3, 3) * grid.spacing)[:, ::-1]
    matrix[:3, 3] = grid.origin
    return matrix


def by_highdicom(path: Path, folder: Path) -> Points:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = segread(path)
        volume = segmentation.get_volume(combine_segments=False)
    names = [str(item.SegmentLabel) for item in segmentation.SegmentSequence if item.SegmentNumber > 0]
    return {name: world(volume.array[..., n] > 0, volume.affine) for n, name in enumerate(names)}


def by_pydicom(path: Path, folder: Path) -> Points:
    dataset = dcmread(path)
    (shared,) = dataset.SharedFunctionalGroupsSequence
    orientation = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    rows, columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in dataset.SegmentSequence}
    pixels = dataset.pixel_array.reshape(int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns)
    found: Points = {name: set() for number, name in names.items() if number > 0}
    for frame, values in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1] = orientation[1] * rows, orientation[0] * columns
        matrix[:3, 2] = 0
        matrix[:3, 3] = frame.PlanePositionSequence[0].ImagePositionPatient
        groups = frame if "SegmentIdentificationSequence" in frame else shared
        for number in set(np.unique(values).tolist()) - {0}:
            segment = number
            if dataset.SegmentationType == "BINARY":
                segment = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            found[names[segment]] |= world((values == number)[..., None], matrix)
    return found


def by_dcmqi(path: Path, folder: Path) -> Points:
    found = dcmqi_segments(path, folder / "dcmqi")
    return {name: world(mask, matrix_of(grid)) for name, (mask, grid) in found.items() if name != "Background"}


READERS = [by_highdicom, by_pydicom, by_dcmqi]


def overlapping(grid: Geometry) -> tuple[LabelMap, ...]:
    first = random_labels(3, slice(1, 5), grid)
    whole = LabelMap(
        (first.array > 0).astype(np.uint8), grid, (Segment(value=1, name="Whole Öl", colour=(0.1, 0.9, 0.4)),)
    )
    return first, whole


def exported(folder: Path, layers: tuple[LabelMap, ...], *options: str) -> tuple[Path, Points]:
    """A segmentation exported by the command line, and its expected points."""
    labels_path, path = folder / "in.seg.nrrd", folder / "seg.dcm"
    write_label_maps(labels_path, list(layers))
    command = ["export", str(labels_path), "--to", "dicom-seg", "-o", str(path), "--default-code", *options]
    assert main(command) == 0
    matrix = matrix_of(layers[0].geometry)
    expected = {s.name: world(layer.array == s.value, matrix) for layer in layers for s in layer.segments}
    return path, expected


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("kind", ["binary", "labelmap", "overlapping", "one segment", "one slice"])
def test_other_programs_read_the_same_points_from_segmentations(
    tmp_path: Path, kind: str, grid: Geometry, read: Callable[[Path, Path], Points]
) -> None:
    layers = {
        "overlapping": overlapping(grid),
        "one segment": (random_labels(1, slice(0, None, 2), grid),),
        "one slice": (random_labels(2, slice(2, 3), grid),),
    }.get(kind, (random_labels(3, slice(1, 5), grid),))
    series = write_ct_series(tmp_path / "series", grid)
    options = ["--type", "labelmap"] if kind == "labelmap" else []
    path, expected = exported(tmp_path, layers, "--reference", str(series), *options)
    found = read(path, tmp_path)
    assert found.keys() == expected.keys()
    for name, points in expected.items():
        assert found[name] == points, name


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_derived_series_holds_the_values_of_its_volume_at_their_position(tmp_path: Path, grid: Geometry) -> None:
    array = np.random.default_rng(0).normal(0, 300, grid.shape).round().astype(np.int16)
    write_array(tmp_path / "image.nrrd", array, grid)
    derived = tmp_path / "derived"
    exported(
        tmp_path,
        (random_labels(2, grid=grid),),
        "--derive-series",
        str(derived),
        "--image",
        str(tmp_path / "image.nrrd"),
    )
    inverse, found = np.linalg.inv(matrix_of(grid)), np.full(grid.shape, np.nan)
    for file in derived.iterdir():
        header = dcmread(file)
        row, column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        row_spacing, column_spacing = (float(value) for value in header.PixelSpacing)
        values = apply_modality_lut(header.pixel_array, header)
        for j, i in np.ndindex(values.shape):
            point = np.array(header.ImagePositionPatient, float) + row * column_spacing * i + column * row_spacing * j
            index = inverse @ [*point, 1]
            assert np.abs(index - np.rint(index)).max() < 1e-4
            found[tuple(np.rint(index[:3]).astype(int))] = values[j, i]
    assert np.abs(found - array).max() <= (array.max() - array.min()) / 65535


@needs_programs("dciodvfy")
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("slices", [slice(None), slice(2, 3)], ids=["all", "one"])
def test_the_validator_finds_no_error(tmp_path: Path, count: int, slices: slice) -> None:
    path, _ = exported(
        tmp_path, (random_labels(count, slices),), "--reference", str(write_ct_series(tmp_path / "series"))
    )
    assert dciodvfy_errors(path) == []


@needs_programs("Orthanc")
@pytest.mark.skipif(
    not DICOMWEB_PLUGIN.exists(), reason="which need a program: apt-get install orthanc-dicomweb (Debian, Ubuntu)"
)
def test_a_segmentation_retrieved_from_an_archive_has_the_same_points(tmp_path: Path) -> None:
    with running_orthanc(tmp_path) as server:
        for kind in ("binary", "labelmap"):
            folder = tmp_path / kind
            folder.mkdir()
            options = ["--reference", str(write_ct_series(folder / "series")), "--type", kind]
            path, expected = exported(folder, (random_labels(2, slice(1, 5)),), *options)
            sent = dcmread(path)
            assert server.stow(path).get("00081198", {}).get("Value", []) == []
            (body,) = server.wado(f"studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}")
            returned = folder / "returned.dcm"
            returned.write_bytes(body)
            assert by_highdicom(returned, folder) == by_pydicom(returned, folder) == expected
