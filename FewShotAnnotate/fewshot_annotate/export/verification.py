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

_STEPS = 65535  # of a 16-bit integer
COLOUR_TOLERANCE = 1.01 / 255  # DICOM keeps colours as 16-bit CIELab of 8-bit RGB


@dataclass(frozen=True)
class Difference:
    """A difference between what was written and what was read back."""

    what: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def reading_error(error: Exception) -> str:
    """What was found instead of a file that a reader can read."""
    return (getattr(error, "strerror", None) or "one that it refuses").lower()


def compare_label_maps(path: Path, layers: Sequence[LabelMap]) -> list[Difference]:
    """What an image file of label maps says other than `layers` to our own reader.

    Voxels, geometry, names, colours and tags are compared. See `other_readers` for other programs.
    """
    read = read_label_maps(path)
    if len(read) != len(layers):
        return [Difference("number of layers", len(layers), len(read))]
    differences = []
    for number, (expected, actual) in enumerate(zip(layers, read, strict=True)):
        where = f"layer {number}: " if len(layers) > 1 else ""
        off = grid_difference(path, expected.geometry, actual.geometry)
        if off:
            differences.append(Difference(where + off[0], off[1], off[2]))
        elif (expected.array != actual.array).any():
            count = int(np.count_nonzero(expected.array != actual.array))
            differences.append(Difference(where + "voxels", "all the same", f"{count} others"))
        theirs = {segment.value: segment for segment in actual.segments}
        for segment in expected.segments:
            other = theirs.get(segment.value)
            if other is None:
                if (expected.array == segment.value).any():
                    differences.append(Difference(f"segment {segment.name}", "there", "missing"))
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
    """`Geometry.difference`, but that of a NIfTI file with sheared axes the nearest right angles are expected too.

    ITK takes them from the qform, which holds no others; the sform, which nibabel reads, holds the axes as they are.
    """
    off = expected.difference(actual, SAME_VOXEL_TOLERANCE)
    if off is None or not image_suffix(path).startswith(".nii"):
        return off
    turned = nearest_orthogonal_matrix(expected.direction_matrix)
    upright = Geometry(expected.shape, expected.spacing, expected.origin, tuple(turned.ravel().tolist()))
    return off if upright.difference(actual, SAME_VOXEL_TOLERANCE) else None


def compare_series(folder: Path, volume: Volume) -> list[Difference]:
    """What a derived series shows other than the volume, beyond the rounding to 16 bits. Reads with ITK."""
    read = read_volume(folder)
    geometry, grid = read.geometry, volume.geometry
    alignment = align_grids(geometry, grid)
    if isinstance(alignment, GridMismatch) or sorted(geometry.shape) != sorted(grid.shape):
        return [Difference("grid of the derived series", grid, geometry)]
    values = apply_alignment(read.array, alignment, grid.shape)
    step = (float(volume.array.max()) - float(volume.array.min())) / _STEPS
    count = int(np.count_nonzero(np.abs(values - volume.array.astype(float)) > step))
    return [Difference("voxels of the derived series", "all the same", f"{count} others")] if count else []
