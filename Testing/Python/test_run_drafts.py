"""Runs of an engine that drafts first: real workers, observed while they draft, fit and refine."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from fewshot_annotate.core.events import (
    Cancelled,
    Event,
    Expected,
    Failed,
    Finished,
    Progress,
    SliceDone,
    Stage,
    Started,
    Warned,
    event_from_line,
)
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines.base import RunContext
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.jobs.process import WorkerProcess
from fewshot_annotate.jobs.progress import OVERRUN_SECONDS
from fewshot_annotate.jobs.run_folder import JobFolder
from support import stepwise
from support.labels import small_case
from support.processes import (
    Spawned,
    alive,
    make_folder,
    paused,
    poll_to_end,
    poll_until,
    slices_done,
    wait_for,
    worker_pid,
    write_exit_code_recorder,
)
from support.run_folders import result_of
from support.stepwise import DRAFT_DICE, FINAL_DICE, FIT_FRACTION

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc")

AXIS = SliceAxis(0)
ENDLESS_SECONDS = 1000.0

MakeJob = Callable[..., JobFolder]


@pytest.fixture
def make_job(awkward_path: Path) -> MakeJob:
    """Function that makes a job of a real volume for the stepwise engine with the given options."""

    def make(name: str = "job", budget: float | None = None, **options: Any) -> JobFolder:
        return make_folder(
            awkward_path / name, *small_case(), AXIS, 8, engine=stepwise.NAME, options=options, budget=budget
        )

    return make


@pytest.fixture
def start(spawned: Spawned, python_with_stepwise: str) -> Callable[[JobFolder], WorkerProcess]:
    """Function that starts a worker which knows the stepwise engine."""
    return lambda folder: spawned.worker(folder, python_with_stepwise)


@pytest.fixture(scope="module")
def final_slices(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Result of an undisturbed run: the slices of propagate."""
    folder = make_folder(tmp_path_factory.mktemp("whole") / "job", *small_case(), AXIS, 8)
    with Spawned() as spawned:
        assert isinstance(poll_to_end(spawned.worker(folder))[-1], Finished)
    return AXIS.slices(result_of(folder)[0])


def drafted(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, SliceDone) and event.draft]


def refined(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, SliceDone) and not event.draft]


def all_drafted(folder: JobFolder) -> Callable[[list[Event]], bool]:
    count = len(folder.pending())
    return lambda events: len(drafted(events)) == count


def fitting(events: list[Event]) -> bool:
    progress = [event for event in events if isinstance(event, Progress)]
    return bool(progress) and progress[-1].fraction > 0


def require_drafts(folder: JobFolder, indices: list[int]) -> None:
    """These slices hold copies of the nearest labelled slice, complete and flagged as drafts."""
    support = folder.read_support()
    for index in indices:
        nearest = np.abs(np.array(support.indices) - index).argmin()
        assert np.array_equal(folder.result_slice(index), support.masks[nearest])
        assert folder.finished()[index]
        assert folder.drafts()[index]


# --- a run without errors


def test_every_draft_is_replaced_by_a_final_slice(
    make_job: MakeJob, start: Callable[..., Any], final_slices: np.ndarray
) -> None:
    folder = make_job(fit=1.0)
    pending = folder.pending()
    process = start(folder)
    events = poll_until(process, all_drafted(folder))
    with paused(worker_pid(events)):
        assert slices_done(events) == pending
        require_drafts(folder, pending)
        assert folder.pending() == pending
    events += poll_to_end(process)
    assert isinstance(events[-1], Finished)
    assert [event.draft for event in events if isinstance(event, SliceDone)] == [True] * len(pending) + [False] * len(
        pending
    )
    assert sorted(refined(events)) == pending
    assert folder.pending() == []
    assert not folder.drafts().any()
    assert np.array_equal(AXIS.slices(result_of(folder)[0]), final_slices)


def test_progress_counts_drafts_the_fit_and_final_slices(make_job: MakeJob, start: Callable[..., Any]) -> None:
    folder = make_job(fit=1.5)
    total = len(folder.pending())
    progress = [event for event in poll_to_end(start(folder)) if isinstance(event, Progress)]
    written = [(event.done, event.drafts) for event in progress]
    expected = [(count, count) for count in range(total + 1)]
    expected += [(total, total - count) for count in range(1, total + 1)]
    assert list(dict.fromkeys(written)) == expected, "drafts count up, then final slices replace them"
    assert list(dict.fromkeys(event.stage for event in progress)) == list(Stage)
    for stage in (Stage.DRAFTING, Stage.REFINING):
        counted = dict.fromkeys(event.done_in_stage for event in progress if event.stage == stage)
        assert list(counted) == list(range(stage == Stage.DRAFTING, total + (stage == Stage.REFINING)))
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert 1 <= len({fraction for fraction in fractions if 0 < fraction < FIT_FRACTION}) < 6, "not at every pulse"
    assert {event.eta is None for event in progress if event.fraction == 0} == {True}
    assert {event.eta for event in progress if event.done_in_stage == total and event.fraction == 1} == {0.0}
    assert progress[-1].eta == 0


def test_the_expected_dice_is_reported_for_the_drafts_and_again_at_the_end(
    make_job: MakeJob, start: Callable[..., Any]
) -> None:
    folder = make_job(fit=1.0)
    process = start(folder)
    events = poll_until(process, lambda events: any(isinstance(event, Expected) for event in events))
    wait_for(lambda: bool(folder.expected()))
    assert {(one.dice, one.low, one.high) for one in folder.expected()} == {DRAFT_DICE}
    events += poll_to_end(process)
    reported = [event for event in events if isinstance(event, Expected)]
    assert reported == [Expected(label, *figures) for figures in (DRAFT_DICE, FINAL_DICE) for label in folder.labels]
    assert refined(events)
    assert events.index(reported[0]) < events.index(SliceDone(refined(events)[0])) < events.index(reported[-1])
    assert [(one.label, one.dice, one.low, one.high) for one in folder.expected()] == [
        (label, *FINAL_DICE) for label in folder.labels
    ]


def test_an_engine_without_expected_dice_reports_none(make_job: MakeJob, start: Callable[..., Any]) -> None:
    folder = make_job(fit=0.0, reports_dice=False)
    events = poll_to_end(start(folder))
    assert isinstance(events[-1], Finished)
    assert not [event for event in events if isinstance(event, Expected)]
    assert folder.expected() == ()


def test_expected_dice_of_a_label_that_is_not_in_the_job_is_ignored(
    make_job: MakeJob, start: Callable[..., Any]
) -> None:
    folder = make_job(fit=0.5)
    process = start(folder)
    events = poll_until(process, drafted)
    with paused(worker_pid(events)), folder.events_path.open("a") as file:
        file.write(Expected(60_000, 0.5, 0.5, 0.5).to_line() + "\n")
    events += poll_to_end(process)
    assert {event.label for event in events if isinstance(event, Expected)} == set(folder.labels)


# --- cancel


def test_cancel_while_it_drafts_keeps_the_drafts_made(make_job: MakeJob, start: Callable[..., Any]) -> None:
    folder = make_job(pause=0.05)
    process = start(folder)
    events = poll_until(process, lambda events: len(drafted(events)) >= 3)
    process.cancel()
    events += poll_to_end(process)
    assert isinstance(events[-1], Cancelled)
    assert np.flatnonzero(folder.finished()).tolist() == sorted(drafted(events))
    assert len(drafted(events)) < len(folder.pending())
    require_drafts(folder, drafted(events))


def test_cancel_during_the_fit_takes_a_second_and_keeps_all_drafts(
    make_job: MakeJob, spawned: Spawned, python_with_stepwise: str
) -> None:
    folder = make_job(fit=ENDLESS_SECONDS)
    pending = folder.pending()
    launcher, exit_code = write_exit_code_recorder(folder, python_with_stepwise)
    process = spawned.worker(folder, launcher)
    events = poll_until(process, fitting)
    began = time.monotonic()
    process.cancel(grace=60)
    events += poll_to_end(process)
    assert time.monotonic() - began < 1.5
    assert isinstance(events[-1], Cancelled)
    assert exit_code.read_text().strip() == "130", "it ended by itself"
    require_drafts(folder, pending)
    labels, _ = result_of(folder)
    assert AXIS.slices(labels)[pending].any()


def test_cancel_while_it_refines_keeps_the_best_of_each_slice(
    make_job: MakeJob, start: Callable[..., Any], final_slices: np.ndarray
) -> None:
    folder = make_job(fit=0.0, pause=0.03)
    process = start(folder)
    events = poll_until(process, lambda events: len(refined(events)) >= 3)
    process.cancel()
    events += poll_to_end(process)
    assert isinstance(events[-1], Cancelled)
    left = folder.pending()
    assert left
    require_drafts(folder, left)
    for index in refined(events):
        assert np.array_equal(folder.result_slice(index), final_slices[index])
        assert not folder.drafts()[index]


def test_cancel_keeps_improved_drafts_instead_of_the_first_ones(
    make_job: MakeJob, start: Callable[..., Any], final_slices: np.ndarray
) -> None:
    folder = make_job(fit=0.0, preview=ENDLESS_SECONDS)
    pending = folder.pending()
    process = start(folder)
    events = poll_until(process, lambda events: len(drafted(events)) == 2 * len(pending))
    process.cancel()
    events += poll_to_end(process)
    assert isinstance(events[-1], Cancelled)
    assert refined(events) == [], "improved drafts are not final"
    assert folder.pending() == pending
    assert folder.drafts()[pending].all()
    assert np.array_equal(AXIS.slices(result_of(folder)[0]), final_slices), "the painted slices too"


@pytest.mark.slow
def test_a_cancelled_fit_is_resumed_without_drafting_again(
    make_job: MakeJob, start: Callable[..., Any], final_slices: np.ndarray
) -> None:
    folder = make_job(fit=1.0)
    process = start(folder)
    poll_until(process, fitting)
    process.cancel()
    assert isinstance(poll_to_end(process)[-1], Cancelled)
    events = poll_to_end(start(folder))
    assert isinstance(events[-1], Finished)
    assert drafted(events) == []
    assert np.array_equal(AXIS.slices(result_of(folder)[0]), final_slices)


# --- killed and failing processes


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["drafting", "fitting", "refining"])
def test_after_a_killed_worker_only_missing_slices_are_computed_again(
    moment: str, make_job: MakeJob, start: Callable[..., Any], final_slices: np.ndarray
) -> None:
    folder = make_job(fit=0.7, pause=0.02)
    process = start(folder)
    moment_reached = {
        "drafting": lambda events: len(drafted(events)) >= 3,
        "fitting": fitting,
        "refining": lambda events: len(refined(events)) >= 3,
    }
    events = poll_until(process, moment_reached[moment])
    os.kill(worker_pid(events), signal.SIGKILL)
    events += poll_to_end(process)
    assert isinstance(events[-1], Failed)
    assert "can be resumed" in events[-1].reason
    kept, drafts, left = folder.finished(), folder.drafts(), folder.pending()
    assert kept[slices_done(events)].all()
    assert not set(left) & set(refined(events))

    first, *_ = rest = [event for event in poll_to_end(start(folder)) if not isinstance(event, Started)]
    assert isinstance(first, Progress)
    assert (first.done, first.drafts) == (kept.sum(), drafts.sum())
    assert isinstance(rest[-1], Finished)
    assert sorted(drafted(rest)) == [index for index in left if not kept[index]]
    assert sorted(refined(rest)) == left
    assert np.array_equal(AXIS.slices(result_of(folder)[0]), final_slices)


@pytest.mark.parametrize(("failure", "code"), [("bug", "worker_failed"), ("input", "volume_constant")])
def test_drafts_of_an_engine_that_fails_later_are_kept(
    failure: str, code: str, make_job: MakeJob, start: Callable[..., Any]
) -> None:
    folder = make_job(fit=0.0, failure=failure)
    pending = folder.pending()
    ending = poll_to_end(start(folder))[-1]
    assert isinstance(ending, Failed)
    assert ending.code == code
    assert "\n" not in ending.reason
    require_drafts(folder, pending)


HOST = """
    import sys, time
    from pathlib import Path
    from fewshot_annotate.jobs.run_folder import JobFolder
    from fewshot_annotate.jobs.process import WorkerProcess

    WorkerProcess(JobFolder.open(sys.argv[1]), sys.argv[2]).start()
    time.sleep(100)
"""


def test_a_fit_whose_host_is_killed_ends_by_itself_with_its_drafts(
    make_job: MakeJob, spawned: Spawned, python_with_stepwise: str
) -> None:
    folder = make_job(fit=ENDLESS_SECONDS)
    pending = folder.pending()
    host = spawned.python("-c", dedent(HOST), str(folder.path), python_with_stepwise)

    def written_events() -> list[Event]:
        lines = folder.events_path.read_text().splitlines()
        return [event for event in map(event_from_line, lines) if event]

    wait_for(lambda: fitting(written_events()))
    host.kill()
    host.wait()
    wait_for(lambda: not alive(worker_pid(written_events())), 8)
    assert written_events()[-1] == Cancelled(), "before a worker that does not respond would be killed"
    require_drafts(folder, pending)


# --- time limit


def test_a_run_ends_within_its_time_limit(make_job: MakeJob, start: Callable[..., Any]) -> None:
    folder = make_job(budget=2.0, fit=ENDLESS_SECONDS)
    events = poll_to_end(start(folder))
    ending = events[-1]
    assert isinstance(ending, Finished)
    assert ending.seconds < 2.0 + OVERRUN_SECONDS
    assert not [event for event in events if isinstance(event, Warned)]
    etas = [event.eta for event in events if isinstance(event, Progress) and event.eta is not None]
    assert etas
    assert max(etas) <= 2.0


@pytest.mark.slow
def test_an_engine_that_overruns_the_time_limit_is_reported_once_and_still_fills_every_slice(
    make_job: MakeJob, start: Callable[..., Any]
) -> None:
    folder = make_job(budget=0.5, fit=0.5 + OVERRUN_SECONDS + 0.7, keeps_deadline=False)
    events = poll_to_end(start(folder))
    (warning,) = [event for event in events if isinstance(event, Warned)]
    assert "time limit of 0.5 s" in warning.message
    assert isinstance(events[-1], Finished)
    assert folder.pending() == []
    late = [event for event in events[events.index(warning) :] if isinstance(event, Progress)]
    assert {event.eta for event in late} == {None, 0.0}, "no time left is announced"


def test_without_a_time_limit_there_is_no_deadline() -> None:
    assert RunContext().seconds_left == float("inf")
    assert 0 < RunContext(deadline=time.monotonic() + 5).seconds_left <= 5
    assert RunContext(deadline=time.monotonic() - 5).seconds_left == 0


def test_an_engine_can_be_used_without_a_run_folder() -> None:
    engine = Propagate()
    engine.context.report_progress(0.5)
    assert list(engine.draft([1, 2])) == []
    assert engine.expected_dice() == ()
