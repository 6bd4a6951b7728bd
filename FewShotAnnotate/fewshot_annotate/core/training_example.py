"""TrainingExample: a labelled volume of one patient, as networks are trained on; loaded when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .volume import Volume


@dataclass(frozen=True, kw_only=True)
class TrainingExample:
    """A volume of which all or some slices are labelled.

    Attributes
    ----------
    patient : str
        Opaque identifier. Examples of one patient are never on both sides of a split.
    load : function
        Returns the volume and the label index of each voxel, uint8 or uint16 `[k, j, i]`: 0 is background, n the n-th
        label of the task. Called once for each fit; nothing is kept in memory.
    axis : int or None
        Array axis along which slices are labelled; may be None if the whole volume is.
    labelled_slices : tuple of int or None
        The labelled slices, ascending; None: the whole volume is labelled. Voxels elsewhere may be of any label.
    """

    patient: str
    load: Callable[[], tuple[Volume, np.ndarray]]
    axis: int | None = None
    labelled_slices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.labelled_slices is not None and self.axis not in (0, 1, 2):
            raise ValueError("labelled slices need their axis")
