"""The time left of a batch."""

from __future__ import annotations

from fewshot_annotate.datasets.batch_time import BatchTime


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def after_cases(*durations: float, cases: int) -> tuple[BatchTime, Clock, list[float | None]]:
    """The estimate after cases of these durations, and the seconds left that it announced after each."""
    clock = Clock()
    estimate, announced = BatchTime(clock), []
    for number, seconds in enumerate(durations, start=1):
        estimate.begin(str(number))
        clock.seconds += seconds
        estimate.end(str(number))
        announced.append(estimate.seconds_left(waiting=cases - number))
    return estimate, clock, announced


def test_no_time_left_is_announced_before_several_cases_took_about_the_same_time() -> None:
    _, _, announced = after_cases(10, 10, 10, 10, cases=11)
    assert announced == [None, None, 80, 70]
    _, _, announced = after_cases(10, 80, 10, 80, 10, 80, cases=11)
    assert announced == [None] * 6, "the time depends on which of the cases are left"


def test_the_first_case_is_not_counted_because_it_starts_the_worker() -> None:
    _, _, announced = after_cases(13, 10, 10, 10, 10, cases=11)
    assert announced[-1] == 60


def test_a_running_case_counts_with_its_remaining_time() -> None:
    estimate, clock, _ = after_cases(10, 10, 10, cases=5)
    estimate.begin("next")
    clock.seconds += 4
    assert estimate.seconds_left(waiting=1) == 16


def test_a_long_case_is_expected_to_take_as_long_as_earlier_long_ones() -> None:
    estimate, clock, _ = after_cases(30, 30, 30, 30, 30, 42, cases=7)
    estimate.begin("next")
    clock.seconds += 36
    assert estimate.seconds_left(waiting=0) == 6
    clock.seconds += 12
    assert estimate.seconds_left(waiting=0) == 12, "it takes longer than all others, and is not done yet"


def test_cases_that_run_at_the_same_time_share_the_work() -> None:
    clock = Clock()
    estimate = BatchTime(clock)
    left = []
    for number in range(3):
        for name in "ab":
            estimate.begin(name)
        clock.seconds += 10
        for name in "ab":
            estimate.end(name)
        left.append(estimate.seconds_left(waiting=5 - 2 * number))
    assert left == [None, 15, 10], "the last case runs alone"


def test_the_time_to_write_the_review_page_is_added() -> None:
    estimate, _, _ = after_cases(10, 10, 10, cases=6)
    estimate.page_written(2.0)
    assert estimate.seconds_left(waiting=3) == 32
    assert estimate.seconds_left(waiting=0) == 2
