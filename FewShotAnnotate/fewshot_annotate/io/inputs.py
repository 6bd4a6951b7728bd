"""Conversion of paths, SimpleITK images and NumPy arrays to `Volume` and `LabelMap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.channels import with_further
from ..core.errors import InputError, Message
from ..core.regrid import regrid
from ..core.volume import Geometry, LabelMap, Volume, as_label_array, default_segment, present_values
from .dicom.origin import channel_notes
from .files import read_label_maps, read_on_grid, read_volume
from .label_notes import label_notes, regrid_note
from .shear_note import shear_note

if TYPE_CHECKING:
    import SimpleITK as sitk

    VolumeLike = Volume | sitk.Image | np.ndarray | str | Path
    LabelsLike = LabelMap | list[LabelMap] | tuple[LabelMap, ...] | sitk.Image | np.ndarray | str | Path


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a call of the Python API was given.

    Attributes
    ----------
    volume : Volume
        With its further channels.
    layers : list of LabelMap
        On the grid of the volume.
    notes : tuple of Message
        What was done to the labels to fit the volume, and files that seem to belong to something else.
    """

    volume: Volume
    layers: list[LabelMap]
    notes: tuple[Message, ...]


def as_inputs(
    volume: VolumeLike,
    labels: LabelsLike | None,
    also: Sequence[VolumeLike] = (),
    on_note: Callable[[Message], object] = lambda note: None,
) -> Inputs:
    """Convert a volume, labels to label maps on its grid, and further volumes to its channels.

    `on_note` takes the notes one by one.

    Raises
    ------
    InputError
        A file cannot be read, a volume is not a usable 3D image, or the labels or further volumes do not fit it.
    """
    input_volume = as_volume(volume)
    input_volume.require_usable()
    grid, image = input_volume.geometry, Path(volume) if isinstance(volume, (str, Path)) else None
    notes = [shear_note(grid, image or "The volume")]
    layers: list[LabelMap] = []
    if labels is not None:
        path = Path(labels) if isinstance(labels, (str, Path)) else None
        regridded = regrid(as_label_maps(labels, grid), grid) if path is None else read_on_grid(path, grid)
        layers = regridded.layers
        notes += [regrid_note(regridded, "The labels")] if path is None else label_notes(regridded, path, image)
    input_volume = as_channels(input_volume, also)
    if image is not None:
        notes += channel_notes([Path(channel) for channel in also if isinstance(channel, (str, Path))], image)
    inputs = Inputs(volume=input_volume, layers=layers, notes=tuple(note for note in notes if note is not None))
    for note in inputs.notes:
        on_note(note)
    return inputs


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
