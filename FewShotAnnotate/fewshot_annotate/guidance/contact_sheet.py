"""Contact sheet: slices of a volume with the labels drawn over them, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InputError
from ..core.intensity import IntensityWindow
from ..core.slice_axis import SliceAxis
from ..core.volume import LabelMap, Volume
from ..io.slice_picture import draw_slice, label_regions, radiological_flips, scaled_size, write_png

if TYPE_CHECKING:
    from PIL.Image import Image

TILE_PIXELS = 240
_CAPTION_PIXELS = 18
_PAINTED_COLOUR = (255, 214, 10)


def contact_sheet(
    path: str | Path,
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis,
    indices: Sequence[int],
    painted: Sequence[int] = (),
    columns: int = 5,
) -> None:
    """Write a grid of slices with isotropic pixels and labels in their colours; painted slices have a yellow frame.

    Parameters
    ----------
    path : path of a .png
    volume, label_map : on the same grid
    indices : slices along `axis` to show
    painted : slices that were labelled by hand

    Raises
    ------
    InputError
        Pillow is missing, or the file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise InputError("package_missing", package="pillow", install="pillow") from None
    window = IntensityWindow.of_volume(volume.array)
    tiles = [_tile(volume, label_map, axis, index, window, index in set(painted)) for index in indices]
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, ((number % columns) * width, (number // columns) * height))
    write_png(Path(path), sheet)


def _tile(
    volume: Volume, label_map: LabelMap, axis: SliceAxis, index: int, window: IntensityWindow, painted: bool
) -> Image:
    """One slice with its index above it."""
    from PIL import Image, ImageDraw

    flips = radiological_flips(axis, volume.geometry)
    image, labels = axis.slices(volume.array)[index][flips], axis.slices(label_map.array)[index][flips]
    _, row_mm, column_mm = axis.spacing(volume.geometry)
    size = scaled_size(image.shape, (row_mm, column_mm), TILE_PIXELS)
    picture = draw_slice(image, window, size, label_regions(labels, label_map.segments))
    tile = Image.new("RGB", (size[0] + 4, size[1] + _CAPTION_PIXELS))
    tile.paste(picture, (2, _CAPTION_PIXELS))
    draw = ImageDraw.Draw(tile)
    draw.text((4, 3), f"{index} painted" if painted else str(index), fill=_PAINTED_COLOUR if painted else "white")
    if painted:
        draw.rectangle((0, _CAPTION_PIXELS - 2, tile.width - 1, tile.height - 1), outline=_PAINTED_COLOUR, width=2)
    return tile
