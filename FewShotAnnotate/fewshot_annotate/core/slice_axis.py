"""SliceAxis: conversion between an array `[k, j, i]` and slices `[n, h, w]` along one of its axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from .errors import InputError
from .numbers import parse_ints
from .volume import Geometry

# Upper bound for slice counts, above the size of any volume.
MAX_SLICES = 100_000
# Labels painted on slices of a crossing axis are at most this thick (two adjacent slices) and at least this long, in
# voxels. Checked on nine labelled volumes, with every 2nd to 16th slice and with runs of slices kept: all crossing
# slices were found, and none where there was none.
MAX_SHEET_VOXELS = 2
MIN_SHEET_RUN_VOXELS = 5
# Fewer voxels than this are considered a stray click, not a painted slice.
MIN_PAINTED_VOXELS = 10
# Labels are painted slices along an axis if their mean run of voxels along it is at most this long and, along both
# other axes, at least this many times as long; otherwise they may be whole structures.
MAX_PAINTED_RUN_VOXELS = 4
MIN_RUN_RATIO = 2
# An array axis has an anatomical name of its own if it is tilted by at most 30 degrees.
MIN_PLANE_COSINE = 0.866


class Plane(StrEnum):
    """An anatomical plane, by which the axis of a volume may be chosen."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


# Planes by the LPS axis of their normal.
_PLANES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)


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
        normal = self._normal(geometry)
        name = str(_PLANES[int(normal.argmax())])
        return name if normal.max() > 0.999 else f"oblique {name}"

    def nearest_plane(self, geometry: Geometry) -> str:
        """Nearest anatomical plane, whether or not the slices are tilted: 'axial', 'coronal' or 'sagittal'."""
        return self.patient_plane(geometry).removeprefix("oblique ")

    def describe(self, geometry: Geometry) -> str:
        """The axis by its array index and in anatomical words, such as 'axis 1 (coronal)'."""
        return f"axis {self.index} ({self.patient_plane(geometry)})"

    @classmethod
    def of_plane(cls, plane: Plane, geometry: Geometry) -> SliceAxis:
        """The axis whose slices lie in an anatomical plane.

        Raises
        ------
        InputError
            The volume is tilted so far that no axis belongs clearly to the plane.
        """
        number = _PLANES.index(plane)
        for axis in map(cls, range(3)):
            if axis._normal(geometry)[number] >= MIN_PLANE_COSINE:
                return axis
        raise InputError("plane_oblique", plane=str(plane))

    def _normal(self, geometry: Geometry) -> np.ndarray:
        """Absolute components of the slices' normal along left, posterior and superior."""
        normal: np.ndarray = np.abs(geometry.direction_matrix[:, 2 - self.index])
        return normal


# How a user chooses an axis: by its array index, or by the plane of its slices.
AxisChoice = SliceAxis | Plane


def thickest_axis(geometry: Geometry) -> SliceAxis:
    """The axis of the largest spacing, along which a volume was most likely acquired; the first one of equal ones."""
    spacing = SliceAxis(0).spacing(geometry)
    return SliceAxis(max(range(3), key=lambda axis: (round(spacing[axis], 3), -axis)))


def resolve_axis(choice: AxisChoice | None, geometry: Geometry) -> SliceAxis | None:
    """The chosen axis, None without a choice; raises `InputError` as `SliceAxis.of_plane`."""
    return SliceAxis.of_plane(choice, geometry) if isinstance(choice, Plane) else choice


def parse_axis(text: str) -> AxisChoice | None:
    """Parse '0', '1' or '2', or an anatomical plane, as an axis; None for 'auto'.

    Raises
    ------
    InputError
        There is no such axis.
    """
    if text == "auto":
        return None
    if text.lower() in tuple(Plane):
        return Plane(text.lower())
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
    indices = parse_ints(text)
    if indices is None:
        raise InputError("slices_malformed", text=text)
    return indices


def slice_indices(indices: Iterable[Any] | None) -> list[int] | None:
    """Slice indices of any sequence or array of whole numbers, as Python integers; None for None.

    Raises
    ------
    InputError
        No sequence, or an entry is no whole number; True and False are none, as they would be a mask.
    """
    if indices is None:
        return None
    if isinstance(indices, str) or not isinstance(indices, Iterable):
        raise InputError("slices_malformed", text=indices)
    entries = list(indices)
    for entry in entries:
        if (
            isinstance(entry, bool)
            or not isinstance(entry, (int, float, np.integer, np.floating))
            or entry != entry // 1
        ):
            raise InputError("slices_malformed", text=", ".join(map(str, entries)))
    return [int(entry) for entry in entries]


def labelled_indices(array: np.ndarray, axis: SliceAxis) -> list[int]:
    """Indices of the slices along `axis` on which an array `[k, j, i]` holds any label, ascending."""
    others = tuple(other for other in range(3) if other != axis.index)
    return [int(index) for index in np.flatnonzero(array.any(axis=others))]


def run_lengths(labelled: np.ndarray, axis: int) -> np.ndarray:
    """Length of the run of consecutive true voxels along `axis` through each voxel; 0 where false.

    Parameters
    ----------
    labelled : bool ndarray, any shape
    axis : int

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
    array : integer ndarray, shape [k, j, i]
        Label values, 0 is background.
    geometry : Geometry
        Of two axes with equal runs, the one with the larger spacing is taken.
    path : object
        Name of the labels in errors.

    Raises
    ------
    InputError
        Nothing is labelled, or slices of two axes are painted.
    """
    mean_run = _mean_runs(_cropped(array, path))
    thickest = SliceAxis(0).spacing(geometry)
    axis = SliceAxis(min(range(3), key=lambda a: (mean_run[a], -thickest[a], a)))
    require_one_axis(array, axis, path)
    return axis


def axis_of_named_slices(
    array: np.ndarray, named: Sequence[int], geometry: Geometry, path: object = "The labels"
) -> SliceAxis:
    """Axis along which slices were painted, if a user names the labelled slices.

    Only some of the painted slices may be named, and all slices of a labelled volume may hold labels; the numbers
    alone do not determine the axis then.

    Parameters
    ----------
    array : integer ndarray, shape [k, j, i]
        Label values, 0 is background.
    named : sequence of int
        Indices of the slices that the user names.
    geometry : Geometry
    path : object
        Name of the labels in errors.

    Raises
    ------
    InputError
        Nothing is labelled, slices of two axes are painted, or the axis cannot be determined from the labels.
    """
    mean_run = _mean_runs(_cropped(array, path))
    thin = min(range(3), key=lambda axis: mean_run[axis])
    others = min(mean_run[axis] for axis in range(3) if axis != thin)
    if mean_run[thin] <= MAX_PAINTED_RUN_VOXELS and others >= MIN_RUN_RATIO * mean_run[thin]:
        require_one_axis(array, SliceAxis(thin), path)
        return SliceAxis(thin)
    labelled = [labelled_indices(array, SliceAxis(axis)) for axis in range(3)]
    # Small or thick blocks of labels: an axis along which exactly the named slices hold labels, or which has gaps.
    for candidates in (
        [axis for axis in range(3) if set(labelled[axis]) == set(named)],
        [axis for axis in range(3) if labelled[axis][-1] - labelled[axis][0] >= len(labelled[axis])],
        [axis for axis in range(3) if set(named).issuperset(labelled[axis])],
    ):
        if len(candidates) == 1:
            return SliceAxis(candidates[0])
    planes = "; ".join(SliceAxis(axis).describe(geometry) for axis in range(3))
    raise InputError("axis_unclear", path=path, planes=planes)


def require_one_axis(array: np.ndarray, axis: SliceAxis, path: object = "The labels") -> None:
    """Raise `InputError` if in labels `[k, j, i]` slices of another axis are painted as well as slices of `axis`.

    A slice painted across `axis` is detected where it crosses slices of `axis` that are not painted. Structures cut
    by the border of the volume can be as thin as a painted slice and are no evidence.
    """
    labelled = _cropped(array, path)
    long = run_lengths(labelled, axis.index) >= MIN_SHEET_RUN_VOXELS
    for other in range(3):
        if other == axis.index:
            continue
        thin = _thickness(array, labelled, other) <= MAX_SHEET_VOXELS
        if thin[labelled].all():  # everything was painted along the other axis
            continue
        sheet = thin & labelled & long
        across, within = (tuple(a for a in range(3) if a != normal_axis) for normal_axis in (other, axis.index))
        painted, all_labelled = sheet.sum(axis=across), labelled.sum(axis=across)
        alone = sheet & ~(labelled & ~thin).any(axis=within, keepdims=True)
        # At least half of the labels in the plane must be thin; the rest is where painted slices of `axis` cut it.
        crossing = (alone.sum(axis=across) >= MIN_PAINTED_VOXELS) & (2 * painted >= all_labelled)
        if crossing.any():
            first = int(np.flatnonzero(crossing)[0]) + labelled_indices(array, SliceAxis(other))[0]
            raise InputError("crossing_axes", path=path, axis=axis.index, other=other, index=first)


def _thickness(array: np.ndarray, labelled: np.ndarray, axis: int) -> np.ndarray:
    """Run lengths along `axis` in the labelled bounding box; runs cut by the array's border continue beyond it."""
    indices = labelled_indices(array, SliceAxis(axis))
    beyond = [MAX_SHEET_VOXELS * cut for cut in (indices[0] == 0, indices[-1] == array.shape[axis] - 1)]
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
    labelled: np.ndarray = array[tuple(ranges)] != 0
    return labelled


def _mean_runs(labelled: np.ndarray) -> list[float]:
    """Mean length of the runs of labelled voxels along each axis."""
    return [float(labelled.sum() / _run_starts(labelled, axis)) for axis in range(3)]


def _run_starts(labelled: np.ndarray, axis: int) -> int:
    moved = np.moveaxis(labelled, axis, 0)
    return int(moved[0].sum() + (moved[1:] & ~moved[:-1]).sum())
