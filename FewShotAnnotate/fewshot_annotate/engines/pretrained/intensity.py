"""Conversion of intensities to the 8-bit grey values that pretrained models expect, with one range per volume.

The ranges are those that MedSAM was trained with (Ma et al., "Segment anything in medical images", Nature
Communications 2024): CT at a fixed range, all other images between two percentiles of their non-zero voxels.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from ...core.intensity import PERCENTILES, IntensityRange
from ..option import Option

# CT: level and width (centre and width of the range) for soft tissue, in Hounsfield units.
CT_LEVEL = 40.0
CT_WIDTH = 400.0
# A volume whose range includes both values is considered CT: other images rarely have negative values, and images
# standardised to mean 0 and standard deviation 1 have a smaller range.
HOUNSFIELD_LOW = -200.0
HOUNSFIELD_HIGH = 100.0
# Percentiles of larger volumes are computed on a sample of about this many voxels.
MAX_SAMPLE_VOXELS = 20_000_000


class IntensityScale(StrEnum):
    """Range of the intensities that are converted to grey values."""

    AUTO = "auto"
    CT = "ct"
    RANGE = "range"


# For the options of engines that use grey values.
INTENSITIES = Option(
    str(IntensityScale.AUTO),
    "auto: ct where values are Hounsfield units, else range; ct: level 40, width 400; range: percentiles 0.5, 99.5",
    choices=tuple(IntensityScale),
)


class GreyscaleSlices:
    """Slices as 8-bit grey values.

    Parameters
    ----------
    slices : ndarray, shape [n, h, w], any real dtype
    scale : IntensityScale
        `AUTO` is `CT` if the values range from -200 or less to 100 or more, else `RANGE`.
    """

    def __init__(self, slices: np.ndarray, scale: IntensityScale = IntensityScale.AUTO) -> None:
        self._slices = slices
        minimum, maximum = float(slices.min()), float(slices.max())
        is_ct = minimum <= HOUNSFIELD_LOW and maximum >= HOUNSFIELD_HIGH
        self.scale = (IntensityScale.CT if is_ct else IntensityScale.RANGE) if scale is IntensityScale.AUTO else scale
        if self.scale is IntensityScale.CT:
            low, high = CT_LEVEL - CT_WIDTH / 2, CT_LEVEL + CT_WIDTH / 2
        else:
            low, high = _range_without_zeros(slices, minimum)
        low, high = max(low, minimum), min(high, maximum)
        self._range = IntensityRange(low, high) if low < high else IntensityRange(minimum, max(maximum, minimum + 1))

    def grey(self, index: int) -> np.ndarray:
        """Slice `index`, uint8 `[h, w]`."""
        slice_ = self._slices[index]
        grey = (self._range.normalise(slice_, np.float64) * 255).astype(np.uint8)
        if self.scale is IntensityScale.RANGE:
            grey[slice_ == 0] = 0
        return grey

    def rgb(self, index: int) -> np.ndarray:
        """Slice `index` as an RGB image, uint8 `[h, w, 3]`."""
        return np.repeat(self.grey(index)[:, :, None], 3, axis=2)


def _range_without_zeros(slices: np.ndarray, minimum: float) -> tuple[float, float]:
    """Percentiles of the non-zero voxels, as the models were trained; `core.intensity` takes all voxels."""
    stride = -(-slices.size // MAX_SAMPLE_VOXELS)
    sample = slices[::stride] if stride > 1 else slices
    nonzero = sample[sample > 0] if minimum >= 0 else sample[sample != 0]
    if not nonzero.size:
        return minimum, minimum
    low, high = np.percentile(nonzero, PERCENTILES)
    return float(low), float(high)
