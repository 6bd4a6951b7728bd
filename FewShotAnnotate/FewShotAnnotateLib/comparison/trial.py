"""One trial of one engine: fill held-out slices in a worker, as `fill` does, and count what is right."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.event import Cancelled, Event, Failed, Progress, SliceDone, Warned
from ..core.job import Device, Job
from ..core.support import Support
from ..core.temporary import TemporaryFolder
from ..core.volume import Volume
from ..engines import engine_class
from ..run.fill import run_in_worker
from ..run.folder import Flag, JobFolder
from .case import Case, shown
from .design import Trial

# Runs a job to its end, telling events, and returns how it ended; as `run_in_worker` does.
Runner = Callable[[JobFolder, Callable[[Event], None]], Event]


@dataclass(frozen=True)
class Contender:
    """An engine with its settings.

    Attributes
    ----------
    engine : str
        Its name, never 'auto'.
    options : mapping
        The engine's own.
    device : Device
    budget : float or None
        Seconds that one filling may take.
    """

    engine: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: Device = Device.AUTO
    budget: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out of one trial.

    Attributes
    ----------
    counts : int64 ndarray, shape [held-out slices, structures, 3]
        Voxels in the truth, in the result, in both; 0 where the slice does not speak about the structure.
    start_seconds : float
        From the start of the worker to the first slice: loading, fitting, encoding.
    slice_seconds : float
        Each further slice.
    masks : uint16 ndarray, shape [layers, held-out slices, h, w]
        The label values that the engine gave.
    warnings : tuple of str
        What it warned of, each sentence once.
    """

    counts: np.ndarray
    start_seconds: float
    slice_seconds: float
    masks: np.ndarray
    warnings: tuple[str, ...] = ()


class EngineFailed(Exception):
    """The engine ended in an error; `str` is the reason in one line."""


class Interrupted(Exception):
    """The user stopped the comparison; the trials that were finished are kept."""


def run_trial(
    case: Case,
    trial: Trial,
    contender: Contender,
    place: Path,
    tell: Callable[[float], None],
    runner: Runner | None = None,
) -> Outcome:
    """Show an engine the support slices only, have it fill the held-out ones, and compare.

    Parameters
    ----------
    place : Path
        An existing folder for the job's files, which are deleted at the end.
    tell : function
        Takes the part of the work that is done, 0..1. What it raises ends the trial.
    runner : function, optional
        In a program that is no plain Python, such as Slicer, one that starts the worker with a Python that is.

    Raises
    ------
    EngineFailed, Interrupted
    """
    slices = [case.indices[row] for row in trial.held_out]
    masks = np.zeros((len(case.supports), len(slices), *case.supports[0].masks.shape[1:]), dtype=np.uint16)
    told = [shown(support, trial.support) for support in case.supports]
    asked = [number for number, support in enumerate(told) if support is not None]
    watches: list[_Watch] = []
    for turn, number in enumerate(asked):
        support = told[number]
        assert support is not None

        def share(fraction: float, turn: int = turn) -> None:
            tell((turn + fraction) / len(asked))

        watches.append(_Watch(share))
        job = _job(contender, slices, case.names(number, support.labels))
        masks[number] = _fill(case.volume, support, slices, job, place, watches[-1], runner or run_in_worker)
    starts, steps = zip(*(watch.seconds(len(slices)) for watch in watches), strict=True)
    warnings = tuple(dict.fromkeys(message for watch in watches for message in watch.warnings))
    return Outcome(counts_of(case, trial.held_out, masks), sum(starts), sum(steps), masks, warnings)


def _job(contender: Contender, slices: Sequence[int], names: dict[int, str]) -> Job:
    job = Job(
        contender.engine, min(slices), max(slices) + 1, contender.device, dict(contender.options), contender.budget
    )
    return replace(job, names=names) if engine_class(contender.engine).uses_names else job


def _fill(
    volume: Volume,
    support: Support,
    slices: Sequence[int],
    job: Job,
    place: Path,
    watch: _Watch,
    runner: Runner,
) -> np.ndarray:
    """Label values [slices, h, w]."""
    with TemporaryFolder(place) as temporary:
        folder = JobFolder.create(temporary / "job", job, volume, support)
        _ask_only(folder, slices)
        ending = runner(folder, watch)
        if folder.cancel_requested() or isinstance(ending, Cancelled):  # perhaps too late for this worker
            raise Interrupted
        if isinstance(ending, Failed):
            raise EngineFailed(ending.reason.replace(str(folder.path), "the job folder"))
        return np.stack([folder.result_slice(index) for index in slices])


def _ask_only(folder: JobFolder, slices: Sequence[int]) -> None:
    """Count all other slices of the job as done, so that no time is spent on what is not looked at."""
    flags = np.full(folder.shape[0], Flag.FINAL, dtype=np.uint8)
    flags[list(slices)] = Flag.NOT_YET
    np.save(folder.path / "finished.npy", flags)


class _Watch:
    """Times the slices of a run, keeps its warnings, and tells how far it is beyond where it began."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._began = time.monotonic()
        self._before: float | None = None
        self._finals: list[float] = []
        self.warnings: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, SliceDone) and not event.draft:
            self._finals.append(time.monotonic() - self._began)
        elif isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, Progress):
            if self._before is None:
                self._before = event.fraction
            rest = 1 - self._before
            self._tell((event.fraction - self._before) / rest if rest else 1.0)

    def seconds(self, count: int) -> tuple[float, float]:
        """Seconds to the first slice and for each further one, given how many there were."""
        if not self._finals:  # the worker died after its last word and was believed
            return time.monotonic() - self._began, 0.0
        first, last = self._finals[0], self._finals[-1]
        return round(first, 3), round((last - first) / (count - 1), 4) if count > 1 else 0.0


def counts_of(case: Case, rows: Sequence[int], masks: np.ndarray) -> np.ndarray:
    """Voxels in the truth, in the result and in both, as `Outcome` holds them; `rows` are the held-out slices."""
    counts = np.zeros((len(rows), len(case.structures), 3), dtype=np.int64)
    for column, structure in enumerate(case.structures):
        support = case.supports[structure.layer]
        for number, row in enumerate(rows):
            if support.known[row, structure.place]:
                truth = support.masks[row] == structure.segment.value
                result = masks[structure.layer, number] == structure.segment.value
                counts[number, column] = truth.sum(), result.sum(), (truth & result).sum()
    return counts
