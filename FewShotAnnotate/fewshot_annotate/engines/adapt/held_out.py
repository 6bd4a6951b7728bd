"""Choice of the labelled slices that are held out, and their folds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...core.support import Support
from .candidates import CandidatePool
from .config import HeldOutConfig
from .neighbours import spread

# Memory of the predictions of a held-out slice, in bytes per pixel and label.
BYTES_PER_PREDICTION = 18


def held_out_folds(support: Support, config: HeldOutConfig) -> list[list[int]]:
    """Folds of the labelled slices between the outermost, by support index; each is held out from one network."""
    inner = range(len(support.indices))[1:-1]
    return [list(inner[start :: config.folds]) for start in range(fold_count(support, config))]


def fold_count(support: Support, config: HeldOutConfig) -> int:
    """Number of networks with held-out slices."""
    return min(config.folds, max(0, len(support.indices) - 2))


def held_out_indices(pool: CandidatePool, config: HeldOutConfig, with_network: bool) -> list[int]:
    """Support indices of the slices that are held out, or that a network is fitted on."""
    support_indices = range(len(pool.support.indices))
    return (
        _showing(support_indices if with_network else support_indices[1:-1], config.max_slices, pool.areas)
        if len(support_indices) > 1
        else []
    )


def scored_indices(chosen: Sequence[int], pool: CandidatePool, config: HeldOutConfig) -> set[int]:
    """The support indices among `chosen` that weights and calibration are fitted on.

    There are fewer for many labels on large slices, to save memory, but at least as many as folds.
    """
    return set(spread(chosen, _max_scored(len(pool.support.labels), pool.shape, config)))


def expected_evaluations(support: Support, shape: Sequence[int], config: HeldOutConfig) -> int:
    """About how many held-out slices the candidates are evaluated on."""
    inner = max(0, len(support.indices) - 2)
    return min(inner, config.max_slices, _max_scored(len(support.labels), shape, config))


def _max_scored(labels: int, shape: Sequence[int], config: HeldOutConfig) -> int:
    return max(config.folds, config.max_bytes // (BYTES_PER_PREDICTION * (labels + 1) * math.prod(shape)))


def _showing(support_indices: Sequence[int], count: int, areas: np.ndarray) -> list[int]:
    """About `count` support indices, evenly spread; for each label not on them, also the one with its largest area.

    `areas` as in `CandidatePool`.
    """
    chosen = set(spread(support_indices, count))
    for label in range(areas.shape[1]):
        largest = max(support_indices, key=lambda support_index: int(areas[support_index, label]), default=None)
        if largest is not None and areas[largest, label] and not areas[sorted(chosen), label].any():
            chosen.add(largest)
    return sorted(chosen)
