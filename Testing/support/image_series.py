"""DICOM images as found in practice, made by hand: series of unequal slices, multi-frame files, other objects."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fewshot_annotate.core.volume import Geometry, Volume
from pydicom import Dataset, FileDataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.pixels import apply_modality_lut
from pydicom.uid import generate_uid

from support.synthetic_dicom import write_ct_series

GRID = Geometry((5, 6, 8), (0.75, 1.25, 2.5), (-11.5, 23.25, -40.0))
# Turned about two axes, as in an oblique acquisition.
OBLIQUE = Geometry(GRID.shape, GRID.spacing, GRID.origin, (0.8, -0.36, 0.48, 0.6, 0.48, -0.64, 0.0, 0.8, 0.6))
STUDY = "1.2.826.0.1.3680043.8.498.1"  # of all multi-frame files, which may form one series
MULTI_FRAME_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
}


def stored_values(seed: int = 0, grid: Geometry = GRID) -> np.ndarray:
    """Integers that differ from slice to slice, 0..99."""
    return np.random.default_rng(seed).integers(0, 100, grid.shape).astype(np.int16)


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Values that violate the standard may be set and read without a warning."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def rescaled(dataset: Dataset, slope: float, intercept: float) -> None:
    """Set the rescale slope and intercept of a slice."""
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept


def change_slices(folder: Path, change: Callable[[Dataset, int], None]) -> Path:
    """Rewrite the slices of a series after `change(dataset, slice_index)`, without checks of the values."""
    for path in sorted(folder.iterdir()):
        dataset = dcmread(path)
        with lenient():
            change(dataset, int(dataset.InstanceNumber) - 1)
            dataset.save_as(path)
    return folder


def write_series(
    folder: Path, change: Callable[[Dataset, int], None] = lambda dataset, slice_index: None, grid: Geometry = GRID
) -> Path:
    """A CT series whose slices `change` may alter; file names run against the spatial order."""
    return change_slices(write_ct_series(folder, grid, stored_values(grid=grid)), change)


def set_pixels(dataset: Dataset, pixels: np.ndarray, bits_stored: int | None = None) -> None:
    """Put stored values of another type into a slice."""
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored = bits, bits_stored or bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def replace_bytes(folder: Path, old: bytes, new: bytes) -> Path:
    """Replace bytes by as many others in all files, without checks by pydicom."""
    assert len(old) == len(new)
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.count(old) == 1, path
        path.write_bytes(content.replace(old, new))
    return folder


def values_by_pydicom(folder: Path) -> dict[tuple[float, ...], float]:
    """Value at each voxel centre in mm, LPS, as pydicom's modality LUT gives it for the single-frame files."""
    found = {}
    for path in folder.iterdir():
        dataset = dcmread(path)
        values = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), dtype=float)
        found |= world_values(
            values, dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing
        )
    return found


def world_values(values: np.ndarray, position: Any, orientation: Any, spacing: Any) -> dict[tuple[float, ...], float]:
    """Values of one 2D image by position in mm, as PS3.3 C.7.6.2.1.1 computes it."""
    position, spacing = np.array(position, float), np.array(spacing, float)
    row, column = np.array(orientation, float).reshape(2, 3)
    return {
        _rounded(position + row * spacing[1] * i + column * spacing[0] * j): float(values[j, i])
        for j in range(values.shape[0])
        for i in range(values.shape[1])
    }


def world_values_of(volume: Volume) -> dict[tuple[float, ...], float]:
    """Values of a volume by position in mm."""
    geometry = volume.geometry
    matrix = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
    return {
        _rounded(np.array(geometry.origin) + matrix @ (i, j, k)): float(value)
        for (k, j, i), value in np.ndenumerate(volume.array)
    }


def assert_same_world(volume: Volume, expected: dict[tuple[float, ...], float], tolerance: float = 1e-6) -> None:
    """Every voxel has an expected position, and its expected value."""
    found = world_values_of(volume)
    assert set(found) == set(expected)
    differences = [abs(found[position] - value) for position, value in expected.items()]
    assert max(differences) <= tolerance * max(1.0, max(map(abs, expected.values())))


def _rounded(position: np.ndarray) -> tuple[float, ...]:
    return tuple((np.round(position, 4) + 0.0).tolist())


def write_multi_frame(
    path: Path,
    grid: Geometry = GRID,
    order: Sequence[int] = (),
    rescale: Callable[[int], tuple[float, float]] | None = None,
    shared: bool = False,
    change: Callable[[Dataset, int], None] = lambda group, slice_index: None,
    modality: str = "CT",
) -> dict[tuple[float, ...], float]:
    """Write an enhanced multi-frame file; returns its expected values by position in mm.

    Parameters
    ----------
    order : sequence of int
        Slice indices in the order in which the frames are stored; an index may occur twice.
    rescale : function
        Slope and intercept of the frame of a slice index.
    shared : bool
        Whether orientation, spacing and, without `rescale`, the rescaling are in the shared group.
    change : function
        `change(group, slice_index)` alters the functional groups of a frame; index -1 stands for the shared groups.
    """
    indices = list(order) or list(range(grid.shape[0]))
    slope = rescale or (lambda index: (1.0, 0.0))
    stored = stored_values(1, grid)
    template = dcmread(next(write_ct_series(path.parent / "template", grid, stored).iterdir()))
    for file in (path.parent / "template").iterdir():
        file.unlink()
    (path.parent / "template").rmdir()
    direction = np.array(grid.direction).reshape(3, 3)
    orientation = direction[:, :2].T.reshape(-1).tolist()
    spacing = [grid.spacing[1], grid.spacing[0]]
    values: dict[tuple[float, ...], float] = {}
    groups = []
    for number, index in enumerate(indices, start=1):
        position = np.array(grid.origin) + direction[:, 2] * grid.spacing[2] * index
        group = Dataset()
        group.FrameContentSequence = [_item(FrameAcquisitionNumber=1, StackID="1", InStackPositionNumber=number)]
        group.PlanePositionSequence = [_item(ImagePositionPatient=np.round(position, 9).tolist())]
        if not shared:
            _describe(group, orientation, spacing, slope(index))
        elif rescale:
            _rescale(group, slope(index))
        change(group, index)
        groups.append(group)
        scale, offset = slope(index)
        values |= world_values(stored[index] * scale + offset, position, orientation, spacing)
    template.SharedFunctionalGroupsSequence = [Dataset()]
    if shared:
        _describe(template.SharedFunctionalGroupsSequence[0], orientation, spacing, None if rescale else (1.0, 0.0))
    change(template.SharedFunctionalGroupsSequence[0], -1)
    template.PerFrameFunctionalGroupsSequence = groups
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del template[name]
    del template.RescaleSlope, template.RescaleIntercept
    template.NumberOfFrames = len(indices)
    template.StudyInstanceUID = STUDY
    template.SOPClassUID = template.file_meta.MediaStorageSOPClassUID = MULTI_FRAME_CLASSES[modality]
    template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    template.Modality = modality
    template.PixelData = np.stack([stored[index] for index in indices]).astype("<i2").tobytes()
    template.save_as(path)
    return values


def add_other_object(folder: Path, kind: str) -> Path:
    """Put an object of another kind into the folder of a series, as a series of its own; returns its path."""
    dataset: FileDataset = dcmread(next(path for path in sorted(folder.iterdir())))
    dataset.SeriesInstanceUID, dataset.SeriesNumber = generate_uid(), 99
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    classes = {
        "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
        "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
        "SR": "1.2.840.10008.5.1.4.1.1.88.33",
        "PR": "1.2.840.10008.5.1.4.1.1.11.1",
        "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
    }
    if kind in classes:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = classes[kind]
        dataset.Modality = kind
    if kind == "localizer":
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    elif kind == "colour":
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        set_pixels(dataset, np.zeros((dataset.Rows, dataset.Columns, 3), np.uint8))
    elif kind == "screenshot":
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    elif kind in ("SEG", "RTDOSE"):
        dataset.NumberOfFrames = 1
    else:
        del dataset.PixelData, dataset.Rows, dataset.Columns
    path = folder / f"beside {kind}.dcm"
    dataset.save_as(path)
    return path


def _describe(group: Dataset, orientation: Any, spacing: Any, rescale: tuple[float, float] | None) -> None:
    group.PlaneOrientationSequence = [_item(ImageOrientationPatient=np.round(orientation, 9).tolist())]
    group.PixelMeasuresSequence = [_item(PixelSpacing=spacing, SliceThickness=1)]
    if rescale:
        _rescale(group, rescale)


def _rescale(group: Dataset, rescale: tuple[float, float]) -> None:
    slope, intercept = rescale
    group.PixelValueTransformationSequence = [_item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")]


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
