"""Fills of several layers, one worker after the other: their order, overall progress and combined result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import InputError, Message
from ..core.events import Cancelled, Event, Finished, Progress, Stage, Unfinished, Warned
from ..core.expected_dice import ExpectedDice
from ..core.slice_axis import SliceAxis
from ..core.sparse_array import sparse_zeros
from ..core.volume import LabelMap, Volume, names_by_value
from ..engines.registry import engine_class
from .fingerprints import fingerprints
from .planning import PlannedRun
from .process import run_in_worker
from .run_folder import JobFolder


@dataclass(frozen=True)
class LayerRun:
    """Task of one worker: a layer, or only its drafts."""

    layer: int
    drafts_only: bool = False


@dataclass(frozen=True, kw_only=True)
class FilledLayers:
    """Result of the runs of all layers.

    Attributes
    ----------
    layers : list of LabelMap
        Filled layers, in the given order.
    confidence : float32 ndarray [k, j, i]
        Confidence of the least certain layer, 0..1.
    expected_dice : list of (str, ExpectedDice)
        Segment name and expected Dice, from engines that estimate it.
    """

    layers: list[LabelMap]
    confidence: np.ndarray
    expected_dice: list[tuple[str, ExpectedDice]]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The segmentation that `fill` of the Python API returns.

    Attributes
    ----------
    layers : tuple of LabelMap
        On the volume's grid; one, or several where segments overlap. Labelled slices are as they were given.
    confidence : float32 ndarray [k, j, i]
        0..1; 1 on labelled slices.
    expected_dice : dict of str to ExpectedDice
        By name of the segment, over the slices that were filled; empty if the engine does not estimate it.
    engine : str
        Name of the engine that filled the slices; the engine that 'auto' chose.
    axis : SliceAxis
        Axis of the labelled slices.
    plane : str
        The axis in anatomical words, such as 'coronal', or 'oblique coronal' where the volume is tilted.
    labelled_slices, filled_slices : tuple of int
        Array indices along the axis, from 0.
    notes : tuple of Message
        What was done to the labels to fit the volume, and input that may be of another patient or position. Each has
        a `code`; `str()` makes a sentence of it.
    """

    layers: tuple[LabelMap, ...]
    confidence: np.ndarray = field(repr=False)
    expected_dice: dict[str, ExpectedDice]
    engine: str
    axis: SliceAxis
    plane: str
    labelled_slices: tuple[int, ...]
    filled_slices: tuple[int, ...]
    notes: tuple[Message, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Label values [k, j, i].

        Raises
        ------
        InputError
            Segments overlap; use `layers`.
        """
        if len(self.layers) > 1:
            raise InputError("labels_several")
        return self.layers[0].array


def layer_runs(engine: str, layers: int) -> list[LayerRun]:
    """Order of the workers. All layers are drafted before any is refined, so that a stopped run has all layers."""
    runs = [LayerRun(layer) for layer in range(layers)]
    if layers > 1 and engine_class(engine).makes_drafts():
        return [LayerRun(layer, drafts_only=True) for layer in range(layers)] + runs
    return runs


def fill_layers(
    runs: Sequence[PlannedRun],
    layers: Sequence[LabelMap],
    volume: Volume,
    folder: Path,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    resume: bool = False,
    seconds_after: float = 0.0,
) -> FilledLayers:
    """Run every planned layer in a worker process and combine the results.

    Parameters
    ----------
    runs : sequence of PlannedRun
        From `plan`. Layers without a run are empty in the result.
    layers : sequence of LabelMap
        The layers that were planned.
    volume : Volume
    folder : Path
        Run folder.
    on_event : function
        Receives the events of all workers as those of one run.
    resume : bool
        Whether to resume the run in `folder`.
    seconds_after : float
        Time that the caller expects to need after the run; included in the remaining time.

    Raises
    ------
    InputError
        The folder is in use or holds another run.
    Unfinished
        The run was cancelled or failed.
    """
    folders = _open_or_create(folder, runs, volume, resume)
    order, overall = layer_runs(runs[0].job.engine, len(runs)), OverallProgress(len(runs), seconds_after)
    for run in order:
        last = run is order[-1]
        ending = run_in_worker(folders[run.layer], overall.reporter(run, last, on_event), drafts_only=run.drafts_only)
        if not last and folders[run.layer].cancel_requested():  # requested after the worker had ended
            ending = Cancelled()
        if not isinstance(ending, Finished):
            raise Unfinished(ending)
    return _assembled(runs, layers, folders, volume)


class OverallProgress:
    """Progress of all layers as that of one run.

    Parameters
    ----------
    layers : int
    seconds_after : float
        Expected time of what follows the last layer.
    """

    def __init__(self, layers: int, seconds_after: float = 0.0) -> None:
        self._seconds_after = seconds_after
        self._layers: list[Progress | None] = [None] * layers
        self._run: LayerRun | None = None
        self._began = 0.0
        self._fraction = 0.0
        self._warnings: set[str] = set()

    def reporter(self, run: LayerRun, last: bool, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """Receiver of a layer's events that forwards them as events of the overall run: one slice count, one end.

        Equal warnings of several layers are forwarded once.
        """

        def report(event: Event) -> None:
            if isinstance(event, Progress):
                event = self.updated(run, event)
            if isinstance(event, Warned):
                if event.message in self._warnings:
                    return
                self._warnings.add(event.message)
            if last or not isinstance(event, Finished):
                on_event(event)

        return report

    def updated(self, run: LayerRun, progress: Progress) -> Progress:
        """Overall progress, given the latest of one layer."""
        if run != self._run:
            self._run, self._began = run, time.monotonic()
        self._layers[run.layer] = progress
        reported = [layer for layer in self._layers if layer is not None]
        count = len(self._layers)
        done, total = sum(layer.done for layer in reported), count * progress.total
        self._fraction = max(self._fraction, sum(layer.fraction for layer in reported) / count)
        stage = Stage.FILLING
        if any(layer.stage != Stage.FILLING for layer in reported):
            stage = Stage.DRAFTING if done < total else Stage.REFINING
        drafts = sum(layer.drafts for layer in reported)
        return Progress(
            done=done,
            total=total,
            eta=self._seconds_left(run, progress.eta),
            fraction=round(self._fraction, 4),
            drafts=drafts,
            stage=stage,
        )

    def _seconds_left(self, run: LayerRun, eta: float | None) -> float | None:
        """Remaining time of the overall run; the following layers are expected to take as long as this one."""
        if eta is None or run.drafts_only:
            return None
        layers_left = len(self._layers) - run.layer - 1
        return round(eta + self._seconds_after + layers_left * (time.monotonic() - self._began + eta), 2)


def _assembled(
    runs: Sequence[PlannedRun], layers: Sequence[LabelMap], folders: Sequence[JobFolder], volume: Volume
) -> FilledLayers:
    filled = [layer.with_array(sparse_zeros(layer.array.shape, layer.array.dtype)) for layer in layers]
    confidence = np.ones(volume.geometry.shape, dtype=np.float32)
    expected = []
    for run, folder in zip(runs, folders, strict=True):
        filled[run.layer] = layers[run.layer].with_array(folder.assemble_labels(run.support))
        folder.lower_confidence(confidence, run.support)
        names = names_by_value(layers[run.layer].segments)
        expected += [(names[label_dice.label], label_dice) for label_dice in folder.expected()]
    return FilledLayers(layers=filled, confidence=confidence, expected_dice=expected)


def _open_or_create(path: Path, runs: Sequence[PlannedRun], volume: Volume, resume: bool) -> list[JobFolder]:
    """The layers of a folder to resume, or of a new one.

    Raises
    ------
    InputError
        The folder is in use and `resume` is false, or it holds another job.
    """
    supports = [run.support for run in runs]
    if not (resume and JobFolder.holds_job(path)):
        return JobFolder.create_layers(path, [run.job for run in runs], volume, supports)
    folders = JobFolder.open_layers(path)
    if len(folders) != len(runs):
        raise InputError("job_differs", path=path, what=Message("run_other_input"))
    for folder, run, digest in zip(folders, runs, fingerprints(volume, supports), strict=True):
        folder.require_same_input(run.job, digest)
    folders = JobFolder.reopen_layers(path)
    for folder, run in zip(folders, runs, strict=True):
        folder.set_budget(run.job.budget)
    return folders
