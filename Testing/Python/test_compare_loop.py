"""The loop of `compare` over its trials: failures, trials that are not run again, progress and time left."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.events import Event, Finished, Started
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.evaluation import compare as compare_module
from fewshot_annotate.evaluation import trials as trial_module
from fewshot_annotate.evaluation.case import ComparisonCase
from fewshot_annotate.evaluation.compare import compare
from fewshot_annotate.evaluation.design import Trial, TrialDesign
from fewshot_annotate.evaluation.results import Comparison
from fewshot_annotate.evaluation.time_estimate import ComparisonProgress, TimeEstimator
from fewshot_annotate.evaluation.trials import EngineFailed, Interrupted, TrialResult
from fewshot_annotate.jobs.planning import EngineSettings
from fewshot_annotate.jobs.process import run_in_worker
from fewshot_annotate.jobs.run_folder import JobFolder
from support.comparison_case import comparison_case
from support.labels import every_nth, overlapping_layers, small_case

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
PROPAGATE = EngineSettings("propagate")
QUICK = TrialDesign(sizes=(2,), draws=1)
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="signals and processes as Linux has them")


# --- loop over trials


@pytest.fixture
def stand_in(python_with_stepwise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of trials know the stand-in engine."""
    monkeypatch.setattr(trial_module, "run_in_worker", partial(run_in_worker, python=python_with_stepwise))


def compared(folder: Path, *engines: EngineSettings, design: TrialDesign = QUICK, resume: bool = False) -> Comparison:
    return compare(comparison_case(), engines, design, folder, resume=resume)


@pytest.mark.usefixtures("stand_in")
def test_the_failure_of_one_engine_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = EngineSettings("stepwise", {"fit": 0.0, "failure": "bug"})
    found = compared(tmp_path / "report", broken, PROPAGATE)
    assert found.engines == ("propagate",)
    (absent,) = found.unscored
    assert (absent.engine, absent.started) == ("stepwise", True)
    assert "ZeroDivisionError" in absent.reason
    assert not (tmp_path / "report" / "working").exists()


@needs_proc
@pytest.mark.usefixtures("stand_in")
def test_a_killed_process_of_one_engine_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trial_module.run_in_worker

    def kill(folder: JobFolder, report: Callable[[Event], None]) -> Event:
        def kill_at_start(event: Event) -> None:
            if isinstance(event, Started) and folder.job.engine == "stepwise":
                os.kill(event.pid, signal.SIGKILL)
            report(event)

        return run(folder, kill_at_start)

    monkeypatch.setattr(trial_module, "run_in_worker", kill)
    found = compared(tmp_path / "report", EngineSettings("stepwise"), PROPAGATE)
    assert found.engines == ("propagate",)
    assert "was ended from outside" in found.unscored[0].reason
    assert str(tmp_path) not in found.unscored[0].reason


@pytest.mark.usefixtures("stand_in")
def test_if_every_engine_fails_each_reason_is_reported(tmp_path: Path) -> None:
    broken = EngineSettings("stepwise", {"fit": 0.0, "failure": "bug"})
    with pytest.raises(EngineFailed, match=r"stepwise: .*ZeroDivisionError"):
        compared(tmp_path / "report", broken)


def test_ctrl_c_after_the_end_of_a_worker_stops_the_comparison(tmp_path: Path) -> None:
    def stop_at_the_end(folder: JobFolder, report: Callable[[Event], None]) -> Event:
        def interrupt(event: Event) -> None:
            report(event)
            if isinstance(event, Finished):
                signal.raise_signal(signal.SIGINT)

        return run_in_worker(folder, interrupt)

    with pytest.raises(Interrupted):
        compare(comparison_case(), [PROPAGATE], QUICK, tmp_path / "report", runner=stop_at_the_end)


def test_an_engine_that_cannot_run_here_is_listed_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = Message("needs_package", package="torch", install="pip install torch")
    monkeypatch.setattr(Adapt, "unavailable_reason", classmethod(lambda cls: reason))
    found = compared(tmp_path / "report", EngineSettings("adapt"), PROPAGATE)
    (absent,) = found.unscored
    assert (absent.engine, absent.reason, absent.started) == ("adapt", str(reason), False)
    with pytest.raises(InputError, match=r"No engine .* \(adapt: it needs"):
        compared(tmp_path / "other", EngineSettings("adapt"))
    with pytest.raises(InputError, match="no option 'colour'"):
        compared(tmp_path / "other", EngineSettings("propagate", {"colour": 1}))
    assert not (tmp_path / "other").exists()


def test_finished_trials_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[ComparisonProgress] = []

    def stop_after_two(step: ComparisonProgress) -> None:
        steps.append(step)
        if step.done == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "report"
    with pytest.raises(KeyboardInterrupt):
        compare(comparison_case(), [PROPAGATE], QUICK, folder, stop_after_two)
    assert not (folder / "working").exists()
    ran: list[str] = []
    run = compare_module.run_trial

    def recorded_trial(case: ComparisonCase, trial: Trial, *rest: Any) -> TrialResult:
        ran.append(trial.name)
        return run(case, trial, *rest)

    monkeypatch.setattr(compare_module, "run_trial", recorded_trial)
    with pytest.raises(InputError, match="continue its comparison"):
        compared(folder, PROPAGATE)
    complete = compared(folder, PROPAGATE, resume=True)
    assert len(ran) == steps[0].total - 2
    ran.clear()
    again = compared(folder, PROPAGATE, resume=True)
    assert not ran
    assert again.to_json() == complete.to_json()
    damaged = next((folder / "runs" / "propagate").glob("*.json"))
    damaged.write_text("{", encoding="ascii")
    compared(folder, PROPAGATE, resume=True)
    assert ran == [damaged.stem]
    with pytest.raises(InputError, match="another image or labels"):
        compare(comparison_case(5), [PROPAGATE], QUICK, folder, resume=True)


def test_trials_with_other_settings_of_an_engine_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    compared(folder, PROPAGATE)
    ran: list[str] = []
    monkeypatch.setattr(compare_module, "run_trial", lambda case, trial, *rest: ran.append(trial.name))
    with pytest.raises(AttributeError):
        compared(folder, EngineSettings("propagate", budget=60.0), resume=True)
    assert len(ran) == 1


@pytest.mark.slow
def test_overlapping_segments_are_compared_layer_by_layer(tmp_path: Path) -> None:
    indices = every_nth(small_case()[1], AXIS, 4)
    layers = overlapping_layers(small_case()[1], 2)
    case = ComparisonCase.from_label_maps(small_case()[0], layers, AXIS, indices)
    found = compare(case, [PROPAGATE], QUICK, tmp_path / "report")
    assert set(found.labels) | set(found.not_scored) == {"Étage 0", "Étage 1", "lower half"}
    assert found.points[0].dice > 0.3


# --- progress and time left


def test_progress_never_falls_and_ends_at_the_total(tmp_path: Path) -> None:
    steps: list[ComparisonProgress] = []
    compare(comparison_case(), [PROPAGATE], QUICK, tmp_path / "report", steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert steps[-1].eta in (None, pytest.approx(0, abs=1))
    assert all(step.eta is None or step.eta >= 0 for step in steps)


def test_a_trial_that_takes_longer_than_earlier_ones_is_not_reported_as_done() -> None:
    now = [0.0]
    steps: list[ComparisonProgress] = []
    estimator = TimeEstimator([("adapt", 8)] * 2, 0, steps.append, lambda: now[0])
    estimator.start_trial("adapt", 8)
    now[0] = 30.0
    estimator.finish_trial()
    estimator.start_trial("adapt", 8)
    now[0] = 63.0
    estimator.update(0.75)
    assert steps[-1].eta == 11


def test_a_slow_trial_that_has_just_begun_is_not_reported_as_nearly_done() -> None:
    now = [0.0]
    steps: list[ComparisonProgress] = []
    estimator = TimeEstimator([("adapt", 8)] * 4, 0, steps.append, lambda: now[0])
    for seconds in (10.0, 20.0, 30.0):
        estimator.start_trial("adapt", 8)
        now[0] = seconds
        estimator.finish_trial()
    estimator.start_trial("adapt", 8)
    now[0] = 41.0
    estimator.update(0.2)
    assert steps[-1].eta == 8


def test_a_comparison_announces_no_time_before_each_engine_has_ended_a_trial() -> None:
    now = [0.0]
    steps: list[ComparisonProgress] = []
    engines = ["propagate", "adapt"]
    estimator = TimeEstimator([(engine, 4) for engine in 3 * engines], 0, steps.append, lambda: now[0])
    for engine in 3 * engines:
        estimator.start_trial(engine, 4)
        now[0] += 1 if engine == "propagate" else 9
        estimator.finish_trial()
    assert [step.eta for step in steps] == [None, None, None, None, 10, 9]


def test_the_time_of_trials_with_fewer_labelled_slices_is_estimated_by_the_engine() -> None:
    now = [0.0]
    steps: list[ComparisonProgress] = []
    estimator = TimeEstimator([("adapt", 8)] * 3 + [("adapt", 1)], 0, steps.append, lambda: now[0])
    for size in (8, 8, 8, 1):
        estimator.start_trial("adapt", size)
        now[0] += 20
        estimator.finish_trial()
    ratio = Adapt.relative_time(1) / Adapt.relative_time(8)
    assert ratio < 0.2
    assert steps[2].eta == round(20 + 20 * ratio, 1)
