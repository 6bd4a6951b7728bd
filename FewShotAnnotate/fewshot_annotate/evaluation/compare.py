"""Comparison of engines on a case; each trial runs in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, Message
from ..engines.registry import engine_class
from ..jobs.fingerprints import fingerprints
from ..jobs.planning import EngineSettings
from .case import ComparisonCase
from .design import Trial, TrialDesign, design_trials
from .results import Comparison, TrialResults, UnscoredEngine, summarize
from .time_estimate import ComparisonProgress, TimeEstimator
from .trial_store import TrialStore
from .trials import EngineFailed, Runner, run_trial

Pending = list[tuple[EngineSettings, Trial]]
# Codes of errors that mean that an engine cannot run here; all others are errors in the request.
UNAVAILABLE_CODES = ("engine_unavailable", "device_unavailable", "weights_missing")


def compare(
    case: ComparisonCase,
    engine_settings: Sequence[EngineSettings],
    design: TrialDesign,
    store_path: Path,
    on_progress: Callable[[ComparisonProgress], None] = lambda step: None,
    resume: bool = False,
    runner: Runner | None = None,
) -> Comparison:
    """Run all trials of all engines and summarize the results.

    An engine that cannot run here, or fails, is reported in `Comparison.unscored` and does not stop the others.
    May be called from any thread.

    Parameters
    ----------
    case : ComparisonCase
    engine_settings : sequence of EngineSettings
        The engines to compare.
    design : TrialDesign
    store_path : Path
        Folder of the finished trials.
    on_progress : function
        Called with the progress several times a second. An exception from it ends the comparison; finished trials are
        kept.
    resume : bool
        Whether to continue from the finished trials in `store_path`.
    runner : function, optional
        See `run_trial`.

    Raises
    ------
    InputError
        There are too few labelled slices, an engine or option is unknown, the folder is not empty, or no engine can
        run.
    EngineFailed
        No engine finished; the message says why.
    Interrupted
        Ctrl+C.
    """
    trials = design_trials(case.painted, design)
    available, unscored = available_engines(engine_settings)
    with TrialStore(store_path, describe_case(case), resume) as store:
        results, pending = finished_trials(store, case, trials, available)
        estimator = TimeEstimator(
            [(settings.engine, trial.size) for settings, trial in pending], len(results), on_progress
        )
        added, failed = run_trials(case, pending, store, estimator, runner)
    unscored += failed
    engines = [
        settings.engine for settings in available if settings.engine not in {settings.engine for settings in failed}
    ]
    if not engines:
        raise EngineFailed(Message("no_engine_finished", reasons=[engine.message for engine in unscored]))
    return summarize(case, trials, engines, unscored, results | added)


def available_engines(engine_settings: Sequence[EngineSettings]) -> tuple[list[EngineSettings], list[UnscoredEngine]]:
    """Engines that can run here, and the reasons why the others cannot.

    'auto' is replaced by the engine that it stands for; of several settings of one engine the first are used.

    Raises
    ------
    InputError
        No engine can run, an engine does not exist, or it has no such option.
    """
    available, unscored = [], []
    distinct: dict[str, EngineSettings] = {}
    for settings in engine_settings:
        name = engine_class(settings.engine).name
        distinct.setdefault(name, replace(settings, engine=name))
    for settings in distinct.values():
        try:
            settings.require_runnable()
            available.append(settings)
        except InputError as error:
            if error.code not in UNAVAILABLE_CODES:
                raise
            unscored.append(UnscoredEngine.of(settings.engine, error.data.get("detail", error), started=False))
    if not available:
        raise InputError("no_engine_runs", detail=[engine.message for engine in unscored])
    return available, unscored


def describe_case(case: ComparisonCase) -> dict[str, Any]:
    """Description of a case by which its `TrialStore` is recognized."""
    return {"input": fingerprints(case.volume, case.supports)}


def finished_trials(
    store: TrialStore, case: ComparisonCase, trials: Sequence[Trial], engine_settings: Sequence[EngineSettings]
) -> tuple[TrialResults, Pending]:
    """Stored results, and the trials that are still to be run, in order."""
    results: TrialResults = {}
    pending: Pending = []
    for trial in trials:
        for settings in engine_settings:
            result = store.load(case, settings, trial)
            if result is None:
                pending.append((settings, trial))
            else:
                results[settings.engine, trial] = result
    return results, pending


def run_trials(
    case: ComparisonCase, pending: Pending, store: TrialStore, estimator: TimeEstimator, runner: Runner | None = None
) -> tuple[TrialResults, list[UnscoredEngine]]:
    """Run trials; returns their results and the engines that failed, whose remaining trials are skipped."""
    results: TrialResults = {}
    failed: dict[str, UnscoredEngine] = {}
    for position, (settings, trial) in enumerate(pending):
        engine = settings.engine
        if engine in failed:
            continue
        estimator.start_trial(engine, trial.size)
        try:
            result = run_trial(case, trial, settings, store.working, estimator.update, runner)
        except EngineFailed as failure:
            failed[engine] = UnscoredEngine.of(engine, failure.content, started=True)
            estimator.skip_trials([trial.size for other, trial in pending[position + 1 :] if other.engine == engine])
            continue
        store.save(settings, trial, result)
        results[engine, trial] = result
        estimator.finish_trial()
    return results, list(failed.values())
