"""Confidence intervals by the bootstrap, compared with known values."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.evaluation.confidence_interval import confidence_interval_95
from fewshot_annotate.evaluation.scores import dice_difference
from scipy.stats import bootstrap


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = confidence_interval_95(lambda drawn: values[drawn].mean(axis=1), len(values), 4000)
    assert (low, high) == (
        pytest.approx(values.mean() - 0.196, abs=0.02),
        pytest.approx(values.mean() + 0.196, abs=0.02),
    )


@pytest.mark.parametrize("resamples", [99, 250, 1000])
def test_the_interval_is_that_of_scipy(resamples: int) -> None:
    values = np.random.default_rng(2).exponential(size=30)
    draws = np.random.default_rng(0)
    expected = bootstrap(
        (values,), np.mean, n_resamples=resamples, batch=100, method="percentile", random_state=draws
    ).confidence_interval
    found = confidence_interval_95(lambda drawn: values[drawn].mean(axis=1), len(values), resamples)
    assert found == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_measurements_of_one_case_are_resampled_together() -> None:
    case_difficulty = np.random.default_rng(0).normal(0, 100, 50)
    better, worse = case_difficulty + 1, case_difficulty
    low, high = confidence_interval_95(lambda drawn: (better[drawn] - worse[drawn]).mean(axis=1), 50, 200)
    assert (low, high) == (pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_constant_statistic_has_an_interval_of_width_zero(count: int) -> None:
    assert confidence_interval_95(lambda drawn: np.full(len(drawn), 0.5), count, 100) == (0.5, 0.5)


def test_the_same_cases_give_the_same_interval() -> None:
    values = np.random.default_rng(1).normal(size=20)
    intervals = {confidence_interval_95(lambda drawn: values[drawn].mean(axis=1), 20, 300) for _ in range(2)}
    assert len(intervals) == 1


def test_resamples_without_voxels_of_the_labels_are_left_out() -> None:
    counts = np.zeros((2, 1, 3), dtype=int)
    counts[0, 0] = 10, 10, 8  # the other slice is empty: a quarter of the resamples have no Dice
    found = dice_difference(counts, counts)
    assert (found.low, found.high) == (0, 0)
