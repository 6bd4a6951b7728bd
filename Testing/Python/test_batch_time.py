"""The time left of a batch."""

from __future__ import annotations

from fewshot_annotate.datasets.batch_time import BatchTime


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_nothing_is_announced_before_some_cases_and_a_tenth_of_them_have_ended() -> None:
    clock = Clock()
    estimate = BatchTime(clock)
    for number in range(4):
        estimate.begin(str(number))
        clock.seconds += 10
        assert estimate.seconds_left(waiting=39 - number) is None
        estimate.end(str(number))
    assert estimate.seconds_left(waiting=36) == 360


def test_a_running_case_counts_with_what_is_left_of_it() -> None:
    clock = Clock()
    estimate = BatchTime(clock)
    for name in "ab":
        estimate.begin(name)
        clock.seconds += 10
        estimate.end(name)
    estimate.begin("c")
    clock.seconds += 4
    assert estimate.seconds_left(waiting=1) == 16
    clock.seconds += 20
    assert estimate.seconds_left(waiting=0) == 6, "it takes longer than all others, and is not done yet"


def test_a_long_case_is_expected_to_last_as_the_long_ones_before_it() -> None:
    clock = Clock()
    estimate = BatchTime(clock)
    for name, seconds in (("a", 10), ("b", 40)):
        estimate.begin(name)
        clock.seconds += seconds
        estimate.end(name)
    estimate.begin("c")
    clock.seconds += 30
    assert estimate.seconds_left(waiting=0) == 10


def test_cases_that_run_at_the_same_time_share_the_work() -> None:
    clock = Clock()
    estimate = BatchTime(clock)
    estimate.begin("a")
    estimate.begin("b")
    clock.seconds = 10
    estimate.end("a")
    estimate.end("b")
    assert estimate.seconds_left(waiting=6) == 30
    estimate.begin("c")
    assert estimate.seconds_left(waiting=0) == 10
    estimate.end("c")
    assert estimate.seconds_left(waiting=0) == 0
