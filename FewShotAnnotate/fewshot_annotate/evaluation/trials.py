"""One trial of one engine: held-out slices are filled in a worker process, as by `fill`, and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import Message
from ..core.events import Cancelled, Event, Failed, Progress, SliceDone, Warned
from ..core.staged_folder import hidden_folder
from ..jobs.planning import EngineSettings, jobs_of_layers
from ..jobs.process import run_in_worker
from ..jobs.run_folder import JobFolder
from .case import ComparisonCase, support_subset
from .design import Trial

# Runs a job to its end, calls the function with its events, and returns its last event, as `run_in_worker` does.
Runner = Callable[[JobFolder, Callable[[Event], None]], Event]


@dataclass(frozen=True)
class TrialResult:
    """Result of one trial.

    Attributes
    ----------
    counts : int64 ndarray, shape [held-out slices, structures, 3]
        Number of voxels in the truth, in the result, and in both; 0 where the slice is not annotated for it.
    start_seconds : float
        From the start of the worker to the first final slice.
    slice_seconds : float
        Time per further slice.
    masks : uint16 ndarray, shape [layers, held-out slices, h, w]
        Predicted label values.
    warnings : tuple of str
        Warnings of the engine, without duplicates.
    """

    counts: np.ndarray
    start_seconds: float
    slice_seconds: float
    masks: np.ndarray
    warnings: tuple[str, ...] = ()


class EngineFailed(Exception):  # noqa: N818 (named for what happened)
    """The engine ended in an error.

    Parameters
    ----------
    content : Message or str
        Why: a sentence if the worker was of version 0.1.
    """

    def __init__(self, content: Message | str) -> None:
        super().__init__(str(content))
        self.content = content


class Interrupted(Exception):  # noqa: N818 (no error: requested by the user)
    """The user stopped the comparison; finished trials are kept."""


def run_trial(
    case: ComparisonCase,
    trial: Trial,
    settings: EngineSettings,
    working_folder: Path,
    on_progress: Callable[[float], None],
    runner: Runner | None = None,
) -> TrialResult:
    """Fill the held-out slices of a trial from its support, and count voxels.

    Parameters
    ----------
    case : ComparisonCase
    trial : Trial
    settings : EngineSettings
        The engine.
    working_folder : Path
        Existing folder for temporary files.
    on_progress : function
        Called with the fraction of the work that is done, 0..1. An exception from it ends the trial.
    runner : function, optional
        Runs a job in a worker process; by default `run_in_worker` with the Python that runs this.

    Raises
    ------
    EngineFailed, Interrupted
    InputError
        The working folder cannot be written.
    """
    slices = tuple(case.indices[support_index] for support_index in trial.held_out)
    masks = np.zeros((len(case.supports), len(slices), *case.supports[0].masks.shape[1:]), dtype=np.uint16)
    subsets = [support_subset(support, trial.support) for support in case.supports]
    shown = {number: support for number, support in enumerate(subsets) if support is not None}
    observers: list[_RunObserver] = []
    runner = runner or run_in_worker
    jobs = jobs_of_layers(settings, slices, [case.names(number, support.labels) for number, support in shown.items()])
    with hidden_folder(working_folder.parent, working_folder) as temporary:
        folders = JobFolder.create_layers(temporary / "job", jobs, case.volume, list(shown.values()))
        for position, (number, folder) in enumerate(zip(shown, folders, strict=True)):

            def share(fraction: float, position: int = position) -> None:
                on_progress((position + fraction) / len(shown))

            observers.append(_RunObserver(share))
            masks[number] = _fill(folder, observers[-1], runner)
    starts, steps = zip(*(observer.seconds(len(slices)) for observer in observers), strict=True)
    warnings = tuple(dict.fromkeys(message for observer in observers for message in observer.warnings))
    return TrialResult(count_voxels(case, trial.held_out, masks), sum(starts), sum(steps), masks, warnings)


def _fill(folder: JobFolder, observer: _RunObserver, runner: Runner) -> np.ndarray:
    """Fill the slices of a job; returns label values [slices, h, w]."""
    ending = runner(folder, observer)
    if folder.cancel_requested() or isinstance(ending, Cancelled):  # possibly after the end of the worker
        raise Interrupted
    if isinstance(ending, Failed):
        raise EngineFailed(_without_path(ending.content, folder.path))
    return np.stack([folder.result_slice(index) for index in folder.job.slices])


def _without_path(content: Message | str, path: Path) -> Message | str:
    """A message, or one within a message, in which a path within a temporary folder is only its last part."""
    if isinstance(content, str):
        return content.replace(str(path), path.name)
    texts = {name: value for name, value in content.data.items() if isinstance(value, str | Message)}
    return content.with_data(**{name: _without_path(text, path) for name, text in texts.items()})


class _RunObserver:
    """Receives the events of a run: times its slices, collects its warnings and reports its progress."""

    def __init__(self, on_progress: Callable[[float], None]) -> None:
        self._on_progress = on_progress
        self._began = time.monotonic()
        self._finals: list[float] = []
        self.warnings: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, SliceDone) and not event.draft:
            self._finals.append(time.monotonic() - self._began)
        elif isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, Progress):
            self._on_progress(event.fraction)

    def seconds(self, count: int) -> tuple[float, float]:
        """Seconds to the first slice and for each further one, of `count` slices."""
        if not self._finals:  # the worker reported its end without any slice
            return time.monotonic() - self._began, 0.0
        first, last = self._finals[0], self._finals[-1]
        return round(first, 3), round((last - first) / (count - 1), 4) if count > 1 else 0.0


def count_voxels(case: ComparisonCase, support_indices: Sequence[int], masks: np.ndarray) -> np.ndarray:
    """Number of voxels in the truth, in the result and in both, as in `TrialResult.counts`.

    `masks` are the label values of the results, `[layers, slices, h, w]`, in the order of `support_indices`.
    """
    counts = np.zeros((len(support_indices), len(case.structures), 3), dtype=np.int64)
    for column, structure in enumerate(case.structures):
        support = case.supports[structure.layer]
        for number, support_index in enumerate(support_indices):
            if support.annotated[support_index, structure.position]:
                truth = support.masks[support_index] == structure.segment.value
                result = masks[structure.layer, number] == structure.segment.value
                counts[number, column] = truth.sum(), result.sum(), (truth & result).sum()
    return counts
