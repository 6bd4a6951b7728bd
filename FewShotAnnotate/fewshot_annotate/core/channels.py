"""Further channels of a volume: co-registered volumes of the same patient, and how they come onto its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .errors import InputError, Message
from .resampling import index_map
from .volume import SAME_VOXEL_TOLERANCE, Geometry, Volume, to_image

# Number of voxels sampled along each axis of a grid to estimate how much of it another grid covers.
_MAX_SAMPLES_PER_AXIS = 64
# From this coverage on, a grid counts as covered: the borders of two grids may differ by a fraction of a voxel.
_FULL_COVERAGE = 0.995


def with_further(volume: Volume, further: Sequence[Volume], names: Sequence[object]) -> Volume:
    """The volume with further channels, which must overlap it.

    Parameters
    ----------
    volume : Volume
    further : sequence of Volume
    names : sequence of object
        Names of the further volumes in errors.

    Raises
    ------
    InputError
        A further volume does not overlap the volume.
    """
    for channel, name in zip(further, names, strict=True):
        if not coverage(channel.geometry, volume.geometry):
            raise InputError("channel_elsewhere", path=name)
    return replace(volume, further=tuple(further))


def on_one_grid(volume: Volume) -> Volume:
    """The volume with its further channels on its own grid, so that all arrays have the same shape.

    A channel on another grid is resampled linearly in world coordinates; where it does not reach, it has its lowest
    intensity.
    """
    if not volume.further:
        return volume
    return replace(volume, further=tuple(_on_grid(channel, volume.geometry) for channel in volume.further))


def coverage_notes(volume: Volume) -> list[Message]:
    """One message for each further channel that covers the volume only partly; channels are counted from 1."""
    notes = []
    for number, channel in enumerate(volume.further, start=2):
        share = coverage(channel.geometry, volume.geometry)
        if share < _FULL_COVERAGE:
            notes.append(Message("channel_covers_part", number=number, percent=max(1, round(100 * share))))
    return notes


def coverage(source: Geometry, grid: Geometry) -> float:
    """Share, 0..1, of the voxels of `grid` that lie inside `source`."""
    matrix, start = index_map(grid, source)
    axes = [np.unique(np.linspace(0, size - 1, min(size, _MAX_SAMPLES_PER_AXIS)).round()) for size in grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ matrix.T + start
    inside = ((index >= -0.5) & (index <= np.array(source.shape) - 0.5)).all(axis=-1)
    return float(inside.mean())


def _on_grid(channel: Volume, grid: Geometry) -> Volume:
    if channel.geometry.difference(grid, SAME_VOXEL_TOLERANCE) is None:
        return Volume(channel.array, grid)
    import SimpleITK as sitk

    image = to_image(channel.array.astype(np.float32), channel.geometry)
    resampled = sitk.Resample(
        image,
        grid.shape[::-1],
        sitk.Transform(),
        sitk.sitkLinear,
        grid.origin,
        grid.spacing,
        grid.direction,
        float(channel.array.min()),
        sitk.sitkFloat32,
    )
    return Volume(sitk.GetArrayFromImage(resampled), grid)
