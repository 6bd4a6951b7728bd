"""Conversion of paths, SimpleITK images and NumPy arrays to `Volume` and `LabelMap`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.channels import with_further
from ..core.errors import InputError
from ..core.regrid import regrid
from ..core.volume import Geometry, LabelMap, Volume, as_label_array, default_segment, present_values
from .files import read_label_maps, read_volume

if TYPE_CHECKING:
    import SimpleITK as sitk

    VolumeLike = Volume | sitk.Image | np.ndarray | str | Path
    LabelsLike = LabelMap | list[LabelMap] | tuple[LabelMap, ...] | sitk.Image | np.ndarray | str | Path


def as_inputs(volume: VolumeLike, labels: LabelsLike) -> tuple[Volume, list[LabelMap]]:
    """Convert a volume, and labels to label maps on its grid.

    Raises
    ------
    InputError
        A file cannot be read, the volume is not a usable 3D image, or the labels do not fit it.
    """
    input_volume = as_volume(volume)
    input_volume.require_usable()
    layers = as_label_maps(labels, input_volume.geometry)
    if isinstance(labels, (str, Path)):
        return input_volume, layers
    return input_volume, regrid(layers, input_volume.geometry).layers


def as_channels(volume: Volume, also: Sequence[VolumeLike]) -> Volume:
    """The volume with further channels, each on its own grid; arrays [k, j, i] are on the grid of the volume.

    Raises
    ------
    InputError
        As for `as_volume`; a further volume does not overlap the volume, or cannot be used.
    """
    further, names = [], []
    for number, channel in enumerate(also, start=2):
        names.append(channel if isinstance(channel, (str, Path)) else f"Volume {number}")
        if isinstance(channel, np.ndarray):
            if channel.shape != volume.geometry.shape:
                found, expected = _size(channel.shape), _size(volume.geometry.shape)
                raise InputError("channel_shape", path=names[-1], found=found, expected=expected)
            further.append(Volume(as_volume(channel).array, volume.geometry))
        else:
            further.append(as_volume(channel))
        further[-1].require_usable(names[-1])
    return with_further(volume, further, names)


def as_volume(volume: VolumeLike) -> Volume:
    """Convert to a volume; arrays [k, j, i] get a spacing of 1 mm.

    Raises
    ------
    InputError
        A file cannot be read, or the image or array is not 3D or is complex.
    """
    if isinstance(volume, Volume):
        return volume
    if isinstance(volume, (str, Path)):
        return read_volume(volume)
    array, geometry = _as_array(volume, "The volume")
    if array.dtype.kind == "c":
        raise InputError("not_scalar", path="The volume", components=2)
    return Volume(array, geometry)


def as_label_maps(labels: LabelsLike, grid: Geometry | None = None) -> list[LabelMap]:
    """Convert to label maps; arrays [k, j, i] are on `grid`.

    Raises
    ------
    InputError
        A file cannot be read, the array does not have the shape of `grid`, or values are not label values.
    """
    if isinstance(labels, LabelMap):
        return [labels]
    if isinstance(labels, (str, Path)):
        return read_label_maps(labels, grid)
    if isinstance(labels, (list, tuple)):
        return list(labels)
    array, geometry = _as_array(labels, "The labels")
    if isinstance(labels, np.ndarray) and grid is not None:
        if array.shape != grid.shape:
            raise InputError("labels_shape", found=_size(array.shape), expected=_size(grid.shape))
        geometry = replace(grid)
    values = as_label_array(array, "The labels")
    return [LabelMap(values, geometry, tuple(default_segment(value) for value in present_values(values)))]


def _as_array(image: sitk.Image | np.ndarray, name: str) -> tuple[np.ndarray, Geometry]:
    """Voxels [k, j, i] and geometry; True and False become 1 and 0, and long double becomes double."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3:
            raise InputError("not_3d", path=name, dimension=image.ndim)
        if not image.size:
            raise InputError("no_voxels", path=name, found=_size(image.shape))
        plain = {"?": np.uint8, "g": np.float64}.get(image.dtype.char)
        return image if plain is None else image.astype(plain), Geometry(image.shape)
    import SimpleITK as sitk

    if image.GetDimension() != 3:
        raise InputError("not_3d", path=name, dimension=image.GetDimension())
    if not image.GetNumberOfPixels():
        raise InputError("no_voxels", path=name, found=_size(image.GetSize()[::-1]))
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError("not_scalar", path=name, components=image.GetNumberOfComponentsPerPixel())
    return sitk.GetArrayFromImage(image), Geometry.of_image(image)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
