"""Expected processor time of `adapt`, by the size of the window, the number of labels and the sizes of the networks.

Fitted to the times of each stage on six cases, with windows of 3,000 to 146,000 pixels and 1 to 41 labels; parts that
run on a single core count a third more, as the others run on two. Only the progress depends on it, which
`Testing/Benchmarks/time_left.py` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.support import Support
from ..propagate.expected_time import PropagationTime
from .config import AdaptConfig
from .held_out import expected_evaluations, fold_count
from .neighbours import spread
from .schedule import FitPlan, network_size, stretch_factor

# Time to load torch and to begin the first fit, in seconds.
LOADING_SECONDS = 1.5


@dataclass(frozen=True)
class AdaptTime:
    """Seconds of one processor core for each part of `adapt`.

    Attributes
    ----------
    shape : (int, int)
        Of the window.
    extent : (int, int)
        Numbers of rows and of columns that show a label.
    labels : int
    config : AdaptConfig
    """

    shape: tuple[int, int]
    extent: tuple[int, int]
    labels: int
    config: AdaptConfig

    @classmethod
    def of_window(cls, support: Support, window: tuple[slice, slice], config: AdaptConfig) -> AdaptTime:
        """Times of the work in a window of the slices."""
        shown = support.masks[(slice(None), *window)] != 0
        _, height, width = shown.shape
        extent = (int(shown.any(axis=(0, 2)).sum()), int(shown.any(axis=(0, 1)).sum()))
        return cls((height, width), extent, len(support.labels), config)

    @property
    def example(self) -> float:
        """Candidates of a slice that a network is fitted on, without propagation, and its input."""
        return 4e-3 + 0.45e-6 * self._pixels + 0.04e-6 * self._values + 0.11e-6 * self._network_values

    @property
    def evaluation(self) -> float:
        """Prediction of a held-out slice by a network, and its part in the choice of weights and the calibration."""
        return 20e-3 + 3e-3 * self.labels + 0.3e-6 * self._values

    @property
    def filling(self) -> float:
        """Candidates and network of a query slice, their fusion and smoothing, without propagation."""
        return 6e-3 + 0.8e-6 * self._pixels + 0.19e-6 * self._values + 0.065e-6 * self._network_values

    @property
    def finishing(self) -> float:
        """Last processing of a query slice, and its writing."""
        return 4e-3 + 0.15e-6 * self._pixels + 0.09e-6 * self._values

    @property
    def step(self) -> float:
        """A step of the network that fills slices."""
        return self._step(self._network_size)

    def orthogonal_fits(self, slices: int, steps: int, spacing: Sequence[float]) -> float:
        """Fits of the networks of both orthogonal views of so many slices; spacing in mm, of the slices first."""
        return sum(self._preparation(slices) + steps * self._step(size) for size in self._planes(slices, spacing))

    def orthogonal_predictions(self, slices: int, spacing: Sequence[float]) -> float:
        """Prediction of all planes of both views."""
        # There is one plane per column in the view that shows rows, and one per row in the view that shows columns.
        return sum(
            count * (0.6e-6 * (1600 + math.prod(size)) + 0.1e-6 * (self.labels + 1) * slices * side)
            for count, side, size in zip(
                reversed(self.extent), self.shape, self._planes(slices, spacing), strict=True
            )
        )

    def previews(self, plan: FitPlan, spacing: Sequence[float]) -> bool:
        """Whether slices that the orthogonal views will refine are shown before.

        They are if the refinement takes long, or if a time limit may leave no time for it.
        """
        if plan.slab is None:
            return False
        return plan.seconds is not None or self._refinement(plan, spacing) > self.config.schedule.preview_seconds

    def fit(self, steps: int, seconds: float | None) -> float:
        """One fit, which ends after a number of steps or of seconds."""
        preparation = 8e-6 * math.prod(self._network_size)
        return preparation + min(steps * self.step, math.inf if seconds is None else seconds)

    def of(
        self,
        support: Support,
        query: Sequence[int],
        plan: FitPlan | None,
        propagation: PropagationTime,
        spacing: Sequence[float],
    ) -> float:
        """Everything but the propagation to query slices."""
        seconds = self._candidates_of_labelled(support, plan, propagation)
        seconds += expected_evaluations(support, self.shape, self.config.held_out) * self.evaluation
        seconds += len(query) * (self.filling + self.finishing)
        if plan is None:
            return seconds
        if self.config.network.soft_targets:
            seconds += min(len(query), self.config.network.max_soft_targets) * self.example
        seconds += self._fits(plan, support)
        if plan.slab is not None:
            seconds += self._refinement(plan, spacing)
            seconds += len(query) * self.finishing * self.previews(plan, spacing)
        return seconds

    def _refinement(self, plan: FitPlan, spacing: Sequence[float]) -> float:
        """Fits and predictions in the orthogonal views."""
        slices = len(plan.slab or ())
        fits = self.orthogonal_fits(slices, plan.orthogonal_steps, spacing)
        return fits + self.orthogonal_predictions(slices, spacing)

    def _candidates_of_labelled(self, support: Support, plan: FitPlan | None, propagation: PropagationTime) -> float:
        """Candidates of the labelled slices that are held out or fitted on, from their neighbours."""
        count = len(support.indices)
        every = range(count) if plan is not None else range(1, count - 1)
        seconds = 0.0
        for support_index in spread(every, self.config.held_out.max_slices) if count > 1 else ():
            index = support.indices[support_index]
            around = support.subset(support.around(index))
            seconds += propagation.of(around, [index]) + propagation.growing(around, index) + self.example
        return seconds

    def _fits(self, plan: FitPlan, support: Support) -> float:
        """Fits of the networks that fill slices."""
        held_out = [self.config.schedule.held_out_share] * fold_count(support, self.config.held_out)
        return sum(self.fit(*plan.share(share)) for share in (1.0, *held_out))

    @property
    def _pixels(self) -> int:
        return math.prod(self.shape)

    @property
    def _values(self) -> int:
        """Number of probabilities of a slice."""
        return self._pixels * (self.labels + 1)

    @property
    def _network_size(self) -> tuple[int, ...]:
        return network_size(self.shape, (1.0, 1.0), self.config.network)

    @property
    def _network_values(self) -> int:
        """Number of probabilities of a slice at the resolution of the network."""
        return math.prod(self._network_size) * (self.labels + 1)

    def _planes(self, slices: int, spacing: Sequence[float]) -> list[tuple[int, ...]]:
        """Size of the planes of both orthogonal views in their networks."""
        stretch = stretch_factor(spacing, self.config.orthogonal)
        return [network_size((slices, side), (stretch, 1.0), self.config.network) for side in self.shape]

    def _step(self, size: Sequence[int]) -> float:
        """A step of a network with inputs of a size."""
        pixels = 1600 + math.prod(min(side, self.config.network.crop) for side in size)
        return pixels * (12e-6 + 0.22e-6 * self.labels)

    def _preparation(self, slices: int) -> float:
        """Images and targets of the planes of one view."""
        return 0.05e-6 * self.config.orthogonal.examples * slices * max(self.shape) * (self.labels + 1)
