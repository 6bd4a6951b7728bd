"""Example: a labelled slice of another volume, for engines that segment from examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .intensity import QUANTILES


@dataclass(frozen=True)
class Example:
    """One labelled slice of another volume, at its own resolution.

    Attributes
    ----------
    image : float32 ndarray, shape [h, w]
        Intensities in the units of its volume. Size and spacing are its own, not those of the volume to fill.
    mask : uint16 ndarray, shape [h, w]
        Label values, 0 is background.
    spacing : (float, float)
        Distance between rows and between columns in mm.
    quantiles : tuple of 5 floats
        Intensity quantiles of its whole volume at the fractions `QUANTILES`, to normalise per volume.
    annotated : tuple of int, ascending
        Label values annotated on the slice; one that is annotated and not in `mask` is absent.
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float]
    quantiles: tuple[float, ...]
    annotated: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.shape != self.mask.shape:
            raise ValueError(f"image {self.image.shape} and mask {self.mask.shape} must be one slice")
        if len(self.quantiles) != len(QUANTILES):
            raise ValueError(f"{len(QUANTILES)} quantiles are needed")
