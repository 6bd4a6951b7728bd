"""ImageFile: content of an image file, which may be a volume or a label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..core.volume import Geometry


@dataclass(frozen=True)
class ImageFile:
    """Voxels, geometry and text fields of one image.

    Attributes
    ----------
    array : ndarray, shape [k, j, i] or [k, j, i, component]
    geometry : Geometry
    metadata : mapping of str to str
        Further fields of the header, such as the segments of a .seg.nrrd.
    """

    array: np.ndarray
    geometry: Geometry
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def components(self) -> int:
        """Number of values per voxel."""
        return self.array.shape[3] if self.array.ndim == 4 else 1


class UnsupportedFeatureError(Exception):
    """The file uses a feature of its format that this package's reader does not support; ITK may read it."""
