"""Study: engines by support size by group, over many fully labelled volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.dicom_folder import SERIES_ERRORS
from ..core.errors import InputError
from ..core.regrid import MENDED_BY
from .clock import Clock, Step
from .compare import Pending, describe, finished, ready, run_trials
from .design import Trial, Wish, design
from .results import Absent, sum_up
from .scores import Point
from .store import Store
from .study_manifest import LabelledVolume
from .trial import Contender, EngineFailed

SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Measured:
    """What was found on one volume.

    Attributes
    ----------
    name, group : str
    labelled, held_out : int
        Slices.
    labels : tuple of str
        Names of the scored labels.
    points : tuple of Point
        Of the engines that finished here.
    absent : tuple of Absent
        Engines that failed here.
    """

    name: str
    group: str
    labelled: int
    held_out: int
    labels: tuple[str, ...]
    points: tuple[Point, ...]
    absent: tuple[Absent, ...]


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes
    ----------
    engines : tuple of str
        Those with figures, in the order they were given.
    volumes : tuple of Measured
    absent : tuple of Absent
        Engines that cannot run here at all.
    """

    engines: tuple[str, ...]
    volumes: tuple[Measured, ...]
    absent: tuple[Absent, ...]


@dataclass(frozen=True)
class _Plan:
    """Trials of one volume, and those that are still to be run."""

    listed: LabelledVolume
    folder: Path
    trials: tuple[Trial, ...]
    pending: Pending


def study(
    listed: Sequence[LabelledVolume],
    contenders: Sequence[Contender],
    wish: Wish,
    place: Path,
    tell: Callable[[Step], None] = lambda step: None,
    resume: bool = False,
) -> Study:
    """Compare engines on every volume; all volumes are read and checked before the first trial.

    An engine that fails on a volume has no figure there and goes on with the next.

    Parameters
    ----------
    wish : Wish
        Without sizes: 1, 2, 4, 8 and 16.
    place : Path
        Folder in which finished trials are kept, those of a volume in a folder named after a digest of its voxels;
        so a study may be gone on with after volumes were added to the manifest or moved in it.

    Raises
    ------
    InputError
        A volume that cannot be used, or what `compare` raises.
    EngineFailed
        No engine finished on any volume.
    Interrupted
        Ctrl+C.
    """
    wish = replace(wish, sizes=wish.sizes or SIZES)
    able, absent = ready(contenders)
    with Store(place, {"study": True}, resume):
        plans = [_plan(one, able, wish, place / "volumes") for one in listed]
        pending = [contender.engine for plan in plans for contender, _ in plan.pending]
        total = sum(len(plan.trials) * len(able) for plan in plans)
        clock = Clock(pending, total - len(pending), tell)
        volumes = tuple(_measure(plan, able, clock) for plan in plans)
    engines = tuple(one.engine for one in able if any(_has(volume, one.engine) for volume in volumes))
    if not engines:
        reasons = {one.engine: one.reason for volume in volumes for one in volume.absent}
        raise EngineFailed(" ".join(f"{engine}: {reason}" for engine, reason in reasons.items()))
    return Study(engines, volumes, tuple(absent))


def _plan(listed: LabelledVolume, contenders: Sequence[Contender], wish: Wish, place: Path) -> _Plan:
    try:
        case = listed.read()
        trials = design(case.painted, wish)
    except InputError as error:
        consent = MENDED_BY.get(error.code)
        mending = f" (--{consent.value})" if consent else ""
        if error.code in SERIES_ERRORS:
            mending = " (column series)"
        raise InputError("volume_unusable", name=listed.name, detail=f"{error}{mending}") from None
    description = describe(case)
    folder = place / "-".join(digest[:16] for digest in description["input"])
    with Store(folder, description, resume=True) as store:
        _, pending = finished(store, case, trials, contenders)
    return _Plan(listed, folder, trials, pending)


def _measure(plan: _Plan, contenders: Sequence[Contender], clock: Clock) -> Measured:
    case, listed = plan.listed.read(), plan.listed
    with Store(plan.folder, describe(case), resume=True) as store:
        outcomes, pending = finished(store, case, plan.trials, contenders)
        added, failed = run_trials(case, pending, store, clock)
    gone = {one.engine for one in failed}
    engines = [one.engine for one in contenders if one.engine not in gone]
    if not engines:
        return Measured(listed.name, listed.group, len(case.indices), 0, (), (), tuple(failed))
    found = sum_up(case, plan.trials, engines, failed, outcomes | added)
    return Measured(
        listed.name,
        listed.group,
        len(case.indices),
        len(found.held_out),
        found.labels,
        found.points,
        tuple(failed),
    )


def _has(volume: Measured, engine: str) -> bool:
    return any(one.engine == engine for one in volume.points)
