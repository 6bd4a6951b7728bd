"""Contact sheet: slices of a volume with outlined labels, and a legend, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.intensity import IntensityRange
from ..core.slice_axis import SliceAxis
from ..core.volume import LabelMap, Segment, Volume
from ..io.slice_picture import draw_slice, label_regions, radiological_flips, require_pillow, scaled_size, write_png
from .confidence import mean_label_area, slice_confidence

if TYPE_CHECKING:
    from PIL.Image import Image

TILE_PIXELS = 240
_CAPTION_PIXELS = 18
_LEGEND_ROW_PIXELS = 20
_LEGEND_SQUARE_PIXELS = 12
# Number of slices and columns of a preview.
PREVIEW_SLICES, PREVIEW_COLUMNS = 10, 5
_PAINTED_COLOUR = (255, 214, 10)


def contact_sheet(
    path: str | Path,
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis,
    indices: Sequence[int],
    painted: Sequence[int] = (),
    columns: int = PREVIEW_COLUMNS,
) -> None:
    """Write a grid of slices with isotropic pixels, outlined labels lightly filled in their colours, and a legend.

    Painted slices have a yellow frame.

    Parameters
    ----------
    path : str or Path
        File name that ends in .png.
    volume : Volume
    label_map : LabelMap
        On the grid of the volume.
    axis : SliceAxis
    indices : sequence of int
        Slices along `axis` to show.
    painted : sequence of int
        Slices that were labelled by hand.
    columns : int
        Number of slices in a row.

    Raises
    ------
    InputError
        Pillow is missing, or the file cannot be written.
    """
    require_pillow()
    from PIL import Image

    intensities = IntensityRange.of_volume(volume.array)
    tiles = [_tile(volume, label_map, axis, index, intensities, index in set(painted)) for index in indices]
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    shown = {int(value) for index in indices for value in np.unique(axis.slices(label_map.array)[index])}
    legend = _legend([segment for segment in label_map.segments if segment.value in shown], columns * width)
    sheet = Image.new("RGB", (columns * width, rows * height + legend.height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, ((number % columns) * width, (number // columns) * height))
    sheet.paste(legend, (0, rows * height))
    write_png(Path(path), sheet)


def evenly_spread(first: int, last: int, count: int = PREVIEW_SLICES) -> list[int]:
    """At most `count` different slices, evenly spread from the first to the last."""
    return list(dict.fromkeys(map(int, np.linspace(first, last, count).round())))


def least_certain(
    labels: np.ndarray, confidence: np.ndarray, axis: SliceAxis, filled: Sequence[int], count: int = PREVIEW_SLICES
) -> list[int]:
    """Filled slices in ascending order of confidence; slices near each other are avoided if possible.

    Parameters
    ----------
    labels, confidence : ndarray [k, j, i]
    axis : SliceAxis
    filled : sequence of int
        Slices that were filled; those without a label are left out unless all are empty.
    count : int
        Maximum number of slices.
    """
    candidates = [index for index in filled if axis.slices(labels)[index].any()] or list(filled)
    slices, sure = axis.slices(labels), axis.slices(confidence)
    area = mean_label_area(slices)
    scores = {index: slice_confidence(slices[index], sure[index], area) for index in candidates}
    ranked = sorted(candidates, key=lambda index: (scores[index], index))
    min_distance = max(1, len(candidates) // (2 * count))
    chosen: list[int] = []
    for index in ranked:
        if len(chosen) < count and all(abs(index - other) > min_distance for other in chosen):
            chosen.append(index)
    others = [index for index in ranked if index not in chosen]
    return sorted([*chosen, *others[: count - len(chosen)]], key=lambda index: (scores[index], index))


def _legend(segments: Sequence[Segment], width: int) -> Image:
    """Names of segments next to squares of their colours, in as many rows as needed."""
    from PIL import Image, ImageDraw

    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    positions, x, y = [], 4, 0
    for segment in segments:
        needed = round(pen.textlength(_plain(segment.name))) + _LEGEND_SQUARE_PIXELS + 22
        if x > 4 and x + needed > width:
            x, y = 4, y + _LEGEND_ROW_PIXELS
        positions.append((x, y))
        x += needed
    legend = Image.new("RGB", (width, y + _LEGEND_ROW_PIXELS))
    draw = ImageDraw.Draw(legend)
    for segment, (left, top) in zip(segments, positions, strict=True):
        red, green, blue = (round(255 * component) for component in segment.colour)
        square = (left, top + 4, left + _LEGEND_SQUARE_PIXELS, top + 4 + _LEGEND_SQUARE_PIXELS)
        draw.rectangle(square, fill=(red, green, blue))
        draw.text((left + _LEGEND_SQUARE_PIXELS + 6, top + 4), _plain(segment.name), fill="white")
    return legend


def _plain(name: str) -> str:
    """A name reduced to characters that every font has."""
    return name[:60].encode("latin-1", "replace").decode("latin-1")


def _tile(
    volume: Volume, label_map: LabelMap, axis: SliceAxis, index: int, intensities: IntensityRange, painted: bool
) -> Image:
    """One slice with its index above it."""
    from PIL import Image, ImageDraw

    flips = radiological_flips(axis, volume.geometry)
    image, labels = axis.slices(volume.array)[index][flips], axis.slices(label_map.array)[index][flips]
    _, row_mm, column_mm = axis.spacing(volume.geometry)
    size = scaled_size(image.shape, (row_mm, column_mm), TILE_PIXELS)
    regions = label_regions(labels, label_map.segments)
    picture = draw_slice(image, intensities, size, regions, regions)
    tile = Image.new("RGB", (size[0] + 4, size[1] + _CAPTION_PIXELS))
    tile.paste(picture, (2, _CAPTION_PIXELS))
    draw = ImageDraw.Draw(tile)
    draw.text((4, 3), f"{index} painted" if painted else str(index), fill=_PAINTED_COLOUR if painted else "white")
    if painted:
        draw.rectangle((0, _CAPTION_PIXELS - 2, tile.width - 1, tile.height - 1), outline=_PAINTED_COLOUR, width=2)
    return tile
