"""The main job without a GUI: label maps with a few labelled slices in, filled label maps out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.axis import SliceAxis
from ..core.errors import InputError
from ..core.event import Event, Failed
from ..core.interrupts import on_first_interrupt
from ..core.job import Device, Job, is_budget
from ..core.support import Support
from ..core.volume import LabelMap, Volume
from ..engines import runnable_engine
from .folder import JobFolder
from .process import WorkerProcess

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class FillRequest:
    """What to fill and how.

    Attributes
    ----------
    layers : sequence of LabelMap
        With the labelled slices; overlapping segments lie in several layers, each filled on its own.
    axis : SliceAxis or None
        None: found from the labels.
    labelled_slices : sequence of int or None
        None: the slices that hold any label of any layer.
    slices : 'between', 'all' or (start, stop)
    budget : float or None
        Seconds for all layers together, None for as long as it takes.
    complete : bool
        Whether a label that is not on a labelled slice is absent there; else it may just not be painted there.
    source : object
        Names the labels in errors.
    """

    volume: Volume
    layers: Sequence[LabelMap]
    axis: SliceAxis | None = None
    labelled_slices: Sequence[int] | None = None
    slices: str | tuple[int, int] = "between"
    engine: str = "auto"
    device: Device = Device.AUTO
    options: dict[str, Any] = field(default_factory=dict)
    budget: float | None = None
    complete: bool = True
    source: object = "The labels"


@dataclass(frozen=True)
class PlannedRun:
    """One layer's labels, ready to run."""

    layer: int
    job: Job
    support: Support


def plan(request: FillRequest) -> list[PlannedRun]:
    """One run for each layer that holds labels, all along the same axis and labelled slices, with equal time limits.

    Raises
    ------
    InputError
        No or one labelled slice, crossing axes, unknown engine or option, no time, nothing to fill.
    """
    if not is_budget(request.budget):
        raise InputError("budget_invalid", budget=request.budget)
    engine = runnable_engine(request.engine)
    engine(request.device, request.options)
    anything = np.zeros(request.volume.geometry.shape, dtype=np.uint8)
    for layer in request.layers:
        anything |= layer.array != 0
    labels = LabelMap(anything, request.volume.geometry)
    support = Support.from_label_map(labels, request.axis, request.labelled_slices, path=request.source)
    start, stop = _range(request, support)
    if not support.unlabelled(range(start, stop)):
        if len(support.indices) == 1 and request.slices == "between":
            raise InputError("one_labelled_slice", path=request.source, index=support.indices[0])
        raise InputError("nothing_to_fill", path=request.source, axis=support.axis.index)
    job = Job(engine.name, start, stop, request.device, dict(request.options), request.budget)
    held = [
        number
        for number, layer in enumerate(request.layers)
        if support.axis.slices(layer.array)[list(support.indices)].any()
    ]
    job = job.with_share(len(held))
    return [
        PlannedRun(
            number,
            replace(job, names=_names(request.layers[number])) if engine.uses_names else job,
            _layer_support(request, number, support),
        )
        for number in held
    ]


def _layer_support(request: FillRequest, number: int, union: Support) -> Support:
    """Support of one layer, on the labelled slices of all layers together."""
    layer = request.layers[number]
    support = Support.from_label_map(layer, union.axis, union.indices, path=request.source)
    return support if request.complete else support.partial(union.empty)


def _names(layer: LabelMap) -> dict[int, str]:
    return {segment.value: segment.name for segment in layer.segments}


def run_in_worker(
    folder: JobFolder,
    on_event: Callable[[Event], None],
    python: str = sys.executable,
    drafts_only: bool = False,
    check: Callable[[], object] = lambda: None,
) -> Event:
    """Run a folder in a worker process to its end and return that.

    The first Ctrl+C cancels and keeps finished slices, a second one kills the worker. `check` is called often; what
    it raises ends the run at once.
    """
    process = WorkerProcess(folder, python, drafts_only)
    try:
        process.start()
        with on_first_interrupt(process.cancel):
            while process.running:
                check()
                for event in process.poll():
                    on_event(event)
                time.sleep(POLL_SECONDS)
    finally:
        process.kill()
        process.wait(POLL_SECONDS)
    return process.ending or Failed("The worker did not start.")


def open_or_create(path: Path, run: PlannedRun, volume: Volume, resume: bool) -> JobFolder:
    """The job folder of a run: the one to continue, or a new one.

    Raises
    ------
    InputError
        The folder is used and `resume` is false, or it holds another job.
    """
    if resume and JobFolder.holds_job(path):
        JobFolder.open(path).require_same_input(run.job, volume, run.support)
        folder = JobFolder.reopen(path)
        folder.set_budget(run.job.budget)
        return folder
    return JobFolder.create(path, run.job, volume, run.support)


def _range(request: FillRequest, support: Support) -> tuple[int, int]:
    count = support.axis.count(request.volume.geometry)
    if request.slices == "between":
        between = support.range_between()
        return between.start, between.stop
    if request.slices == "all":
        return 0, count
    assert not isinstance(request.slices, str)
    start, stop = request.slices
    for index in (start, stop - 1):
        if not 0 <= index < count:
            raise InputError("slice_out_of_range", index=index, axis=support.axis.index, last=count - 1)
    return start, stop
