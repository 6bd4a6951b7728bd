"""Grey values as pretrained models know them: 0..255, windowed per volume by what kind of image it is.

After the preparation that MedSAM was trained with (Ma et al., "Segment anything in medical images", Nature
Communications 2024): CT at a fixed window, everything else between two percentiles of its voxels that are not 0.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from ...core.intensity import PERCENTILES, IntensityWindow
from ..base import Option

# CT: centre and width of the soft tissue window in Hounsfield units.
CT_LEVEL = 40.0
CT_WIDTH = 400.0
# Volumes reach from below to above these in Hounsfield units; hardly any other kind of image has negative values, and
# those that were brought to mean 0 and deviation 1 do not reach this far.
HOUNSFIELD_LOW = -200.0
HOUNSFIELD_HIGH = 100.0
# Of volumes with more voxels than this, a sample is looked at for the percentiles.
SAMPLE = 20_000_000


class Scale(StrEnum):
    """How intensities become grey values."""

    AUTO = "auto"
    CT = "ct"
    RANGE = "range"


# For the options of engines that see grey values.
INTENSITIES = Option(
    str(Scale.AUTO),
    "auto: ct where values are Hounsfield units, else range; ct: level 40, width 400; range: percentiles 0.5, 99.5",
    choices=tuple(Scale),
)


class Greys:
    """Slices as 8-bit grey values.

    Parameters
    ----------
    slices : ndarray, shape [n, h, w], any real dtype
    scale : Scale
        `AUTO` takes a volume for CT if its values reach from at most -200 to at least 100.
    level, width : float
        Centre and width of the window that CT is shown at, in Hounsfield units.
    """

    def __init__(
        self, slices: np.ndarray, scale: Scale = Scale.AUTO, level: float = CT_LEVEL, width: float = CT_WIDTH
    ) -> None:
        self._slices = slices
        least, most = float(slices.min()), float(slices.max())
        is_ct = least <= HOUNSFIELD_LOW and most >= HOUNSFIELD_HIGH
        self.scale = (Scale.CT if is_ct else Scale.RANGE) if scale is Scale.AUTO else scale
        if self.scale is Scale.CT:
            low, high = level - width / 2, level + width / 2
        else:
            low, high = _range_without_zeros(slices, least)
        low, high = max(low, least), min(high, most)
        self._window = IntensityWindow(low, high) if low < high else IntensityWindow(least, max(most, least + 1))

    def grey(self, index: int) -> np.ndarray:
        """Slice `index`, uint8 `[h, w]`."""
        slice_ = self._slices[index]
        grey = (self._window.normalise(slice_, np.float64) * 255).astype(np.uint8)
        if self.scale is Scale.RANGE:
            grey[slice_ == 0] = 0
        return grey

    def rgb(self, index: int) -> np.ndarray:
        """Slice `index` as a picture without colour, uint8 `[h, w, 3]`."""
        return np.repeat(self.grey(index)[:, :, None], 3, axis=2)


def _range_without_zeros(slices: np.ndarray, least: float) -> tuple[float, float]:
    """Percentiles of the voxels that are not 0."""
    stride = -(-slices.size // SAMPLE)
    sample = slices[::stride] if stride > 1 else slices
    shown = sample[sample > 0] if least >= 0 else sample[sample != 0]
    if not shown.size:
        return least, least
    low, high = np.percentile(shown, PERCENTILES)
    return float(low), float(high)
