"""Progress of an engine as a fraction of its expected work."""

from __future__ import annotations

from fewshot_annotate.engines.progress_counter import ProgressCounter


def test_progress_is_the_finished_fraction_of_the_planned_work() -> None:
    fractions: list[float] = []
    work = ProgressCounter(fractions.append)
    work.plan(3)
    work.plan(1)
    work.done(0)
    work.done(1)
    report = work.reporter(2)
    report(0.5)
    report(1.0)
    assert fractions == [0, 0.25, 0.5, 0.75]


def test_unneeded_work_is_subtracted_from_the_plan() -> None:
    fractions: list[float] = []
    work = ProgressCounter(fractions.append)
    work.plan(4)
    work.plan(-2)
    work.done(1)
    work.finish()
    assert fractions == [0.5, 1]


def test_progress_never_exceeds_one() -> None:
    fractions: list[float] = []
    work = ProgressCounter(fractions.append)
    work.done(1)
    work.plan(1)
    work.done(1)
    assert fractions == [0, 1]
