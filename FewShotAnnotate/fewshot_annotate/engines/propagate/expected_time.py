"""Expected processor time of propagation, by the size of the window and the number of labels.

Fitted to the times of each part on six cases, with windows of 1,800 to 146,000 pixels and 1 to 41 labels. Only the
progress depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.support import Support

# Region growing takes hardly more time in larger windows, because they are subsampled.
MAX_GROWING_PIXELS = 40_000


@dataclass(frozen=True)
class PropagationTime:
    """Seconds of one processor core for each part of propagation.

    Attributes
    ----------
    pixels : int
        Of the window.
    labels : int
    images : int
        Number of images that optical flow compares.
    """

    pixels: int
    labels: int
    images: int

    @property
    def flow(self) -> float:
        """Flow between two adjacent slices."""
        return 2.5e-3 + 0.52e-6 * self.pixels * (0.7 + 0.3 * self.images)

    @property
    def slice(self) -> float:
        """Labels of a slice, once the flow is known."""
        return 10e-3 + self.pixels * (1.2e-6 + 0.04e-6 * self.labels)

    @property
    def candidates(self) -> float:
        """Other candidates of a slice, their fusion and calibration."""
        return 14e-3 + self.pixels * (1.4e-6 + 0.1e-6 * self.labels)

    @property
    def evaluation(self) -> float:
        """Evaluation of the candidates on a held-out slice."""
        return 20e-3 + self.labels * (2e-3 + 0.5e-6 * self.pixels)

    def growing(self, support: Support, index: int) -> float:
        """Region growing for one slice, which is done in the whole gap between the labelled slices of a support."""
        gap = max(index, *support.indices) - min(index, *support.indices)
        return gap * (0.5e-3 + 0.1e-6 * min(self.pixels, MAX_GROWING_PIXELS)) + 4e-3 * self.labels

    def of(self, support: Support, query: Sequence[int]) -> float:
        """All flow and labels of query slices."""
        flows, slices = 0, 0
        for gap in support.gaps(query):
            slices += len(gap.slices)
            for side in gap.sides:
                start = support.indices[side]
                flows += max(abs(gap.slices[0] - start), abs(gap.slices[-1] - start))
        return flows * self.flow + slices * self.slice
