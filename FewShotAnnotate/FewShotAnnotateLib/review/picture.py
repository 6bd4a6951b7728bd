"""Contact sheet: slices of a volume with the labels drawn over them, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.storage import write_bytes
from ..core.volume import Geometry, LabelMap, Volume

if TYPE_CHECKING:
    from PIL.Image import Image

OPACITY = 0.45
TILE_PIXELS = 240
_BAND = 18
_PAINTED_FRAME = (255, 214, 10)


def contact_sheet(
    path: str | Path,
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis,
    indices: Sequence[int],
    painted: Sequence[int] = (),
    columns: int = 5,
) -> None:
    """Write slices side by side, true to scale, labels in their colours; painted slices have a yellow frame.

    Parameters
    ----------
    path : path of a .png
    volume, label_map : on the same grid
    indices : slices along `axis` to show
    painted : slices that a person labelled

    Raises
    ------
    InputError
        Pillow is missing, or the file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise InputError("package_missing", package="pillow", install="pillow") from None
    low, high = np.percentile(volume.array[::2, ::2, ::2], (0.5, 99.5))
    _, row_mm, column_mm = axis.spacing(volume.geometry)
    tiles = [
        _tile(volume, label_map, axis, index, (low, high), row_mm / column_mm, index in set(painted))
        for index in indices
    ]
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, ((number % columns) * width, (number // columns) * height))
    write_png(Path(path), sheet)


def write_png(path: Path, picture: Image) -> None:
    """Write a picture; `InputError` where that cannot be."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    write_bytes(path, data.getvalue())


def as_radiologists_look(axis: SliceAxis, geometry: Geometry) -> tuple[slice, slice]:
    """How rows and columns are flipped so that left is on the right, and anterior or superior at the top."""
    directions = np.array(geometry.direction).reshape(3, 3)[:, ::-1]  # columns in array order
    flips = []
    for column in (number for number in range(3) if number != axis.index):
        patient_axis = int(np.abs(directions[:, column]).argmax())
        grows = directions[patient_axis, column]  # to the left, posterior or superior in LPS
        flips.append(slice(None, None, -1) if (grows > 0) == (patient_axis == 2) else slice(None))
    return flips[0], flips[1]


def _tile(
    volume: Volume,
    label_map: LabelMap,
    axis: SliceAxis,
    index: int,
    window: tuple[float, float],
    pixel_aspect: float,
    painted: bool,
) -> Image:
    """One slice as an RGB tile with its number; `pixel_aspect` is a pixel's height over its width."""
    from PIL import Image, ImageDraw

    image = axis.slices(volume.array)[index].astype(np.float32)
    labels = axis.slices(label_map.array)[index]
    turned = as_radiologists_look(axis, volume.geometry)
    image, labels = image[turned], labels[turned]
    grey = np.clip((image - window[0]) / max(window[1] - window[0], 1e-6), 0, 1)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    for segment in label_map.segments:
        inside = labels == segment.value
        rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * np.array(segment.colour)
    height, width = image.shape[0] * pixel_aspect, image.shape[1]
    scale = TILE_PIXELS / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray((rgb * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    tile = Image.new("RGB", (size[0] + 4, size[1] + _BAND))
    tile.paste(picture, (2, _BAND))
    draw = ImageDraw.Draw(tile)
    draw.text((4, 3), f"{index} painted" if painted else str(index), fill=_PAINTED_FRAME if painted else "white")
    if painted:
        draw.rectangle((0, _BAND - 2, tile.width - 1, tile.height - 1), outline=_PAINTED_FRAME, width=2)
    return tile
