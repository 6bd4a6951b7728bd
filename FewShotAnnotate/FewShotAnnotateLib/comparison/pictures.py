"""Pictures of held-out slices: the truth, and what each engine made of it with the truth's outline over it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_erosion

from ..review.picture import as_radiologists_look
from .case import Case

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT_PIXELS = 260
OPACITY = 0.5
OUTLINE = (255, 235, 60)
OUTLINE_PIXELS = 2
# Part of the labelled box that is shown around it on each side.
MARGIN = 0.35
_LEAST_PIXELS = 24


class Painter:
    """Paints slices of one case, cut to where labels are, as a radiologist looks at them and true to scale.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._window = _window(case)
        self._turned = as_radiologists_look(case.axis, case.volume.geometry)
        low, high = np.percentile(case.volume.array[::2, ::2, ::2], (0.5, 99.5))
        self._low, self._range = float(low), max(float(high - low), 1e-6)
        _, row_mm, column_mm = case.axis.spacing(case.volume.geometry)
        rows, columns = (part.stop - part.start for part in self._window)
        self._size = (max(1, round(HEIGHT_PIXELS * columns * column_mm / (rows * row_mm))), HEIGHT_PIXELS)

    def png(self, row: int, masks: np.ndarray | None) -> bytes:
        """PNG of a labelled slice.

        Parameters
        ----------
        row : int
            Number of the labelled slice.
        masks : integer ndarray, shape [layers, h, w], or None
            Drawn as areas, the truth as an outline; without masks the truth is drawn as areas.
        """
        from PIL import Image

        case = self._case
        image = self._cut(case.axis.slices(case.volume.array)[case.indices[row]]).astype(np.float32)
        grey = np.clip((image - self._low) / self._range, 0, 1)
        picture = Image.fromarray((grey * 255).astype(np.uint8)).resize(self._size, Image.Resampling.BICUBIC)
        rgb = np.repeat(np.asarray(picture, dtype=np.float32)[..., None], 3, axis=-1)
        truth = np.stack([support.masks[row] for support in case.supports])
        for structure in case.structures:
            area = self._area((truth if masks is None else masks)[structure.layer] == structure.segment.value)
            rgb[area] = (1 - OPACITY) * rgb[area] + OPACITY * 255 * np.array(structure.segment.colour)
        for structure in case.structures if masks is not None else ():
            area = self._area(truth[structure.layer] == structure.segment.value)
            rgb[area & ~binary_erosion(area, iterations=OUTLINE_PIXELS, border_value=1)] = OUTLINE
        return _png(Image.fromarray(rgb.astype(np.uint8)))

    def _cut(self, image: np.ndarray) -> np.ndarray:
        return image[self._window][self._turned]

    def _area(self, mask: np.ndarray) -> np.ndarray:
        """A mask as large as the picture."""
        from PIL import Image

        picture = Image.fromarray(self._cut(mask).astype(np.uint8) * 255)
        return np.asarray(picture.resize(self._size, Image.Resampling.BILINEAR)) > 127


def _window(case: Case) -> tuple[slice, slice]:
    """Rows and columns around all labels of all slices, with a margin."""
    anything = np.any([support.masks.any(axis=0) for support in case.supports], axis=0)
    ranges = []
    for other, size in zip((1, 0), anything.shape, strict=True):
        held = np.flatnonzero(anything.any(axis=other))
        wanted = max(_LEAST_PIXELS, round((held[-1] + 1 - held[0]) * (1 + 2 * MARGIN)))
        start = max(0, min((held[0] + held[-1] + 1 - wanted) // 2, size - wanted))
        ranges.append(slice(int(start), int(min(size, start + wanted))))
    return ranges[0], ranges[1]


def _png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
