"""Comparison of engines over many fully labelled volumes, by support size and group of volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import paths
from ..core.errors import InputError, Message
from ..jobs.planning import EngineSettings
from .compare import Pending, available_engines, describe_case, finished_trials, run_trials
from .design import Trial, TrialDesign, design_trials
from .results import UnscoredEngine, summarize
from .scores import EngineScore
from .study_manifest import LabelledVolume
from .time_estimate import ComparisonProgress, TimeEstimator
from .trial_store import TrialStore
from .trials import EngineFailed

SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class VolumeScores:
    """Scores on one volume.

    Attributes
    ----------
    name, group : str
    labelled, held_out : int
        Numbers of slices.
    labels : tuple of str
        Names of the scored labels.
    points : tuple of EngineScore
        Scores of the engines that finished on it.
    unscored : tuple of UnscoredEngine
        Engines that failed on it.
    """

    name: str
    group: str
    labelled: int
    held_out: int
    labels: tuple[str, ...]
    points: tuple[EngineScore, ...]
    unscored: tuple[UnscoredEngine, ...]


@dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Attributes
    ----------
    engines : tuple of str
        Engines with scores, in the order they were given.
    volumes : tuple of VolumeScores
    unscored : tuple of UnscoredEngine
        Engines that cannot run on this computer.
    """

    engines: tuple[str, ...]
    volumes: tuple[VolumeScores, ...]
    unscored: tuple[UnscoredEngine, ...]


@dataclass(frozen=True)
class _Plan:
    """All trials of one volume, and those that are still to be run."""

    labelled_volume: LabelledVolume
    folder: Path
    trials: tuple[Trial, ...]
    pending: Pending


def run_study(
    labelled_volumes: Sequence[LabelledVolume],
    engine_settings: Sequence[EngineSettings],
    design: TrialDesign,
    store_path: Path,
    on_progress: Callable[[ComparisonProgress], None] = lambda step: None,
    resume: bool = False,
    on_note: Callable[[Message], None] = lambda note: None,
) -> StudyResult:
    """Compare engines on every volume; all volumes are read and checked before the first trial.

    An engine that fails on a volume has no score there and continues with the next volume.

    Parameters
    ----------
    labelled_volumes : sequence of LabelledVolume
    engine_settings : sequence of EngineSettings
        The engines to compare.
    design : TrialDesign
        The default sizes are 1, 2, 4, 8 and 16.
    store_path : Path
        Folder of the finished trials. Those of a volume are in a folder named after a digest of its voxels, so
        a study can be resumed after volumes were added to the manifest or moved in it.
    on_progress : function
        Called with the progress several times a second.
    resume : bool
        Whether to continue from the finished trials in `store_path`.
    on_note : function
        Called before the first trial, with a sentence on each change that put labels on their image's grid.

    Raises
    ------
    InputError
        A volume cannot be used, or as `compare`.
    EngineFailed
        No engine finished on any volume.
    Interrupted
        Ctrl+C.
    """
    design = replace(design, sizes=design.sizes or SIZES)
    available, unscored = available_engines(engine_settings)
    with TrialStore(store_path, {"study": True}, resume):
        plans = [_plan(volume, available, design, store_path / "volumes", on_note) for volume in labelled_volumes]
        pending = [(settings.engine, trial.size) for plan in plans for settings, trial in plan.pending]
        total = sum(len(plan.trials) * len(available) for plan in plans)
        estimator = TimeEstimator(pending, total - len(pending), on_progress)
        volumes = tuple(_measure(plan, available, estimator) for plan in plans)
    engines = tuple(
        settings.engine for settings in available if any(_is_scored(volume, settings.engine) for volume in volumes)
    )
    if not engines:
        reasons = {engine.engine: engine.message for volume in volumes for engine in volume.unscored}
        raise EngineFailed(Message("no_engine_finished", reasons=list(reasons.values())))
    return StudyResult(engines, volumes, tuple(unscored))


def _plan(
    labelled_volume: LabelledVolume,
    engine_settings: Sequence[EngineSettings],
    design: TrialDesign,
    store_path: Path,
    on_note: Callable[[Message], None],
) -> _Plan:
    try:
        case = labelled_volume.read(on_note)
        trials = design_trials(case.painted, design)
    except InputError as error:
        raise InputError("volume_unusable", name=labelled_volume.name, detail=error) from None
    description = describe_case(case)
    folder = store_path / "-".join(digest[:16] for digest in description["input"])
    pending: Pending = [(settings, trial) for trial in trials for settings in engine_settings]
    if paths.is_folder(folder):
        with TrialStore(folder, description, resume=True) as store:
            _, pending = finished_trials(store, case, trials, engine_settings)
    return _Plan(labelled_volume, folder, trials, pending)


def _measure(plan: _Plan, engine_settings: Sequence[EngineSettings], estimator: TimeEstimator) -> VolumeScores:
    case, labelled_volume = plan.labelled_volume.read(), plan.labelled_volume
    with TrialStore(plan.folder, describe_case(case), resume=True) as store:
        results, pending = finished_trials(store, case, plan.trials, engine_settings)
        added, failed = run_trials(case, pending, store, estimator)
    failed_names = {engine.engine for engine in failed}
    engines = [settings.engine for settings in engine_settings if settings.engine not in failed_names]
    comparison = summarize(case, plan.trials, engines, failed, results | added) if engines else None
    return VolumeScores(
        name=labelled_volume.name,
        group=labelled_volume.group,
        labelled=len(case.indices),
        held_out=0 if comparison is None else len(comparison.held_out),
        labels=() if comparison is None else comparison.labels,
        points=() if comparison is None else comparison.points,
        unscored=tuple(failed),
    )


def _is_scored(volume: VolumeScores, engine: str) -> bool:
    return any(point.engine == engine for point in volume.points)
