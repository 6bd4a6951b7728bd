"""SliceAxis: conversion between an array `[k, j, i]` and slices `[n, h, w]` along one of its axes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .numbers import int_or_none
from .volume import Geometry

# Labels painted on slices of a crossing axis are at most this thick (two adjacent slices) and at least this long, in
# voxels. Checked on nine labelled volumes, with every 2nd to 16th slice and with runs of slices kept: all crossing
# slices were found, and none where there was none.
SHEET_THICKNESS = 2
LONG_RUN = 5
# Fewer voxels than this are considered a stray click, not a painted slice.
PAINTED_VOXELS = 10


@dataclass(frozen=True)
class SliceAxis:
    """One of the three array axes: 0 = k (slices as stored), 1 = j (rows), 2 = i (columns).

    An axis is an array axis, never a patient axis, so oblique volumes need no resampling.
    """

    index: int

    def __post_init__(self) -> None:
        if self.index not in (0, 1, 2):
            raise InputError("axis_out_of_range", axis=self.index)

    def slices(self, array: np.ndarray) -> np.ndarray:
        """View of `[k, j, i]` as slices `[n, h, w]` along this axis."""
        return np.moveaxis(array, self.index, 0)

    def restore(self, slices: np.ndarray) -> np.ndarray:
        """View of `[n, h, w]` as `[k, j, i]`: the inverse of `slices`."""
        return np.moveaxis(slices, 0, self.index)

    def count(self, geometry: Geometry) -> int:
        """Number of slices along this axis."""
        return geometry.shape[self.index]

    def shape(self, geometry: Geometry) -> tuple[int, int, int]:
        """Slices, rows and columns `(n, h, w)` along this axis."""
        array_order = list(geometry.shape)
        count = array_order.pop(self.index)
        return count, array_order[0], array_order[1]

    def spacing(self, geometry: Geometry) -> tuple[float, float, float]:
        """Spacing in mm between slices, rows and columns `(n, h, w)`."""
        array_order = list(geometry.spacing[::-1])
        slice_spacing = array_order.pop(self.index)
        return slice_spacing, array_order[0], array_order[1]

    def require_slices(self, indices: Iterable[int], count: int) -> None:
        """Raise `InputError` naming the first of the slices that is not among the `count` slices along this axis."""
        for index in indices:
            if not 0 <= index < count:
                raise InputError("slice_out_of_range", index=index, axis=self.index, last=count - 1)

    def patient_plane(self, geometry: Geometry) -> str:
        """Nearest anatomical plane: 'axial', 'coronal' or 'sagittal', with 'oblique ' before it if tilted."""
        normal = np.abs(np.array(geometry.direction).reshape(3, 3)[:, 2 - self.index])
        name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
        return name if normal.max() > 0.999 else f"oblique {name}"


def parse_axis(text: str) -> SliceAxis | None:
    """Parse '0', '1' or '2' as an axis; None for 'auto'.

    Raises
    ------
    InputError
        There is no such axis.
    """
    if text == "auto":
        return None
    if text not in ("0", "1", "2"):
        raise InputError("axis_out_of_range", axis=text)
    return SliceAxis(int(text))


def parse_slice_indices(text: str) -> list[int]:
    """Parse slice indices separated by commas, semicolons or spaces (in a CSV file, commas would need quotes).

    Raises
    ------
    InputError
        An entry is not a number, or there is none.
    """
    numbers = [int_or_none(part) for part in re.split(r"\s*[,;]\s*|\s+", text.strip())]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise InputError("slices_malformed", text=text)
    return found


def labelled_indices(array: np.ndarray, axis: SliceAxis) -> list[int]:
    """Slices along `axis` that hold any label, ascending."""
    others = tuple(other for other in range(3) if other != axis.index)
    return [int(index) for index in np.flatnonzero(array.any(axis=others))]


def run_lengths(labelled: np.ndarray, axis: int) -> np.ndarray:
    """Length of the run of consecutive true voxels along `axis` through each voxel; 0 where false.

    Parameters
    ----------
    labelled : bool ndarray, any shape

    Returns
    -------
    int32 ndarray of the same shape
    """
    moved = np.moveaxis(labelled, axis, -1)
    padded = np.zeros((*moved.shape[:-1], moved.shape[-1] + 2), dtype=np.int8)
    padded[..., 1:-1] = moved
    edges = np.diff(padded.reshape(-1))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    result = np.zeros(moved.shape, dtype=np.int32)
    result[moved] = np.repeat(lengths, lengths)
    return np.moveaxis(result, -1, axis)


def detect_axis(array: np.ndarray, geometry: Geometry, path: object = "The labels") -> SliceAxis:
    """Detect the axis along which slices were painted: the one with the shortest mean run of labelled voxels.

    Parameters
    ----------
    array : label array [k, j, i]

    Raises
    ------
    InputError
        Nothing is labelled, or slices of two axes are painted.
    """
    labelled = _cropped(array, path)
    mean_run = [labelled.sum() / _run_starts(labelled, axis) for axis in range(3)]
    thickest = SliceAxis(0).spacing(geometry)
    axis = SliceAxis(min(range(3), key=lambda a: (mean_run[a], -thickest[a], a)))
    require_one_axis(array, axis, path)
    return axis


def require_one_axis(array: np.ndarray, axis: SliceAxis, path: object = "The labels") -> None:
    """Raise `InputError` if slices of another axis are painted as well as slices of `axis`.

    A slice painted across `axis` is detected where it crosses slices of `axis` that are not painted. Structures cut
    by the border of the volume can be as thin as a painted slice and are no evidence.
    """
    labelled = _cropped(array, path)
    long = run_lengths(labelled, axis.index) >= LONG_RUN
    for other in range(3):
        if other == axis.index:
            continue
        thin = _thickness(array, labelled, other) <= SHEET_THICKNESS
        if thin[labelled].all():  # everything was painted along the other axis
            continue
        sheet = thin & labelled & long
        across, within = (tuple(a for a in range(3) if a != kept) for kept in (other, axis.index))
        painted, all_labelled = sheet.sum(axis=across), labelled.sum(axis=across)
        alone = sheet & ~(labelled & ~thin).any(axis=within, keepdims=True)
        # At least half of the labels in the plane must be thin; the rest is where painted slices of `axis` cut it.
        crossing = (alone.sum(axis=across) >= PAINTED_VOXELS) & (2 * painted >= all_labelled)
        if crossing.any():
            first = int(np.flatnonzero(crossing)[0]) + labelled_indices(array, SliceAxis(other))[0]
            raise InputError("crossing_axes", path=path, axis=axis.index, other=other, index=first)


def _thickness(array: np.ndarray, labelled: np.ndarray, axis: int) -> np.ndarray:
    """Run lengths along `axis` in the labelled bounding box; runs cut by the array's border continue beyond it."""
    indices = labelled_indices(array, SliceAxis(axis))
    beyond = [SHEET_THICKNESS * cut for cut in (indices[0] == 0, indices[-1] == array.shape[axis] - 1)]
    padded = np.pad(labelled, [beyond if a == axis else (0, 0) for a in range(3)], mode="edge")
    runs = SliceAxis(axis).slices(run_lengths(padded, axis))
    return SliceAxis(axis).restore(runs[beyond[0] : beyond[0] + labelled.shape[axis]])


def _cropped(array: np.ndarray, path: object) -> np.ndarray:
    """Bounding box of the labelled voxels, as bool."""
    ranges = []
    for axis in range(3):
        indices = labelled_indices(array, SliceAxis(axis))
        if not indices:
            raise InputError("no_labelled_slice", path=path)
        ranges.append(slice(indices[0], indices[-1] + 1))
    return array[tuple(ranges)] != 0


def _run_starts(labelled: np.ndarray, axis: int) -> int:
    moved = np.moveaxis(labelled, axis, 0)
    return int(moved[0].sum() + (moved[1:] & ~moved[:-1]).sum())
