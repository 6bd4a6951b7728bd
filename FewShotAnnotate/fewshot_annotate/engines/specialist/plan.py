"""SpecialistPlan: resolution, patch size and network for a task, chosen from its examples.

The rules follow nnU-Net (Isensee et al., 2021): the working spacing is the median, thick slices are segmented one by
one, and an axis is pooled only where its spacing is similar to the finest. The limits of size suit a CPU with two
cores instead of a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# No benchmark compares the values of this file with others.
# Slices are segmented one by one, with their neighbours as channels, if they are at least this many times thicker
# than their pixels.
THICK_SLICE_RATIO = 3.0
# They are also segmented one by one in examples with fewer slices, such as single ones.
MIN_SLICES_3D = 4
# Most voxels of the working grid of a typical case: larger volumes are resampled to a coarser spacing, which is
# MAX_COARSENING times the original one at most.
MAX_VOXELS_3D = 2_000_000
MAX_PIXELS_2D = 256 * 256
MAX_COARSENING = 2.0
# The coarser spacing leaves at least this many voxels (in 2D, pixels of a slice) to the smallest label.
MIN_LABEL_VOXELS = 400
# Voxels of a patch. A patch is a whole case if the case is not much larger.
PATCH_VOXELS = 100_000
# Voxels of a batch, which has two patches at least and MAX_BATCH at most.
BATCH_VOXELS = 200_000
MAX_BATCH = 8
# Channels of each level of the network.
CHANNELS_3D = (32, 64, 96)
CHANNELS_2D = (32, 64, 96, 128)
# See `SpecialistUNet`.
FOLD = 2
# Neighbouring slices on either side that are input channels in 2.5D.
CONTEXT_SLICES = 1


@dataclass(frozen=True, kw_only=True)
class ExampleSummary:
    """Properties of an example, in canonical order, that the plan is made from.

    Attributes
    ----------
    shape : (int, int, int)
    spacing : (float, float, float)
        Spacing in mm.
    smallest_label : float
        Number of voxels of the smallest label on the labelled slices.
    slice_count : int
        Number of labelled slices, across the axis of the largest spacing, that show a label.
    low, high, mean, deviation : float
        Intensities inside the labels: the percentiles 0.5 and 99.5, and the mean and standard deviation after
        clipping to these.
    air : bool
        Whether there are intensities far below 0, as those of air in CT.
    labels : tuple of int
        Label indices on the labelled slices.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    smallest_label: float
    slice_count: int
    low: float
    high: float
    mean: float
    deviation: float
    air: bool
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SpecialistPlan:
    """Working grid, patches and network architecture of a task.

    Attributes
    ----------
    labels : int
        Number of labels without background.
    dimensions : int
        3, or 2 for thick slices.
    axis : int
        Canonical axis across the slices, which is the first axis of the working grid; 0 in 3D.
    context : int
        Number of neighbouring slices on either side that are input channels: 1 in 2.5D, otherwise 0.
    spacing : (float, float, float)
        Working spacing in mm, in the order of the working grid; 0 to keep the spacing of each volume.
    patch : (int, int, int)
        Size of a training patch in voxels, in the order of the working grid.
    batch : int
        Number of patches of a training step.
    channels : tuple of int
        Channels of each level of the network.
    fold : tuple of int
        See `SpecialistUNet`; one number for each of the `dimensions`.
    pools : tuple of tuple of int
        See `SpecialistUNet`.
    ct_intensities : (float, float, float, float) or None
        Intensities of CT: lower and upper bound, mean and standard deviation. None to normalise each volume by its
        own.
    """

    labels: int
    dimensions: int
    axis: int
    context: int
    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    batch: int
    channels: tuple[int, ...]
    fold: tuple[int, ...]
    pools: tuple[tuple[int, ...], ...]
    ct_intensities: tuple[float, float, float, float] | None

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return 1 + 2 * self.context

    @property
    def multiple(self) -> tuple[int, int, int]:
        """Number for each axis of which the size of a network's input must be a multiple; 1 across 2D slices."""
        factors = [factor * math.prod(pool[axis] for pool in self.pools) for axis, factor in enumerate(self.fold)]
        padded = [1] * (3 - len(factors)) + factors
        return padded[0], padded[1], padded[2]

    def to_json(self) -> dict[str, Any]:
        """Dict of plain values."""
        content = asdict(self)
        content["window"] = content.pop("ct_intensities")  # the name that files of models have for it
        return content

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SpecialistPlan:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            Not a plan.
        """
        ct_intensities = None if data["window"] is None else tuple(float(value) for value in data["window"])
        plan = cls(
            labels=int(data["labels"]),
            dimensions=int(data["dimensions"]),
            axis=int(data["axis"]),
            context=int(data["context"]),
            spacing=tuple(float(value) for value in data["spacing"]),  # type: ignore[arg-type]
            patch=tuple(int(value) for value in data["patch"]),  # type: ignore[arg-type]
            batch=int(data["batch"]),
            channels=tuple(int(value) for value in data["channels"]),
            fold=tuple(int(value) for value in data["fold"]),
            pools=tuple(tuple(int(value) for value in pool) for pool in data["pools"]),
            ct_intensities=ct_intensities,  # type: ignore[arg-type]
        )
        plan._require_valid()
        return plan

    def _require_valid(self) -> None:
        sizes = (len(self.spacing), len(self.patch), len(self.fold), len(self.channels))
        if self.dimensions not in (2, 3) or sizes != (3, 3, self.dimensions, len(self.pools) + 1):
            raise ValueError("lengths do not agree")
        if any(len(pool) != self.dimensions or min(pool) < 1 for pool in self.pools) or min(self.fold) < 1:
            raise ValueError("factors of the network")
        if not 1 <= self.labels <= 65535 or not 0 <= self.axis <= 2 or not 0 <= self.context <= 8:
            raise ValueError("labels, axis or context")
        if min(self.patch) < 1 or self.batch < 1 or min(self.channels) < 8 or max(self.channels) > 4096:
            raise ValueError("sizes of the network")
        numbers = [*self.spacing, *(self.ct_intensities or ())]
        deviation = self.ct_intensities[3] if self.ct_intensities else 1.0
        if not np.isfinite(numbers).all() or min(self.spacing) < 0 or deviation <= 0:
            raise ValueError("spacing or intensities")


def make_plan(summaries: Sequence[ExampleSummary], labels: int) -> SpecialistPlan:
    """Plan for a task.

    Parameters
    ----------
    summaries : sequence of ExampleSummary
        One for each example; at least one.
    labels : int
    """
    spacing = np.median([summary.spacing for summary in summaries], axis=0)
    extent = np.median([np.multiply(summary.shape, summary.spacing) for summary in summaries], axis=0)
    count = extent / spacing
    has_few_slices = count.min() < MIN_SLICES_3D
    if has_few_slices or spacing.max() / np.median(spacing) >= THICK_SLICE_RATIO:
        thickest = int(count.argmin() if has_few_slices else spacing.argmax())
        return _plan_2d(summaries, labels, thickest, spacing, extent)
    return _plan_3d(summaries, labels, spacing, extent)


def _plan_2d(
    summaries: Sequence[ExampleSummary], labels: int, axis: int, spacing: np.ndarray, extent: np.ndarray
) -> SpecialistPlan:
    """Plan of networks for slices across a canonical axis; their spacing and extent in mm are those of all axes."""
    order = [axis, *(other for other in range(3) if other != axis)]
    spacing, extent = spacing[order], extent[order]
    spacing[1:] *= _coarsening(summaries, extent / spacing, in_plane=True)
    size = np.maximum(1, np.rint(extent / spacing)).astype(int)
    pools = tuple((2, 2) for _ in CHANNELS_2D[1:])
    height, width = _patch(size[1:], [FOLD * 2 ** len(pools)] * 2)
    return SpecialistPlan(
        labels=labels,
        dimensions=2,
        axis=axis,
        context=CONTEXT_SLICES if size[0] >= 2 else 0,
        spacing=(0.0, float(spacing[1]), float(spacing[2])),
        patch=(1, height, width),
        batch=_batch(height * width),
        channels=CHANNELS_2D,
        fold=(FOLD, FOLD),
        pools=pools,
        ct_intensities=_ct_intensities(summaries),
    )


def _plan_3d(
    summaries: Sequence[ExampleSummary], labels: int, spacing: np.ndarray, extent: np.ndarray
) -> SpecialistPlan:
    """Plan of networks for volumes; spacing and extent in mm of each canonical axis."""
    spacing = spacing * _coarsening(summaries, extent / spacing, in_plane=False)
    size = np.maximum(1, np.rint(extent / spacing)).astype(int)
    fold, pools = _factors(spacing, size, len(CHANNELS_3D))
    depth, height, width = _patch(size, [fold[axis] * math.prod(pool[axis] for pool in pools) for axis in range(3)])
    return SpecialistPlan(
        labels=labels,
        dimensions=3,
        axis=0,
        context=0,
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        patch=(depth, height, width),
        batch=_batch(depth * height * width),
        channels=CHANNELS_3D,
        fold=fold,
        pools=pools,
        ct_intensities=_ct_intensities(summaries),
    )


def _batch(voxels: int) -> int:
    return min(MAX_BATCH, max(2, BATCH_VOXELS // voxels))


def _coarsening(summaries: Sequence[ExampleSummary], size: np.ndarray, in_plane: bool) -> float:
    """Factor of the spacing that makes a typical case small enough, limited so that labels do not get too small."""
    smallest = float(np.median([summary.smallest_label for summary in summaries]))
    if in_plane:
        smallest /= max(1.0, float(np.median([summary.slice_count for summary in summaries])))
        max_ratio, dimensions = MAX_PIXELS_2D / float(size[1] * size[2]), 2
    else:
        max_ratio, dimensions = MAX_VOXELS_3D / float(np.prod(size)), 3
    for_size = (1 / max_ratio) ** (1 / dimensions)
    for_labels = (smallest / MIN_LABEL_VOXELS) ** (1 / dimensions)
    return float(np.clip(min(for_size, for_labels), 1.0, MAX_COARSENING))


def _factors(
    spacing: np.ndarray, size: np.ndarray, levels: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Factors of folding and pooling: 1 along axes that are short or still much coarser than the finest, else 2."""
    factors: list[tuple[int, ...]] = []
    level_spacing, level_size = spacing.astype(float), size.astype(float)
    for _ in range(levels):
        halved = (level_spacing < 1.75 * level_spacing.min()) & (level_size >= 8)
        factors.append(tuple(2 if half else 1 for half in halved))
        level_spacing, level_size = level_spacing * factors[-1], level_size / factors[-1]
    return factors[0], tuple(factors[1:])


def _patch(size: np.ndarray, multiple: Sequence[int]) -> list[int]:
    """Size of a patch with the proportions of a typical case, or of the whole case; a multiple of `multiple`."""
    scale = min(1.0, (1.25 * PATCH_VOXELS / float(np.prod(size))) ** (1 / len(size)))
    return [
        max(factor, factor * math.ceil(length * scale / factor))
        for length, factor in zip(size, multiple, strict=True)
    ]


def _ct_intensities(summaries: Sequence[ExampleSummary]) -> tuple[float, float, float, float] | None:
    if not all(summary.air for summary in summaries):
        return None
    low, high, mean = (
        float(np.mean([getattr(summary, name) for summary in summaries])) for name in ("low", "high", "mean")
    )
    deviation = float(np.mean([summary.deviation for summary in summaries]))
    return low, max(high, low + 1), mean, max(deviation, 1.0)
