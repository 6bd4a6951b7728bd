"""Comparison of engines on a case: every trial in a worker, what came out as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..engines import runnable_engine
from ..run.folder import fingerprint
from .case import Case
from .clock import Clock, Step
from .design import Trial, Wish, design
from .results import Absent, Comparison, Outcomes, sum_up
from .store import Store
from .trial import Contender, EngineFailed, Runner, run_trial

Pending = list[tuple[Contender, Trial]]
# Errors that say that an engine cannot run here; others say that it was asked wrongly.
NOT_HERE = ("engine_unavailable", "device_unavailable", "weights_missing")


def compare(
    case: Case,
    contenders: Sequence[Contender],
    wish: Wish,
    place: Path,
    tell: Callable[[Step], None] = lambda step: None,
    resume: bool = False,
    runner: Runner | None = None,
) -> Comparison:
    """Run all trials of all engines, and sum up.

    An engine that cannot run here or fails is among the absent ones and does not stop the others. May be called from
    a thread other than the main one.

    Parameters
    ----------
    place : Path
        Folder in which finished trials are kept.
    tell : function
        Called often. What it raises ends the comparison; finished trials are kept.
    resume : bool
        Whether to go on with the finished trials in `place`.
    runner : function, optional
        See `run_trial`.

    Raises
    ------
    InputError
        Too few labelled slices, an unknown engine or option, a used folder, no engine that can run.
    EngineFailed
        No engine finished; says why each did not.
    Interrupted
        Ctrl+C.
    """
    trials = design(case.painted, wish)
    able, absent = ready(contenders)
    with Store(place, describe(case), resume) as store:
        outcomes, pending = finished(store, case, trials, able)
        clock = Clock([one.engine for one, _ in pending], len(outcomes), tell)
        added, failed = run_trials(case, pending, store, clock, runner)
    absent += failed
    engines = [one.engine for one in able if one.engine not in {gone.engine for gone in failed}]
    if not engines:
        raise EngineFailed(" ".join(f"{one.engine}: {one.reason}" for one in absent))
    return sum_up(case, trials, engines, absent, outcomes | added)


def ready(contenders: Sequence[Contender]) -> tuple[list[Contender], list[Absent]]:
    """The engines that can run here, and why the others cannot.

    Raises
    ------
    InputError
        None can, or one does not exist or has no such option.
    """
    able, absent = [], []
    for contender in contenders:
        try:
            runnable_engine(contender.engine)(contender.device, contender.options)
            able.append(contender)
        except InputError as error:
            if error.code not in NOT_HERE:
                raise
            absent.append(Absent(contender.engine, str(error.data.get("detail", error)), started=False))
    if not able:
        raise InputError("no_engine_runs", detail="; ".join(f"{one.engine}: {one.reason}" for one in absent))
    return able, absent


def describe(case: Case) -> dict[str, Any]:
    """What all trials of a case have in common: a store that holds this may be gone on with."""
    return {"input": [fingerprint(case.volume, support) for support in case.supports]}


def finished(
    store: Store, case: Case, trials: Sequence[Trial], contenders: Sequence[Contender]
) -> tuple[Outcomes, Pending]:
    """Outcomes that are in the store already, and what is still to be run, in this order."""
    outcomes: Outcomes = {}
    pending: Pending = []
    for trial in trials:
        for contender in contenders:
            outcome = store.load(case, contender, trial)
            if outcome is None:
                pending.append((contender, trial))
            else:
                outcomes[contender.engine, trial] = outcome
    return outcomes, pending


def run_trials(
    case: Case, pending: Pending, store: Store, clock: Clock, runner: Runner | None = None
) -> tuple[Outcomes, list[Absent]]:
    """Outcomes of these trials, and the engines that failed; the first failure of an engine is its last trial."""
    outcomes: Outcomes = {}
    failed: dict[str, Absent] = {}
    for place, (contender, trial) in enumerate(pending):
        engine = contender.engine
        if engine in failed:
            continue
        clock.begin(engine, trial.size)
        try:
            outcome = run_trial(case, trial, contender, store.working, clock.within, runner)
        except EngineFailed as failure:
            failed[engine] = Absent(engine, str(failure), started=True)
            clock.give_up(sum(one.engine == engine for one, _ in pending[place + 1 :]))
            continue
        store.save(contender, trial, outcome)
        outcomes[engine, trial] = outcome
        clock.end()
    return outcomes, list(failed.values())
