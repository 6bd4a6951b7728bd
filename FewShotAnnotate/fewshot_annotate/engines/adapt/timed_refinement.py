"""Prediction in the orthogonal views within the time that is left, with its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..progress_counter import ProgressCounter
from .expected_time import AdaptTime
from .network import FittedNetwork
from .orthogonal_views import Slab, predict_orthogonal
from .schedule import FitPlan, stretch_factor


@dataclass(frozen=True)
class TimedRefinement:
    """Refinement in the orthogonal views: its steps, its share of a time limit, and its part of the progress.

    Attributes
    ----------
    plan : FitPlan
    times : AdaptTime
        Expected time of each part of the work, and the settings.
    work : ProgressCounter
        The work is planned already.
    spacing : tuple of float
        In mm, of the slices first.
    seed : int
    """

    plan: FitPlan
    times: AdaptTime
    work: ProgressCounter
    spacing: tuple[float, ...]
    seed: int

    def predicted(self, slab: Slab, network: FittedNetwork, seconds_left: float) -> np.ndarray | None:
        """Log-odds as from `predict_orthogonal`; None if the network's fit was cut short or too little time is left.

        Parameters
        ----------
        slab : Slab
        network : FittedNetwork
            The network that filled the slices.
        seconds_left : float
            Infinity without a time limit.
        """
        config, steps, count = self.times.config, self.plan.orthogonal_steps, len(slab.images)
        seconds_left -= (config.schedule.orthogonal_work - config.schedule.orthogonal_share) * network.seconds
        fits = self.times.orthogonal_fits(count, steps, self.spacing)
        total = fits + self.times.orthogonal_predictions(count, self.spacing)
        if network.completed < 1 or seconds_left < config.schedule.min_fit_seconds:
            self.work.plan(-total)
            return None
        return predict_orthogonal(
            slab,
            stretch_factor(self.spacing, config.orthogonal),
            network.stack.device,
            steps,
            None if seconds_left == math.inf else seconds_left,
            self.seed,
            lambda fraction: self.work.done(fraction * total),
            config.network,
            network,
            fits / total,
        )
