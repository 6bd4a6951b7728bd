"""Thumbnail of one labelled slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.volume import LabelMap, Volume
from ..review.picture import OPACITY, as_radiologists_look, write_png

PIXELS = 160
_AXIS = SliceAxis(0)


def write_thumbnail(path: Path, volume: Volume, label_map: LabelMap, window: tuple[float, float]) -> None:
    """Write the first slice of a volume, true to scale, with its labels in their colours, as a PNG.

    Parameters
    ----------
    volume, label_map : on the same grid, arrays [1, h, w]
    window : (float, float)
        Intensities that are black and white.

    Raises
    ------
    InputError
        Pillow is missing, or the file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise InputError("package_missing", package="pillow", install="pillow") from None
    turned = as_radiologists_look(_AXIS, volume.geometry)
    whole = volume.array[0][turned]
    step = max(1, max(whole.shape) // (4 * PIXELS))  # no memory for what the picture does not show
    image, labels = whole[::step, ::step].astype(np.float32), label_map.array[0][turned][::step, ::step]
    grey = np.clip((image - window[0]) / max(window[1] - window[0], 1e-6), 0, 1)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    for segment in label_map.segments:
        inside = labels == segment.value
        rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * np.array(segment.colour)
    _, row_mm, column_mm = _AXIS.spacing(volume.geometry)
    height, width = image.shape[0] * row_mm, image.shape[1] * column_mm
    scale = PIXELS / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    write_png(path, Image.fromarray((rgb * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
