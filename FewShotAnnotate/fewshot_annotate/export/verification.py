"""Verification of written files: they are read back and compared with the data that were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.regrid import GridMismatch, align_grids, apply_alignment
from ..core.volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap, Volume, nearest_orthogonal_matrix
from ..io.files import image_suffix, read_label_maps, read_volume

_STEPS = 65535  # between the smallest and the largest 16-bit integer
COLOUR_TOLERANCE = 1.01 / 255  # DICOM stores 8-bit RGB colours as 16-bit CIELab
# Expected voxels of a `Difference`, which would be too many to list.
IDENTICAL = "identical ones"


@dataclass(frozen=True)
class Difference:
    """A difference between the written data and those that were read back."""

    what: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def reading_error(error: Exception) -> str:
    """The found value of a `Difference` for a file that cannot be read."""
    return str(getattr(error, "strerror", None) or "a file that the reader refuses").lower()


def compare_label_maps(path: Path, layers: Sequence[LabelMap]) -> list[Difference]:
    """Differences between `layers` and an image file of label maps, as read by this package.

    Voxels, geometry, names, colours and tags are compared. See `other_readers` for other programs.
    """
    read_layers = read_label_maps(path)
    if len(read_layers) != len(layers):
        return [Difference("number of layers", len(layers), len(read_layers))]
    differences = []
    for number, (expected, actual) in enumerate(zip(layers, read_layers, strict=True)):
        prefix = f"layer {number}: " if len(layers) > 1 else ""
        difference = grid_difference(path, expected.geometry, actual.geometry)
        if difference:
            name, expected_value, actual_value = difference
            differences.append(Difference(prefix + name, expected_value, actual_value))
        elif (expected.array != actual.array).any():
            count = int(np.count_nonzero(expected.array != actual.array))
            differences.append(Difference(prefix + "voxels", IDENTICAL, f"{count} different ones"))
        differences += _segment_differences(expected, actual)
    return differences


def _segment_differences(expected: LabelMap, actual: LabelMap) -> list[Difference]:
    """Differences in names, tags and colours; an empty segment may be missing."""
    differences = []
    actual_segments = {segment.value: segment for segment in actual.segments}
    for segment in expected.segments:
        other = actual_segments.get(segment.value)
        if other is None:
            if (expected.array == segment.value).any():
                differences.append(Difference(f"segment {segment.name}", "present", "missing"))
            continue
        for what, written, stored in (
            ("name", segment.name, other.name),
            ("tags", dict(segment.tags), dict(other.tags)),
        ):
            if written != stored:
                differences.append(Difference(f"{what} of segment {segment.name}", written, stored))
        if not np.allclose(segment.colour, other.colour, atol=COLOUR_TOLERANCE):
            differences.append(Difference(f"colour of segment {segment.name}", segment.colour, other.colour))
    return differences


def grid_difference(path: Path, expected: Geometry, actual: Geometry) -> tuple[str, Any, Any] | None:
    """As `Geometry.difference`; in a NIfTI file with sheared axes, the nearest orthogonal axes are accepted too.

    ITK reads these from the qform, which cannot hold sheared axes; nibabel reads the sheared axes from the sform.
    """
    difference = expected.difference(actual, SAME_VOXEL_TOLERANCE)
    if difference is None or not image_suffix(path).startswith(".nii"):
        return difference
    direction = tuple(nearest_orthogonal_matrix(expected.direction_matrix).ravel().tolist())
    orthogonal = Geometry(expected.shape, expected.spacing, expected.origin, direction)
    return difference if orthogonal.difference(actual, SAME_VOXEL_TOLERANCE) else None


def compare_series(folder: Path, volume: Volume) -> list[Difference]:
    """Differences between a derived series and the volume, beyond rounding to 16 bits."""
    series = read_volume(folder)
    geometry, grid = series.geometry, volume.geometry
    alignment = align_grids(geometry, grid)
    if isinstance(alignment, GridMismatch) or sorted(geometry.shape) != sorted(grid.shape):
        return [Difference("grid of the derived series", grid, geometry)]
    values = apply_alignment(series.array, alignment, grid.shape)
    step = (float(volume.array.max()) - float(volume.array.min())) / _STEPS
    count = int(np.count_nonzero(np.abs(values - volume.array.astype(float)) > step))
    return [Difference("voxels of the derived series", IDENTICAL, f"{count} different ones")] if count else []
