"""Estimates of how long work still takes, and when they are announced."""

from __future__ import annotations

from fewshot_annotate.core.remaining_time import RemainingTime, StableEstimate


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def announced(totals: list[float]) -> list[float | None]:
    """What is announced, each second, where these total times are estimated."""
    clock = Clock()
    estimate = StableEstimate(clock)
    found = []
    for second, total in enumerate(totals, start=1):
        clock.seconds = float(second)
        found.append(estimate.announced(total - second))
    return found


def test_a_constant_estimate_is_announced_after_15_percent_of_the_time() -> None:
    found = announced([40.0] * 10)
    assert found[:5] == [None] * 5
    assert found[5:] == [34, 33, 32, 31, 30]


def test_the_last_seconds_are_not_announced() -> None:
    found = announced([20.0] * 20)
    assert found[13:] == [6, 5, None, None, None, None, None]


def test_a_changing_estimate_is_announced_once_it_has_been_nearly_constant() -> None:
    found = announced([20.0, 20, 20, 20, 30, 30, 30, 30, 30, 30])
    assert found[2:4] == [17, 16]
    assert found[4:7] == [None] * 3, "the total rose by half"
    assert found[7:] == [22, 21, 20]


def test_an_estimate_that_changes_little_is_announced() -> None:
    assert None not in announced([20.0, 22, 24, 22, 20, 22])[3:]


def test_no_time_left_is_announced_without_an_estimate() -> None:
    estimate = StableEstimate(Clock())
    assert estimate.announced(None) is None


def remaining(steps: list[tuple[float, float]]) -> list[float | None]:
    """Time left after each step, given by its time and the fraction that is done."""
    clock = Clock()
    time_left = RemainingTime(clock)
    found = []
    for seconds, fraction in steps:
        clock.seconds = seconds
        time_left.advance(fraction)
        left = time_left.seconds()
        found.append(None if left is None else round(left, 6))
    return found


def test_the_time_left_follows_from_the_rate_of_the_work() -> None:
    found = remaining([(10.0 * step, step / 10) for step in range(1, 11)])
    assert found[0] is None
    assert found[2:9] == [70, 60, 50, 40, 30, 20, 10]


def test_preparation_before_the_first_work_is_not_extrapolated() -> None:
    found = remaining([(1.0, 0.0), (3.0, 0.0), *((3.0 + 10 * step, step / 10) for step in range(1, 9))])
    assert found[-3:] == [40, 30, 20]


def test_the_rate_is_that_of_the_last_60_percent_of_the_work() -> None:
    slow = [(4.0 * step, step / 40) for step in range(1, 11)]
    quick = [(40.0 + 2 * step, 0.25 + step / 40) for step in range(1, 31)]
    found = remaining([*slow, *quick])
    assert found[9] == 120, "30 more steps of 4 s"
    assert found[14] is None, "the rate has just changed"
    assert found[-4] == 6


def test_the_fraction_never_falls() -> None:
    time_left = RemainingTime(Clock())
    for fraction in (0.5, 0.2, float("nan"), 2.0):
        time_left.advance(fraction)
    assert time_left.fraction == 1
