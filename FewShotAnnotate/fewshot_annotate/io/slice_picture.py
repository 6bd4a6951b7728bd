"""Rendering of slices with overlaid labels, in radiological orientation and with isotropic pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from ..core.errors import InputError
from ..core.intensity import IntensityRange
from ..core.slice_axis import SliceAxis
from ..core.storage import write_bytes
from ..core.volume import Geometry, LabelMap, Segment, Volume

if TYPE_CHECKING:
    from PIL.Image import Image

AREA_OPACITY = 0.25
OUTLINE_PIXELS = 2
THUMBNAIL_PIXELS = 160
# Maximum number of slice pixels per rendered pixel along each side; more would cost memory without a visible effect.
_OVERSAMPLING = 4

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Region:
    """Pixels to colour, bool `[h, w]`, and their colour as red, green and blue in 0..1."""

    mask: np.ndarray
    colour: Colour


def require_pillow() -> None:
    """Raise `InputError` if Pillow is missing."""
    if find_spec("PIL") is None:
        raise InputError("package_missing", package="pillow", install="pillow")


def draw_slice(
    image: np.ndarray,
    intensities: IntensityRange,
    size: tuple[int, int],
    areas: Sequence[Region] = (),
    outlines: Sequence[Region] = (),
) -> Image:
    """Draw a slice at a size in pixels, with translucent areas and, on top of them, outlines.

    Parameters
    ----------
    image : ndarray, shape [h, w], any real dtype
        In display orientation.
    intensities : IntensityRange
        Intensities that are black and white.
    size : (int, int)
        Width and height of the rendered image.
    areas, outlines : sequence of Region
        On the pixels of `image`.

    Raises
    ------
    InputError
        Pillow is missing.
    """
    require_pillow()
    from PIL import Image

    step = max(1, max(image.shape) // (_OVERSAMPLING * max(size)))
    grey = (intensities.normalise(image[::step, ::step]) * 255).astype(np.uint8)
    resized = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    rgb = np.repeat(resized[..., None], 3, axis=-1)

    def enlarged(region: Region) -> np.ndarray:
        mask = Image.fromarray(region.mask[::step, ::step].astype(np.uint8) * 255)
        return np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) > 127

    for region in areas:
        area = enlarged(region)
        rgb[area] = (1 - AREA_OPACITY) * rgb[area] + AREA_OPACITY * 255 * np.array(region.colour)
    for region in outlines:
        area = enlarged(region)
        outline = area & ~scipy.ndimage.binary_erosion(area, iterations=OUTLINE_PIXELS, border_value=1)
        rgb[outline] = 255 * np.array(region.colour)
    return Image.fromarray(rgb.astype(np.uint8))


def label_regions(labels: np.ndarray, segments: Sequence[Segment]) -> list[Region]:
    """A region for each segment that is on a slice; `labels` holds label values, shape [h, w]."""
    present = set(np.unique(labels).tolist())
    return [Region(labels == segment.value, segment.colour) for segment in segments if segment.value in present]


def radiological_flips(axis: SliceAxis, geometry: Geometry) -> tuple[slice, slice]:
    """Flips of rows and columns for radiological convention: left on the right, anterior or superior at the top."""
    directions = geometry.direction_matrix[:, ::-1]  # columns in array order
    flips = []
    for column in (number for number in range(3) if number != axis.index):
        patient_axis = int(np.abs(directions[:, column]).argmax())
        grows = directions[patient_axis, column]  # to the left, posterior or superior in LPS
        flips.append(slice(None, None, -1) if (grows > 0) == (patient_axis == 2) else slice(None))
    return flips[0], flips[1]


def scaled_size(shape: tuple[int, int], pixel_mm: tuple[float, float], longest: int) -> tuple[int, int]:
    """Width and height in pixels of a rendered slice with isotropic pixels.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the slice.
    pixel_mm : (float, float)
        Distance between rows and between columns in mm.
    longest : int
        Size of the longer side in pixels.
    """
    height, width = (count * length for count, length in zip(shape, pixel_mm, strict=True))
    scale = longest / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def png_bytes(picture: Image) -> bytes:
    """Encode an image as PNG."""
    data = io.BytesIO()
    picture.save(data, "PNG")  # `optimize` would make it smaller, but take eight times as long
    return data.getvalue()


def write_png(path: Path, picture: Image) -> None:
    """Write an image as a PNG file; raises `InputError` if that fails."""
    write_bytes(path, png_bytes(picture))


def write_thumbnail(path: Path, volume: Volume, label_map: LabelMap, intensities: IntensityRange) -> None:
    """Write the first slice of a volume, true to scale, with its labels in their colours, as a PNG.

    Parameters
    ----------
    path : Path
    volume, label_map : on the same grid, arrays [1, h, w]
    intensities : IntensityRange
        Intensities that are black and white.

    Raises
    ------
    InputError
        Pillow is missing, or the file cannot be written.
    """
    axis = SliceAxis(0)
    flips = radiological_flips(axis, volume.geometry)
    image, labels = volume.array[0][flips], label_map.array[0][flips]
    _, row_mm, column_mm = axis.spacing(volume.geometry)
    size = scaled_size(image.shape, (row_mm, column_mm), THUMBNAIL_PIXELS)
    write_png(path, draw_slice(image, intensities, size, label_regions(labels, label_map.segments)))
