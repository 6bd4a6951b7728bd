"""Fit of fusion weights, propagation floor and calibration to the candidates of held-out slices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np

from ..calibration.temperature import Calibration, HeldOutPrediction
from ..threads import map_all
from .candidates import CandidatePool
from .config import AdaptConfig
from .floor import PropagationFloor
from .fusion import FusionWeights, HeldOutCandidates, LabelExtent, WeightingCounts, choose_weights

# A held-out slice, and its counts for the choice of fusion weights.
JudgedSlice: TypeAlias = tuple[HeldOutCandidates, WeightingCounts]


def fit_fusion(
    judged: Sequence[Sequence[JudgedSlice]],
    candidates: int,
    pool: CandidatePool,
    config: AdaptConfig,
) -> tuple[FusionWeights, PropagationFloor, Calibration, list[HeldOutPrediction]]:
    """Fusion weights from all held-out slices; floor and calibration from folds fused with the weights of the others.

    `judged` are the held-out slices of each fold. Their fused predictions are returned too.
    """
    groups = [group for group in judged if group]
    held_out = [[predicted for predicted, _ in group] for group in groups]
    counts_per_slice = [[counts for _, counts in group] for group in groups]
    labels = len(pool.support.labels)
    weights = choose_weights(list(chain(*counts_per_slice)), candidates, labels, config.fusion)
    unseen_weights = []  # of each held-out slice
    for number, group in enumerate(held_out):
        others = list(chain(*counts_per_slice[:number], *counts_per_slice[number + 1 :]))
        unseen_weights += [choose_weights(others, candidates, labels, config.fusion)] * len(group)
    slices = list(chain(*held_out))

    def fuse(position: int) -> np.ndarray:
        predicted = slices[position]
        nearest = min(side for side in predicted.distances if side is not None)
        return unseen_weights[position].fuse(predicted.log_probs, nearest, predicted.extents)

    fused = map_all(fuse, range(len(slices)))
    floor = PropagationFloor.choose(slices, fused, pool.areas, config)

    def prediction(position: int) -> HeldOutPrediction:
        predicted = slices[position]
        return HeldOutPrediction(
            floor.mixed(
                fused[position], predicted.log_probs, predicted.copied, predicted.showing_neighbours, beyond=False
            ),
            predicted.truth,
            predicted.distances,
            predicted.extents != LabelExtent.CONTINUES,
            predicted.annotated,
        )

    predictions = map_all(prediction, range(len(slices)))
    return weights, floor, Calibration.fit(predictions, config), predictions
