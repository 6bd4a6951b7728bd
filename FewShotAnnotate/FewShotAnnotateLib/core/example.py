"""Example: a labelled slice of another volume, as the support library keeps it and engines take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Which parts of the voxels of the whole source volume lie below `Example.quantiles`.
QUANTILES = (0.0, 0.005, 0.5, 0.995, 1.0)


@dataclass(frozen=True)
class Example:
    """One labelled slice of another volume, at its own resolution.

    Attributes
    ----------
    image : float32 ndarray, shape [h, w]
        In the units of its volume. Size and spacing are its own, not those of the volume to fill.
    mask : uint16 ndarray, shape [h, w]
        Label values, 0 is background.
    spacing : (float, float)
        Distance of rows and of columns in mm.
    quantiles : tuple of 5 floats
        Values below which `QUANTILES` of the voxels of its whole volume lie: what a normalisation per volume needs.
    known : tuple of int, ascending
        Label values that the slice speaks about; one that is known and not in `mask` is absent.
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float]
    quantiles: tuple[float, ...]
    known: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.shape != self.mask.shape:
            raise ValueError(f"image {self.image.shape} and mask {self.mask.shape} must be one slice")
        if len(self.quantiles) != len(QUANTILES):
            raise ValueError(f"{len(QUANTILES)} quantiles are needed")
