"""Confidence intervals of statistics that have no simple formula, by the bootstrap."""

from __future__ import annotations

import warnings
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
    from scipy import stats

    everything = np.arange(count)
    if count < 2:
        return (float(statistic(everything[None])[0]),) * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of a statistic that never varies
        bootstrap = stats.bootstrap(
            (everything,),
            lambda drawn, axis: statistic(np.atleast_2d(drawn)),
            n_resamples=resamples,
            batch=_RESAMPLES_AT_ONCE,
            method="percentile",
            random_state=np.random.default_rng(0),  # the same interval each time
        )
    low, high = np.nanpercentile(bootstrap.bootstrap_distribution, PERCENTILES_OF_95_CI)
    return float(low), float(high)
