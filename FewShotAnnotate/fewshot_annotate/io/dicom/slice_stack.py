"""Spatial order of the slices of a DICOM series on a regular lattice, and checks of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import InputError, Message

_PARALLEL_TOLERANCE = 1e-3
# Slices that are shifted against their neighbours by more than this fraction of the gap show a gantry tilt.
_SHIFT_TOLERANCE = 0.01
# Maximum distance of a slice from its lattice position, as a fraction of the gap: scanners round positions, and
# tables do not stop exactly.
_LATTICE_TOLERANCE = 0.05
# Maximum number of slices from the first position to the last: a damaged position may be millions of gaps away.
MAX_SLICES = 65535
_MIN_GAP_MM = 1e-3  # mm; slices that are nearer have the same position
_MAX_LISTED = 3


@dataclass(frozen=True)
class ImagePlane:
    """Position and orientation of one slice in the patient.

    Attributes
    ----------
    name : str
        File name, for errors.
    position : (float, float, float)
        Image Position (Patient): centre of the first pixel in mm, LPS.
    row, column : (float, float, float)
        Image Orientation (Patient): direction of a row (i) and of a column (j).
    """

    name: str
    position: tuple[float, float, float]
    row: tuple[float, float, float]
    column: tuple[float, float, float]

    @property
    def normal(self) -> np.ndarray:
        """Direction perpendicular to the slice, float `[3]` in LPS."""
        return np.cross(self.row, self.column)


@dataclass(frozen=True)
class SliceStack:
    """Slices of a series on their lattice.

    Attributes
    ----------
    order : tuple of int
        Positions of the slices in the given sequence, sorted along their normal.
    lattice_indices : tuple of int, ascending from 0
        Lattice index of each of these slices; at an index that does not occur, a slice is missing.
    step : ndarray, shape [3]
        Vector between neighbouring lattice positions in mm, LPS.
    tilt : float
        Angle between step and normal in degrees; 0 unless the gantry was tilted.
    """

    order: tuple[int, ...]
    lattice_indices: tuple[int, ...]
    step: np.ndarray
    tilt: float

    @property
    def count(self) -> int:
        """Number of lattice positions."""
        return self.lattice_indices[-1] + 1

    @property
    def missing(self) -> tuple[int, ...]:
        """Lattice indices without a slice."""
        return tuple(sorted(set(range(self.count)) - set(self.lattice_indices)))


def stack_slices(slices: Sequence[ImagePlane], path: object) -> SliceStack:
    """Order slices and find their lattice.

    Parameters
    ----------
    slices : sequence of ImagePlane, in any order, at least two
    path : object
        Names the series in errors.

    Raises
    ------
    InputError
        The slices are not parallel, two have the same position, or the gaps fit no lattice.
    """
    _require_parallel(slices, path)
    normal = slices[0].normal
    normal = normal / np.linalg.norm(normal)
    positions = np.array([plane.position for plane in slices], dtype=float)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    usual = float(np.median(gaps))
    _require_one_volume(gaps, path)
    for number in np.flatnonzero(gaps <= max(_LATTICE_TOLERANCE * usual, _MIN_GAP_MM)):
        first, second = sorted(slices[order[number + end]].name for end in (0, 1))
        raise InputError("series_doubled", path=path, first=first, second=second)
    steps = np.maximum(1, np.rint(gaps / usual))
    if steps.sum() >= MAX_SLICES:
        raise InputError("series_uneven", path=path, least=float(gaps.min()), most=float(gaps.max()))
    steps = steps.astype(int)
    step = (positions[order[-1]] - positions[order[0]]) / steps.sum()
    shift = float(np.linalg.norm(step - (step @ normal) * normal))
    lattice = positions[order[0]] + np.concatenate(([0], np.cumsum(steps)))[:, None] * step
    if np.linalg.norm(positions[order] - lattice, axis=1).max() > _LATTICE_TOLERANCE * usual:
        raise InputError("series_uneven", path=path, least=float(gaps.min()), most=float(gaps.max()))
    tilted = shift > _SHIFT_TOLERANCE * usual
    tilt = float(np.degrees(np.arctan2(shift, abs(step @ normal)))) if tilted else 0.0
    lattice_indices = tuple(int(index) for index in np.concatenate(([0], np.cumsum(steps))))
    return SliceStack(tuple(int(number) for number in order), lattice_indices, step, tilt)


def describe_missing(stack: SliceStack, slices: Sequence[ImagePlane]) -> str:
    """Description of missing slices, such as '2 between 007.dcm and 008.dcm'."""
    missing = []
    for number, (index, following) in enumerate(zip(stack.lattice_indices, stack.lattice_indices[1:], strict=False)):
        if following > index + 1:
            before, after = (slices[stack.order[number + end]].name for end in (0, 1))
            missing.append(f"{following - index - 1} between {before} and {after}")
    return ", ".join(missing[:_MAX_LISTED]) + (" ..." if len(missing) > _MAX_LISTED else "")


def _require_one_volume(gaps: np.ndarray, path: object) -> None:
    """Refuse a series with several slices, equally many, at each position: phases, echoes or time points."""
    starts = np.concatenate(([0], np.flatnonzero(gaps > _MIN_GAP_MM) + 1, [len(gaps) + 1]))
    counts = np.diff(starts)
    if len(counts) > 1 and counts[0] > 1 and (counts == counts[0]).all():
        raise InputError("series_many_volumes", path=path, count=int(counts[0]), what=Message("volumes_images"))


def _require_parallel(slices: Sequence[ImagePlane], path: object) -> None:
    """Refuse slices of several orientations; the error names a slice of the less frequent orientation."""
    turned = [
        plane.name
        for plane in slices
        if np.abs(np.subtract(plane.row, slices[0].row)).max() > _PARALLEL_TOLERANCE
        or np.abs(np.subtract(plane.column, slices[0].column)).max() > _PARALLEL_TOLERANCE
    ]
    if turned:
        others = [plane.name for plane in slices if plane.name not in turned]
        fewer = min((turned, others), key=len)
        raise InputError("series_mixed", path=path, count=len(fewer), first=sorted(fewer)[0])
