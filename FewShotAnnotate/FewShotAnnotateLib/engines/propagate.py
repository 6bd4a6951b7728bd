"""Engine `propagate`: labels carried from slice to slice along dense optical flow, from both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..core.support import Support
from ..core.volume import Volume
from .base import Engine


class Propagate(Engine):
    """First rung: nearest labelled slice copied; the flow replaces it."""

    name = "propagate"
    title = "Propagate"
    summary = "Carries labels from slice to slice along optical flow. No download, no GPU."
    licence = "Apache-2.0 (built in)"

    def prepare(self, volume: Volume, support: Support) -> None:
        """Keep the support."""
        self._support = support

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Copy of the nearest labelled slice."""
        support = self._support
        values = np.array([0, *support.labels])[:, None, None]
        for index in slice_indices:
            nearest = int(np.abs(np.array(support.indices) - index).argmin())
            yield index, (support.masks[nearest] == values).astype(np.float32)
