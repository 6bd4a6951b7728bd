"""Thumbnail of one labelled slice."""

from __future__ import annotations

from pathlib import Path

from ...core.intensity import IntensityWindow
from ...core.slice_axis import SliceAxis
from ...core.volume import LabelMap, Volume
from ...io.slice_picture import draw_slice, label_regions, radiological_flips, scaled_size, write_png

PIXELS = 160
_AXIS = SliceAxis(0)


def write_thumbnail(path: Path, volume: Volume, label_map: LabelMap, window: IntensityWindow) -> None:
    """Write the first slice of a volume, true to scale, with its labels in their colours, as a PNG.

    Parameters
    ----------
    path : Path
    volume, label_map : on the same grid, arrays [1, h, w]
    window : IntensityWindow
        Intensities that are black and white.

    Raises
    ------
    InputError
        Pillow is missing, or the file cannot be written.
    """
    flips = radiological_flips(_AXIS, volume.geometry)
    image, labels = volume.array[0][flips], label_map.array[0][flips]
    _, row_mm, column_mm = _AXIS.spacing(volume.geometry)
    size = scaled_size(image.shape, (row_mm, column_mm), PIXELS)
    write_png(path, draw_slice(image, window, size, label_regions(labels, label_map.segments)))
