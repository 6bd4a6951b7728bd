"""Which labelled slices are held out, and in which folds."""

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
    """Labelled slices between the outermost, by support index, in folds that are held out from one network each."""
    inner = range(len(support.indices))[1:-1]
    return [list(inner[start :: config.folds]) for start in range(fold_count(support, config))]


def fold_count(support: Support, config: HeldOutConfig) -> int:
    """Number of networks with held-out slices."""
    return min(config.folds, max(0, len(support.indices) - 2))


def held_out_rows(pool: CandidatePool, config: HeldOutConfig, with_network: bool) -> list[int]:
    """Support indices of the slices that are held out, or that a network is fitted on."""
    rows = range(len(pool.support.indices))
    return _showing(rows if with_network else rows[1:-1], config.max_slices, pool.areas) if len(rows) > 1 else []


def scored_rows(chosen: Sequence[int], pool: CandidatePool, config: HeldOutConfig) -> set[int]:
    """Those of the support indices that weights and calibration are fitted on.

    With many labels on large slices there are fewer, to save memory, but at least one per fold.
    """
    size = BYTES_PER_PREDICTION * (len(pool.support.labels) + 1) * math.prod(pool.shape)
    return set(spread(chosen, max(config.folds, config.max_bytes // size)))


def _showing(rows: Sequence[int], count: int, areas: np.ndarray) -> list[int]:
    """About `count` support indices, evenly spread, plus the one with the largest area of each label not on them.

    `areas` as in `CandidatePool`.
    """
    chosen = set(spread(rows, count))
    for label in range(areas.shape[1]):
        most = max(rows, key=lambda row: int(areas[row, label]), default=None)
        if most is not None and areas[most, label] and not areas[sorted(chosen), label].any():
            chosen.add(most)
    return sorted(chosen)
