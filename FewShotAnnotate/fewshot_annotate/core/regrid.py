"""Regridding of label maps onto the grid of their image: lossless where possible, else with the user's consent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

import numpy as np

from .errors import InputError, Message
from .resampling import count_outside, resample
from .sparse_array import copy_nonzero, sparse_copy, sparse_zeros
from .volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap, format_distinct

# Relative rounding error of a spacing of 0.25 mm or more, or of a direction cosine, written with three decimals.
MAX_RELATIVE_ROUNDING = 2e-3
# Deviations of fewer voxels come from the last digits of a 32-bit header and are not reported.
NEGLIGIBLE_DEVIATION_VOXELS = 1e-3


class Consent(StrEnum):
    """Lossy operations that need the user's consent. The value is the name of the command line option."""

    RESAMPLE = "resample"
    CROP = "crop"


# The consent that remedies an error of `regrid`, by error code.
REMEDIES = {"labels_off_grid": Consent.RESAMPLE, "labels_outside": Consent.CROP}


class GridChange(Enum):
    """An operation that put labels on an image's grid."""

    REORIENTED = "axes flipped or permuted"
    PADDED = "cut-out"
    TRIMMED = "empty margin removed"
    ROUNDED = "rounded header"
    CROPPED = "labelled voxels removed"
    RESAMPLED = "resampled"


@dataclass(frozen=True)
class Alignment:
    """Index map from one grid to another that shares its voxels: `offset + sign * index`, axes permuted by `axes`.

    Attributes
    ----------
    axes : (int, int, int)
        For each array axis of the target grid, the source axis that runs along it.
    signs, offset : (int, int, int)
        In the order of the target grid's array axes.
    deviation : float
        Largest distance along an axis between a source voxel and its target voxel, in target voxels; below one half.
    """

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    offset: tuple[int, ...]
    deviation: float


_KINDS = {
    "direction": Message("grid_direction"),
    "spacing": Message("grid_spacing"),
    "position": Message("grid_position"),
}


@dataclass(frozen=True)
class GridMismatch:
    """Why the voxels of one grid do not coincide with those of another.

    Attributes
    ----------
    what : str
        'direction', 'spacing' or 'position'.
    found, expected : str
        Numbers of the source and the target grid, in target axis order, with enough digits to show the difference.
    voxels : float
        Largest distance along an axis in target voxels; infinite if the axes do not correspond.
    """

    what: str
    found: str
    expected: str
    voxels: float

    def error(self, path: object) -> InputError:
        """The mismatch as an error about the label map `path`."""
        off = Message("grid_voxels_off", voxels=f"{self.voxels:.3g}") if np.isfinite(self.voxels) else ""
        return InputError(
            "labels_off_grid", path=path, what=_KINDS[self.what], found=self.found, expected=self.expected, off=off
        )


@dataclass(frozen=True)
class Regridded:
    """Label maps on an image's grid.

    Attributes
    ----------
    layers : list of LabelMap
    changes : tuple of GridChange
        Operations that were needed; empty if the labels were on the grid already.
    deviation : float
        As in `Alignment`, in voxels; 0 if resampled.
    cropped : int
        Number of labelled voxels outside the image, which were removed.
    vanished : tuple of str
        Names of the segments that lost all their voxels in resampling.
    """

    layers: list[LabelMap]
    changes: tuple[GridChange, ...] = ()
    deviation: float = 0.0
    cropped: int = 0
    vanished: tuple[str, ...] = ()


def regrid(
    layers: Sequence[LabelMap], grid: Geometry, agreed: Collection[Consent] = (), path: object = "The labels"
) -> Regridded:
    """Put label maps that share one grid on another grid.

    Where voxels coincide, labels are copied without loss. Labels are resampled, and labelled voxels outside `grid`
    removed, only with consent.

    Parameters
    ----------
    layers : sequence of LabelMap
        At least one.
    grid : Geometry
        The grid to put them on.
    agreed : collection of Consent
        Lossy operations that are allowed.
    path : object
        Name of the label map in errors.

    Raises
    ------
    InputError
        'labels_off_grid' or 'labels_outside': consent is missing; `REMEDIES` names it.
    """
    source = layers[0].geometry
    if source != grid and not any(layer.array.any() for layer in layers):  # an empty label map fits every grid
        return Regridded(
            [LabelMap(sparse_zeros(grid.shape, layer.array.dtype), grid, layer.segments) for layer in layers]
        )
    alignment = align_grids(source, grid)
    if isinstance(alignment, GridMismatch):
        if Consent.RESAMPLE not in agreed:
            raise alignment.error(path)
        return _resampled(layers, grid, agreed, path)
    moved = [LabelMap(apply_alignment(layer.array, alignment, grid.shape), grid, layer.segments) for layer in layers]
    lost = sum(
        int(np.count_nonzero(layer.array)) - int(np.count_nonzero(new.array))
        for layer, new in zip(layers, moved, strict=True)
    )
    _require_crop(lost, agreed, path)
    return Regridded(moved, _changes(source, grid, alignment, lost), alignment.deviation, lost)


def align_grids(source: Geometry, grid: Geometry) -> Alignment | GridMismatch:
    """Map the voxels of `source` to those of `grid`, or explain why they do not coincide.

    They coincide if the axes agree up to order and sign, spacing and direction differ by no more than the rounding of
    a header (`MAX_RELATIVE_ROUNDING`), some voxel lies within `SAME_VOXEL_TOLERANCE` of its counterpart, and none is
    half a voxel away. Each voxel then has one nearest voxel in `grid`, and labels move by the rounding error at most.
    """
    cosines = np.linalg.solve(grid.direction_matrix, source.direction_matrix)
    axis_map = np.rint(cosines)
    if (np.abs(axis_map).sum(axis=0) != 1).any() or (np.abs(axis_map).sum(axis=1) != 1).any():
        return GridMismatch("direction", *format_distinct(source.direction, grid.direction), np.inf)
    order = np.abs(axis_map).argmax(axis=1)  # for each axis (i, j, k) of the grid, the source axis along it
    signs = axis_map[np.arange(3), order]
    size = np.array(source.shape[::-1])[order]
    spacing = np.array(source.spacing)[order]
    spacing[size == 1] = np.array(grid.spacing)[size == 1]  # the spacing of a single slice has no meaning
    error, offset = _deviations(source, grid, axis_map, spacing[np.argsort(order)])
    farthest = float(np.abs(error).max())
    rotation, scaling = np.abs(cosines - axis_map).max(), np.abs(spacing / grid.spacing - 1).max()
    closest = np.maximum(0, np.maximum(error.min(axis=0), -error.max(axis=0))).max()
    rounded = max(rotation, scaling) <= MAX_RELATIVE_ROUNDING
    if rounded and closest > SAME_VOXEL_TOLERANCE:
        return GridMismatch(
            "position", *format_distinct(*_nearest_positions(source, grid, axis_map, offset)), farthest
        )
    if not rounded or farthest >= 0.5:
        if rotation > scaling:
            source_direction = (source.direction_matrix[:, order] * signs).ravel()
            return GridMismatch("direction", *format_distinct(source_direction, grid.direction), farthest)
        return GridMismatch("spacing", *format_distinct(spacing, grid.spacing), farthest)
    axes = tuple(2 - int(axis) for axis in order[::-1])
    return Alignment(axes, tuple(int(s) for s in signs[::-1]), tuple(int(o) for o in offset[::-1]), farthest)


def apply_alignment(array: np.ndarray, alignment: Alignment, shape: tuple[int, int, int]) -> np.ndarray:
    """Move voxels [k, j, i] to a grid of shape `shape`; voxels outside it are dropped, the rest is 0."""
    reoriented = np.transpose(array, alignment.axes)
    reoriented = reoriented[tuple(slice(None, None, sign) for sign in alignment.signs)]
    if reoriented.shape == shape and all(
        offset == (0 if sign > 0 else size - 1)
        for offset, sign, size in zip(alignment.offset, alignment.signs, shape, strict=True)
    ):
        return array if reoriented.flags.c_contiguous else sparse_copy(reoriented)
    source, target = [], []
    for offset, sign, size, length in zip(alignment.offset, alignment.signs, reoriented.shape, shape, strict=True):
        start = offset if sign > 0 else offset - size + 1
        low, high = max(0, start), max(0, start, min(length, start + size))
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    moved = sparse_zeros(shape, array.dtype)
    copy_nonzero(moved[tuple(target)], reoriented[tuple(source)])
    return moved


def _resampled(layers: Sequence[LabelMap], grid: Geometry, agreed: Collection[Consent], path: object) -> Regridded:
    lost = sum(count_outside(layer, grid) for layer in layers)
    _require_crop(lost, agreed, path)
    resampled = [resample(layer, grid) for layer in layers]
    vanished = tuple(
        segment.name
        for layer, new in zip(layers, resampled, strict=True)
        for segment in layer.segments
        if (layer.array == segment.value).any() and not (new.array == segment.value).any()
    )
    changes = (GridChange.RESAMPLED, GridChange.CROPPED) if lost else (GridChange.RESAMPLED,)
    return Regridded(resampled, changes, cropped=lost, vanished=vanished)


def _require_crop(lost: int, agreed: Collection[Consent], path: object) -> None:
    if lost and Consent.CROP not in agreed:
        raise InputError("labels_outside", path=path, count=lost)


def _changes(source: Geometry, grid: Geometry, alignment: Alignment, lost: int) -> tuple[GridChange, ...]:
    size = [source.shape[axis] for axis in alignment.axes]
    first = [
        offset if sign > 0 else offset - length + 1
        for offset, sign, length in zip(alignment.offset, alignment.signs, size, strict=True)
    ]
    stop = np.add(first, size)
    happened_by_change = {
        GridChange.REORIENTED: alignment.axes != (0, 1, 2) or alignment.signs != (1, 1, 1),
        GridChange.PADDED: bool((np.array(first) > 0).any() or (stop < grid.shape).any()),
        GridChange.TRIMMED: not lost and bool((np.array(first) < 0).any() or (stop > grid.shape).any()),
        GridChange.ROUNDED: alignment.deviation > NEGLIGIBLE_DEVIATION_VOXELS,
        GridChange.CROPPED: lost > 0,
    }
    return tuple(change for change, happened in happened_by_change.items() if happened)


def _deviations(
    source: Geometry, grid: Geometry, axis_map: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances [8, 3] of the corners of `source` from the nearest voxels of `grid` in voxels; the index offset."""
    to_grid = np.linalg.inv(grid.index_to_world)
    linear = to_grid @ (source.direction_matrix * spacing) - axis_map
    start = to_grid @ np.subtract(source.origin, grid.origin)
    last = np.array(source.shape[::-1]) - 1
    offset = np.rint(start + linear @ (last / 2))
    corners = np.array([last * (i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    return corners @ linear.T + start - offset, offset


def _nearest_positions(
    source: Geometry, grid: Geometry, axis_map: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """LPS in mm of the voxel of `source` nearest to the first voxel of `grid`, and of its counterpart in `grid`."""
    last = np.array(source.shape[::-1]) - 1
    index = np.clip(axis_map.T @ -offset, 0, last)
    matrix, grid_matrix = source.index_to_world, grid.index_to_world
    return matrix @ index + source.origin, grid_matrix @ (axis_map @ index + offset) + grid.origin
