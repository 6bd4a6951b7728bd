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
    TypeError
        A single volume instead of a sequence.
    """
    if not isinstance(also, (list, tuple)):  # a path or an array would be taken for the sequence of its parts
        raise TypeError(f"further volumes must be in a list, got {type(also).__name__}")
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
    TypeError
        Another type.
    """
    if isinstance(volume, Volume):
        return volume
    if isinstance(volume, (str, Path)):
        return read_volume(volume)
    array, geometry = _as_array(volume)
    if array.dtype.kind == "c":
        raise InputError("not_scalar", path="The volume", components=2)
    return Volume(array, geometry)


def as_label_maps(labels: LabelsLike, grid: Geometry | None = None) -> list[LabelMap]:
    """Convert to label maps; arrays [k, j, i] are on `grid`.

    Raises
    ------
    InputError
        A file cannot be read, the array does not have the shape of `grid`, or values are not label values.
    TypeError
        Another type.
    """
    if isinstance(labels, LabelMap):
        return [labels]
    if isinstance(labels, (str, Path)):
        return read_label_maps(labels, grid)
    if isinstance(labels, (list, tuple)):
        for layer in labels:
            if not isinstance(layer, LabelMap):
                raise TypeError(f"a list of labels must hold LabelMap, got {type(layer).__name__}")
        return list(labels)
    array, geometry = _as_array(labels)
    if isinstance(labels, np.ndarray) and grid is not None:
        if array.shape != grid.shape:
            raise InputError("labels_shape", found=_size(array.shape), expected=_size(grid.shape))
        geometry = replace(grid)
    values = as_label_array(array, "The labels")
    return [LabelMap(values, geometry, tuple(default_segment(value) for value in present_values(values)))]


def _as_array(image: sitk.Image | np.ndarray) -> tuple[np.ndarray, Geometry]:
    """Voxels [k, j, i] and geometry; True and False become 1 and 0, and long double becomes double."""
    if isinstance(image, np.ndarray):
        if image.dtype.kind not in "biufc":
            raise TypeError(f"expected an array of numbers, got dtype {image.dtype}")
        if image.ndim != 3:
            raise InputError("not_3d", path="The array", dimension=image.ndim)
        plain = {"?": np.uint8, "g": np.float64}.get(image.dtype.char)
        return image if plain is None else image.astype(plain), Geometry(image.shape)
    import SimpleITK as sitk

    if not isinstance(image, sitk.Image):
        raise TypeError(f"expected a path, a SimpleITK image or an array, got {type(image).__name__}")
    if image.GetDimension() != 3:
        raise InputError("not_3d", path="The image", dimension=image.GetDimension())
    return sitk.GetArrayFromImage(image), Geometry.of_image(image)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
