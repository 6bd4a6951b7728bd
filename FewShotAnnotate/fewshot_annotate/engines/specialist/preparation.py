"""Conversion of examples and volumes to the working grid of a plan: axes, spacing and normalised intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from ...core.intensity import PERCENTILES
from ...core.training_example import TrainingExample
from ...core.volume import Geometry, Volume
from .plan import ExampleSummary, SpecialistPlan

# A volume with intensities below this (in HU) is taken for CT.
_MAX_AIR_HU = -300.0
# Percentiles of a volume are estimated from about this many voxels.
_SAMPLE_VOXELS = 200_000


@dataclass(frozen=True)
class CanonicalOrder:
    """Permutation and flips after which the axes of an array `[k, j, i]` run to superior, posterior and left.

    Attributes
    ----------
    axes : (int, int, int)
        Array axis that is closest to each of these directions.
    flipped : (bool, bool, bool)
        Whether that axis runs in the opposite direction.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> CanonicalOrder:
        """Canonical order for a grid, which may be oblique."""
        # Column c of the direction matrix is the direction of array axis 2 - c.
        cosines = geometry.direction_matrix[::-1, ::-1]
        axes: list[int] = [0, 0, 0]
        unassigned = np.abs(cosines).copy()
        for _ in range(3):
            patient, axis = np.unravel_index(unassigned.argmax(), unassigned.shape)
            axes[int(patient)] = int(axis)
            unassigned[patient, :], unassigned[:, axis] = -1, -1
        flipped = [bool(cosines[patient, axes[patient]] < 0) for patient in range(3)]
        return cls((axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2]))

    def apply(self, array: np.ndarray) -> np.ndarray:
        """View of `[k, j, i]` in canonical order."""
        moved = array.transpose(self.axes)
        return moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def restore(self, array: np.ndarray) -> np.ndarray:
        """View of the last three axes of `[..., a, b, c]` in array order `[..., k, j, i]`."""
        leading = list(range(array.ndim - 3))
        flips = [slice(None, None, -1 if flip else 1) for flip in self.flipped]
        flipped = array[tuple([slice(None)] * len(leading) + flips)]
        return flipped.transpose(*leading, *(len(leading) + int(axis) for axis in np.argsort(self.axes)))

    def spacing(self, geometry: Geometry) -> tuple[float, float, float]:
        """Spacing in mm of each canonical axis."""
        array_spacing = geometry.spacing[::-1]
        return array_spacing[self.axes[0]], array_spacing[self.axes[1]], array_spacing[self.axes[2]]

    def axis(self, array_axis: int) -> int:
        """Canonical axis of an array axis."""
        return self.axes.index(array_axis)


@dataclass(frozen=True)
class WorkingGrid:
    """Relation between the array of a volume and the working grid of a plan.

    Attributes
    ----------
    order : CanonicalOrder
    axis : int
        See `SpecialistPlan`.
    native : (int, int, int)
        Size of the volume, in canonical order with `axis` first.
    size : (int, int, int)
        Size of the working grid, which covers the same extent.
    """

    order: CanonicalOrder
    axis: int
    native: tuple[int, int, int]
    size: tuple[int, int, int]

    @classmethod
    def of(cls, geometry: Geometry, plan: SpecialistPlan) -> WorkingGrid:
        """Working grid of a volume."""
        order = CanonicalOrder.of(geometry)
        first = [plan.axis, *(axis for axis in range(3) if axis != plan.axis)]
        shape = [geometry.shape[order.axes[axis]] for axis in first]
        spacing = [order.spacing(geometry)[axis] for axis in first]
        size = [
            length if not new_spacing else max(1, round(length * old_spacing / new_spacing))
            for length, old_spacing, new_spacing in zip(shape, spacing, plan.spacing, strict=True)
        ]
        return cls(order, plan.axis, (shape[0], shape[1], shape[2]), (size[0], size[1], size[2]))

    def grid_axis(self, axis: int) -> tuple[int, bool]:
        """Axis of the working grid along an array axis, and whether it runs in the opposite direction."""
        canonical = self.order.axis(axis)
        first = [self.axis, *(other for other in range(3) if other != self.axis)]
        return first.index(canonical), self.order.flipped[canonical]

    def canonical(self, array: np.ndarray) -> np.ndarray:
        """View of `[k, j, i]` in canonical order with the axis of the plan first."""
        return np.moveaxis(self.order.apply(array), self.axis, 0)

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Inverse of `canonical`: view of `[..., a, b, c]`, at the native size, as `[..., k, j, i]`."""
        leading = array.ndim - 3
        return self.order.restore(np.moveaxis(array, leading, leading + self.axis))

    def image(self, array: np.ndarray) -> np.ndarray:
        """Intensities `[k, j, i]` on the working grid, float32 `[d, h, w]`, by linear interpolation."""
        image = self.canonical(array).astype(np.float32)
        factors = np.array(self.native) / np.array(self.size)
        if self.native == self.size:
            return np.ascontiguousarray(image)
        blur = [0.4 * factor if factor > 1.25 else 0.0 for factor in factors]
        if any(blur):
            image = scipy.ndimage.gaussian_filter(image, blur)
        for axis in range(3):
            image = resized(image, axis, self.size[axis])
        return np.ascontiguousarray(image)

    def labels(self, array: np.ndarray, axis: int | None = None, labelled: Sequence[int] = ()) -> np.ndarray:
        """Labels on the working grid, by nearest-neighbour interpolation.

        Parameters
        ----------
        array : ndarray, shape [k, j, i]
        axis : int or None
            Array axis across the labelled slices.
        labelled : sequence of int
            Indices of slices that are kept even if the working grid is so coarse that it would skip them.
        """
        nearest = [
            np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
            for old, new in zip(self.native, self.size, strict=True)
        ]
        if axis is not None:
            grid_axis, flipped = self.grid_axis(axis)
            old, new = self.native[grid_axis], self.size[grid_axis]
            for index in labelled:
                grid_index = old - 1 - index if flipped else index
                nearest[grid_axis][min(int((grid_index + 0.5) * new / old), new - 1)] = grid_index
        return np.ascontiguousarray(self.canonical(array)[np.ix_(*nearest)])


@dataclass(frozen=True)
class PreparedExample:
    """An example on the working grid.

    Attributes
    ----------
    image : float16 ndarray, shape [d, h, w]
        Normalised intensities.
    labels : uint8 or uint16 ndarray, shape [d, h, w]
        Label indices; the largest value of the dtype on slices that are not labelled.
    """

    image: np.ndarray
    labels: np.ndarray

    @property
    def unlabelled(self) -> int:
        """Value of voxels that are not labelled."""
        return int(np.iinfo(self.labels.dtype).max)


def prepared(volume: Volume, labels: np.ndarray, example: TrainingExample, plan: SpecialistPlan) -> PreparedExample:
    """A loaded example, with label indices `[k, j, i]`, on the working grid."""
    grid = WorkingGrid.of(volume.geometry, plan)
    image = normalised(grid.image(volume.array), plan)
    dtype = np.min_scalar_type(plan.labels + 1)  # its largest value marks unlabelled voxels
    indices = labels.astype(dtype)
    if example.labelled_slices is not None:
        assert example.axis is not None
        unlabelled = np.ones(labels.shape[example.axis], dtype=bool)
        unlabelled[list(example.labelled_slices)] = False
        np.moveaxis(indices, example.axis, 0)[unlabelled] = np.iinfo(dtype).max
    grid_labels = grid.labels(indices, example.axis, example.labelled_slices or ())
    return PreparedExample(image.astype(np.float16), grid_labels)


def normalised(image: np.ndarray, plan: SpecialistPlan) -> np.ndarray:
    """Clipped intensities `[d, h, w]` with mean 0 and deviation 1: inside the labels in CT, else in the volume."""
    if plan.ct_intensities is not None:
        low, high, mean, deviation = plan.ct_intensities
    else:
        sample = _sample(image)
        low, high = np.percentile(sample, PERCENTILES)  # not `IntensityRange`: the mean is that of the same sample
        inner = np.clip(sample, low, high)
        mean, deviation = float(inner.mean()), float(inner.std()) or 1.0
    result: np.ndarray = np.clip(image, np.float32(low), np.float32(high))
    result -= np.float32(mean)
    result /= np.float32(deviation)
    return result


def summary(volume: Volume, labels: np.ndarray, example: TrainingExample) -> ExampleSummary:
    """Summary of a loaded example with label indices `[k, j, i]`."""
    order = CanonicalOrder.of(volume.geometry)
    shape = [volume.array.shape[axis] for axis in order.axes]
    result = labels
    if example.labelled_slices is not None:
        assert example.axis is not None
        result = np.take(labels, example.labelled_slices, axis=example.axis)
    counts = np.bincount(result.reshape(-1))[1:]
    thickest = int(np.argmax(volume.geometry.spacing[::-1]))
    slice_count = np.count_nonzero(result.any(axis=tuple(axis for axis in range(3) if axis != thickest)))
    values = volume.array[labels > 0] if labels.any() else volume.array.reshape(-1)
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    inner = np.clip(values.astype(np.float32), low, high)
    return ExampleSummary(
        shape=(shape[0], shape[1], shape[2]),
        spacing=order.spacing(volume.geometry),
        smallest_label=float(counts[counts > 0].min()) if counts.any() else 0.0,
        slice_count=int(slice_count),
        low=low,
        high=high,
        mean=float(inner.mean()),
        deviation=float(inner.std()),
        air=bool(np.percentile(_sample(volume.array), 0.5) < _MAX_AIR_HU),
        labels=tuple(int(label) for label in np.flatnonzero(counts) + 1),
    )


def _sample(array: np.ndarray) -> np.ndarray:
    stride = max(1, round((array.size / _SAMPLE_VOXELS) ** (1 / 3)))
    return array[::stride, ::stride, ::stride] if min(array.shape) >= 2 * stride else array


def resized(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Linear interpolation of an array of any shape along one axis, to `size` samples over the same extent."""
    old = array.shape[axis]
    if old == size:
        return array
    position = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    before = np.minimum(position.astype(int), old - 1)
    after = np.minimum(before + 1, old - 1)
    shape = [1] * array.ndim
    shape[axis] = size
    weight = (position - before).astype(np.float32).reshape(shape)
    low, high = np.take(array, before, axis=axis), np.take(array, after, axis=axis)
    return np.asarray(low + weight * (high - low))
