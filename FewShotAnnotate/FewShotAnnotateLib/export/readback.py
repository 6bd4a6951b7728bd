"""Read-back: a written file is read again, by another way than it was written, and compared with what went in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.files import image_suffix, read_label_maps, read_volume
from ..core.itk_file import read_itk
from ..core.regrid import Misfit, align, move
from ..core.volume import SAME_VOXEL_TOLERANCE, Geometry, LabelMap, Volume

_STEPS = 65535  # of a 16-bit integer
COLOUR_TOLERANCE = 1.01 / 255  # DICOM keeps colours as 16-bit CIELab of 8-bit RGB


@dataclass(frozen=True)
class Difference:
    """One thing that came back other than it was."""

    what: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def compare_label_maps(path: Path, layers: Sequence[LabelMap]) -> list[Difference]:
    """What an image file of label maps says other than `layers`: voxels, geometry, names, colours, tags.

    Voxels and geometry are read once more by ITK, as most programs read them.
    """
    found = read_label_maps(path)
    if len(found) != len(layers):
        return [Difference("number of layers", len(layers), len(found))]
    differences = []
    for number, (one, two) in enumerate(zip(layers, found, strict=True)):
        where = f"layer {number}: " if len(layers) > 1 else ""
        off = one.geometry.difference(two.geometry, SAME_VOXEL_TOLERANCE)
        if off:
            differences.append(Difference(where + off[0], off[1], off[2]))
        elif (one.array != two.array).any():
            count = int(np.count_nonzero(one.array != two.array))
            differences.append(Difference(where + "voxels", "all the same", f"{count} others"))
        theirs = {segment.value: segment for segment in two.segments}
        for segment in one.segments:
            other = theirs.get(segment.value)
            if other is None:
                if (one.array == segment.value).any():
                    differences.append(Difference(f"segment {segment.name}", "there", "missing"))
                continue
            for what, own, others in (
                ("name", segment.name, other.name),
                ("tags", dict(segment.tags), dict(other.tags)),
            ):
                if own != others:
                    differences.append(Difference(f"{what} of segment {segment.name}", own, others))
            if not np.allclose(segment.colour, other.colour, atol=COLOUR_TOLERANCE):
                differences.append(Difference(f"colour of segment {segment.name}", segment.colour, other.colour))
    return differences or _compare_with_itk(path, layers)


def _compare_with_itk(path: Path, layers: Sequence[LabelMap]) -> list[Difference]:
    try:
        image = read_itk(path, image_suffix(path))
    except RuntimeError:  # ITK refuses some healthy files, such as those with sheared axes
        return []
    expected = np.stack([layer.array for layer in layers], axis=-1)
    array = sitk.GetArrayFromImage(image)
    if array.size != expected.size or (array.reshape(expected.shape) != expected).any():
        return [Difference("voxels as ITK reads them", "all the same", "others")]
    off = layers[0].geometry.difference(Geometry.of_image(image), SAME_VOXEL_TOLERANCE)
    return [Difference(f"{off[0]} as ITK reads it", off[1], off[2])] if off else []


def compare_series(folder: Path, volume: Volume) -> list[Difference]:
    """What a derived series shows other than the volume, beyond the rounding to 16 bits. Reads with ITK."""
    found = read_volume(folder)
    own, grid = found.geometry, volume.geometry
    alignment = align(own, grid)
    if isinstance(alignment, Misfit) or sorted(own.shape) != sorted(grid.shape):
        return [Difference("grid of the derived series", grid, own)]
    values = move(found.array, alignment, grid.shape)
    step = (float(volume.array.max()) - float(volume.array.min())) / _STEPS
    count = int(np.count_nonzero(np.abs(values - volume.array.astype(float)) > step))
    return [Difference("voxels of the derived series", "all the same", f"{count} others")] if count else []
