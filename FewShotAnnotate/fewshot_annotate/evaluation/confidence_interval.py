"""Confidence intervals of statistics that have no simple formula, by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Limits of the 95 % confidence interval, as percentiles of the bootstrap distribution.
PERCENTILES_OF_95_CI = (2.5, 97.5)
# Resamples computed at once; the memory they need grows with their number.
_RESAMPLES_AT_ONCE = 100


def confidence_interval_95(
    statistic: Callable[[np.ndarray], np.ndarray], count: int, resamples: int
) -> tuple[float, float]:
    """95 % confidence interval of a statistic of `count` cases, by the percentile bootstrap (Efron 1979).

    If a case was measured by several methods, it is drawn with all of its measurements (paired bootstrap).

    Parameters
    ----------
    statistic : function
        Takes the indices of the drawn cases, shape [resamples, count], and returns a value for each resample; NaN
        where it is undefined, such as for a resample without any voxel of a label.
    count : int
    resamples : int
    """
    if count < 2:
        return (float(statistic(np.arange(count)[None])[0]),) * 2
    random = np.random.default_rng(0)  # the same interval each time
    sizes = [min(_RESAMPLES_AT_ONCE, resamples - first) for first in range(0, resamples, _RESAMPLES_AT_ONCE)]
    distribution = np.concatenate([statistic(random.integers(count, size=(size, count))) for size in sizes])
    low, high = np.nanpercentile(distribution, PERCENTILES_OF_95_CI)
    return float(low), float(high)
