"""Filled: the segmentation that the Python API's `fill` returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.expected_dice import ExpectedDice
from ..core.slice_axis import SliceAxis
from ..core.volume import LabelMap


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A filled segmentation.

    Attributes
    ----------
    layers : tuple of LabelMap
        On the volume's grid; one, or several where segments overlap. Labelled slices are as they were given.
    confidence : float32 ndarray [k, j, i]
        0..1; 1 on labelled slices.
    expected_dice : dict of str to ExpectedDice
        By name of the segment, over the slices that were filled; empty if the engine does not estimate it.
    engine : str
        Name of the engine that filled the slices; the engine that 'auto' chose.
    axis : SliceAxis
        Axis of the labelled slices.
    plane : str
        The axis in anatomical words, such as 'coronal', or 'oblique coronal' where the volume is tilted.
    labelled_slices, filled_slices : tuple of int
        Array indices along the axis, from 0.
    """

    layers: tuple[LabelMap, ...]
    confidence: np.ndarray
    expected_dice: dict[str, ExpectedDice]
    engine: str
    axis: SliceAxis
    plane: str
    labelled_slices: tuple[int, ...]
    filled_slices: tuple[int, ...]

    @property
    def labels(self) -> np.ndarray:
        """Label values [k, j, i].

        Raises
        ------
        InputError
            Segments overlap; use `layers`.
        """
        if len(self.layers) > 1:
            raise InputError("labels_several")
        return self.layers[0].array
