"""Putting label maps on the voxels of the image they belong to: without loss where that can be, else by consent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

import numpy as np

from .errors import InputError
from .resampling import outside, resample
from .volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap, distinct

# A spacing of 0.25 mm or more, or a direction cosine, differs by this part at most if written with three decimals.
ROUNDED_HEADER = 2e-3
# Deviations of fewer voxels are the last digits of a 32-bit header, and not worth a word.
HEADER_DIGITS = 1e-3


class Consent(StrEnum):
    """What a user agrees to where labels do not lie on voxels of the image. The value names the option."""

    RESAMPLE = "resample"
    CROP = "crop"


# What mends the refusals of `regrid`, by their code.
MENDED_BY = {"labels_off_grid": Consent.RESAMPLE, "labels_outside": Consent.CROP}


class Change(Enum):
    """What was done to labels to put them on an image's grid."""

    REORIENTED = "axes flipped or permuted"
    PADDED = "cut-out"
    TRIMMED = "empty margin removed"
    ROUNDED = "rounded header"
    CROPPED = "labelled voxels removed"
    RESAMPLED = "resampled"


@dataclass(frozen=True)
class Alignment:
    """How the voxels of a grid fall on those of another one: at `offset + sign * index`, axes in `axes` order.

    Attributes
    ----------
    axes : (int, int, int)
        For each array axis of the other grid, the own array axis that runs along it.
    signs, offset : (int, int, int)
        In the order of the other grid's array axes.
    deviation : float
        Largest distance of an own voxel from the other grid's voxel that it falls on, along an axis, in voxels of
        that grid; below one half.
    """

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    offset: tuple[int, ...]
    deviation: float


@dataclass(frozen=True)
class Misfit:
    """Why a grid's voxels do not fall on those of another one.

    Attributes
    ----------
    what : str
        'direction', 'spacing' or 'position'.
    found, expected : str
        Own numbers and those of the other grid, in its axis order, with the digits that differ.
    voxels : float
        Largest distance along an axis in voxels of the other grid; infinite if the axes do not correspond.
    """

    what: str
    found: str
    expected: str
    voxels: float

    def error(self, path: object) -> InputError:
        """The refusal that names the label map `path`."""
        off = f", up to {self.voxels:.3g} voxels off" if np.isfinite(self.voxels) else ""
        return InputError(
            "labels_off_grid", path=path, what=self.what, found=self.found, expected=self.expected, off=off
        )


@dataclass(frozen=True)
class Regridded:
    """Label maps on an image's grid.

    Attributes
    ----------
    layers : list of LabelMap
    changes : tuple of Change
        What was done; empty if they lay there already.
    deviation : float
        See `Alignment`; 0 if resampled.
    cropped : int
        Labelled voxels that lay outside the image.
    vanished : tuple of str
        Names of the segments that resampling left without a voxel.
    """

    layers: list[LabelMap]
    changes: tuple[Change, ...] = ()
    deviation: float = 0.0
    cropped: int = 0
    vanished: tuple[str, ...] = ()


def regrid(
    layers: Sequence[LabelMap], grid: Geometry, agreed: Collection[Consent] = (), path: object = "The labels"
) -> Regridded:
    """Label maps of one grid on `grid`.

    Where every voxel falls on a voxel of `grid`, they are moved there without loss, by themselves. Labels are
    resampled, and labelled voxels outside `grid` removed, only where that was agreed to.

    Parameters
    ----------
    path : object
        Names the labels in errors.

    Raises
    ------
    InputError
        'labels_off_grid' or 'labels_outside': consent is missing, see `MENDED_BY`.
    """
    own = layers[0].geometry
    if own != grid and not any(layer.array.any() for layer in layers):  # nothing is labelled: it fits everywhere
        return Regridded([LabelMap(np.zeros(grid.shape, one.array.dtype), grid, one.segments) for one in layers])
    found = align(own, grid)
    if isinstance(found, Misfit):
        if Consent.RESAMPLE not in agreed:
            raise found.error(path)
        return _resampled(layers, grid, agreed, path)
    moved = [LabelMap(move(layer.array, found, grid.shape), grid, layer.segments) for layer in layers]
    lost = sum(
        int(np.count_nonzero(layer.array)) - int(np.count_nonzero(new.array))
        for layer, new in zip(layers, moved, strict=True)
    )
    _require_crop(lost, agreed, path)
    return Regridded(moved, _changes(own, grid, found, lost), found.deviation, lost)


def align(own: Geometry, grid: Geometry) -> Alignment | Misfit:
    """How the voxels of `own` fall on those of `grid`, or why they do not.

    They do if the axes are the same but for order and sign, spacing and direction differ by no more than rounding in
    a header (`ROUNDED_HEADER`), the grids coincide somewhere within `SAME_VOXEL_TOLERANCE`, and nowhere are they half
    a voxel apart: each voxel then has one nearest voxel in `grid`, and no label moves further than rounding moved it.
    """
    cosines = np.linalg.solve(_matrix(grid.direction), _matrix(own.direction))
    turn = np.rint(cosines)
    if (np.abs(turn).sum(axis=0) != 1).any() or (np.abs(turn).sum(axis=1) != 1).any():
        return Misfit("direction", *distinct(own.direction, grid.direction), np.inf)
    order = np.abs(turn).argmax(axis=1)  # for each axis (i, j, k) of the grid, the own one
    signs = turn[np.arange(3), order]
    size = np.array(own.shape[::-1])[order]
    spacing = np.array(own.spacing)[order]
    spacing[size == 1] = np.array(grid.spacing)[size == 1]  # of a single slice, the spacing says nothing
    error, offset = _deviations(own, grid, turn, spacing[np.argsort(order)])
    farthest = float(np.abs(error).max())
    turned, stretched = np.abs(cosines - turn).max(), np.abs(spacing / grid.spacing - 1).max()
    closest = np.maximum(0, np.maximum(error.min(axis=0), -error.max(axis=0))).max()
    rounded = max(turned, stretched) <= ROUNDED_HEADER
    if rounded and closest > SAME_VOXEL_TOLERANCE:
        return Misfit("position", *distinct(*_nearest_positions(own, grid, turn, offset)), farthest)
    if not rounded or farthest >= 0.5:
        if turned > stretched:
            own_direction = (_matrix(own.direction)[:, order] * signs).ravel()
            return Misfit("direction", *distinct(own_direction, grid.direction), farthest)
        return Misfit("spacing", *distinct(spacing, grid.spacing), farthest)
    axes = tuple(2 - int(axis) for axis in order[::-1])
    return Alignment(axes, tuple(int(s) for s in signs[::-1]), tuple(int(o) for o in offset[::-1]), farthest)


def move(array: np.ndarray, alignment: Alignment, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels [k, j, i] where they fall on a grid of that shape, which leaves out those outside; 0 elsewhere."""
    turned = np.transpose(array, alignment.axes)
    turned = turned[tuple(slice(None, None, sign) for sign in alignment.signs)]
    if turned.shape == shape and all(
        offset == (0 if sign > 0 else size - 1)
        for offset, sign, size in zip(alignment.offset, alignment.signs, shape, strict=True)
    ):
        return np.ascontiguousarray(turned)
    theirs, ours = [], []
    for offset, sign, size, length in zip(alignment.offset, alignment.signs, turned.shape, shape, strict=True):
        start = offset if sign > 0 else offset - size + 1
        low, high = max(0, start), max(0, start, min(length, start + size))
        ours.append(slice(low, high))
        theirs.append(slice(low - start, high - start))
    moved = np.zeros(shape, dtype=array.dtype)
    moved[tuple(ours)] = turned[tuple(theirs)]
    return moved


def _resampled(layers: Sequence[LabelMap], grid: Geometry, agreed: Collection[Consent], path: object) -> Regridded:
    lost = sum(outside(layer, grid) for layer in layers)
    _require_crop(lost, agreed, path)
    resampled = [resample(layer, grid) for layer in layers]
    vanished = tuple(
        segment.name
        for layer, new in zip(layers, resampled, strict=True)
        for segment in layer.segments
        if (layer.array == segment.value).any() and not (new.array == segment.value).any()
    )
    changes = (Change.RESAMPLED, Change.CROPPED) if lost else (Change.RESAMPLED,)
    return Regridded(resampled, changes, cropped=lost, vanished=vanished)


def _require_crop(lost: int, agreed: Collection[Consent], path: object) -> None:
    if lost and Consent.CROP not in agreed:
        raise InputError("labels_outside", path=path, count=lost)


def _changes(own: Geometry, grid: Geometry, alignment: Alignment, lost: int) -> tuple[Change, ...]:
    size = [own.shape[axis] for axis in alignment.axes]
    first = [
        offset if sign > 0 else offset - length + 1
        for offset, sign, length in zip(alignment.offset, alignment.signs, size, strict=True)
    ]
    stop = np.add(first, size)
    found = {
        Change.REORIENTED: alignment.axes != (0, 1, 2) or alignment.signs != (1, 1, 1),
        Change.PADDED: bool((np.array(first) > 0).any() or (stop < grid.shape).any()),
        Change.TRIMMED: not lost and bool((np.array(first) < 0).any() or (stop > grid.shape).any()),
        Change.ROUNDED: alignment.deviation > HEADER_DIGITS,
        Change.CROPPED: lost > 0,
    }
    return tuple(change for change, happened in found.items() if happened)


def _deviations(
    own: Geometry, grid: Geometry, turn: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances [8, 3] of the corners of `own` from voxels of `grid`, in its voxels, and the offset of voxel 0."""
    to_grid = np.linalg.inv(_matrix(grid.direction) * grid.spacing)
    linear = to_grid @ (_matrix(own.direction) * spacing) - turn
    start = to_grid @ np.subtract(own.origin, grid.origin)
    last = np.array(own.shape[::-1]) - 1
    offset = np.rint(start + linear @ (last / 2))
    corners = np.array([last * (i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    return corners @ linear.T + start - offset, offset


def _nearest_positions(
    own: Geometry, grid: Geometry, turn: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """LPS in mm of the own voxel that lies nearest the first one of `grid`, and of the voxel there."""
    last = np.array(own.shape[::-1]) - 1
    index = np.clip(turn.T @ -offset, 0, last)
    matrix, theirs = _matrix(own.direction) * own.spacing, _matrix(grid.direction) * grid.spacing
    return matrix @ index + own.origin, theirs @ (turn @ index + offset) + grid.origin


def _matrix(direction: Sequence[float]) -> np.ndarray:
    return np.array(direction, dtype=float).reshape(3, 3)
