"""`fill`: the slices between labelled ones."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.clean_up import CleanUpRule, clean_ups_by_value
from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.job import Device
from ..core.layers import merge_disjoint
from ..core.results import write_results
from ..core.signals import ignore_signals
from ..core.slice_axis import AxisChoice, parse_axis
from ..core.volume import LabelMap, Volume
from ..datasets.task.filling import plan_with_task
from ..datasets.task.library import task_folder
from ..datasets.task.task import Task, read_task
from ..io.files import (
    image_suffix,
    merge_layers,
    read_volume,
    require_creatable_file,
    require_not_input,
    require_writable,
)
from ..io.ignored_labels import ignored_label_notes
from ..io.label_names import sidecar_path
from ..io.slice_picture import require_pillow
from ..jobs.planning import EngineSettings, FillRequest, PlannedRun, SliceRange, plan
from .activity_indicator import activity_indicator
from .arguments import (
    add_clean_up,
    add_engine,
    add_input,
    add_progress,
    add_settings,
    add_task,
    parse_clean_up,
    parse_engine_options,
    parse_labelled_slices,
    parse_slice_range,
    parse_time_limit,
)
from .consent import add_overwrite, require_different, require_free
from .fill_results import FilledVolume, warn_of_poor
from .labels import add_label_names, add_regrid_options, print_note, read_further, read_labels
from .running import run_all


def add_arguments(fill: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    fill.set_defaults(command=_fill)
    add_input(fill, "slices to fill", None, support_optional=True)
    add_task(fill, "whose model is used; SUPPORT may then be left out")
    add_regrid_options(fill)
    add_label_names(fill)
    fill.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="label map to write")
    add_overwrite(fill)
    add_engine(fill)
    fill.add_argument("--confidence", metavar="OUT2", type=Path, help="also write the confidence, 0..1")
    add_settings(fill)
    fill.add_argument(
        "--preview", metavar="OUT3.png", type=Path, help="also write a picture of filled slices, least certain first"
    )
    fill.add_argument(
        "--statistics",
        metavar="OUT4.csv",
        type=Path,
        help="also write voxels and ml of each label, with a range of ml",
    )
    add_clean_up(fill)
    fill.add_argument("--budget", metavar="SECONDS", help="time limit, in seconds (ignored by engines without one)")
    add_progress(fill)
    fill.add_argument("--job-dir", metavar="DIR", type=Path, help="folder in which the run is kept, for --resume")
    fill.add_argument("--resume", action="store_true", help="continue the run in --job-dir if there is one")


def _fill(options: argparse.Namespace) -> int:
    arguments = _parse(options)
    _require_outputs(options)
    task = read_task(task_folder(options.task)) if options.task else None
    volume, layers, reading_seconds = _read(options)
    plan = _plan(options, arguments, volume, layers, task)
    for note in ignored_label_notes(layers, plan.runs[0].support):
        print_note(note)
    began = time.monotonic()
    # Writing is expected to take about as long as reading, since it packs as many voxels.
    result = run_all(
        plan.runs,
        plan.layers,
        volume,
        options.progress,
        options.job_dir,
        resume=options.resume,
        seconds_after=reading_seconds,
    )
    filled = FilledVolume.of(plan.runs[0], plan.restore(result.layers), result, arguments.clean_ups)
    results = filled.results(options, volume)
    with activity_indicator(options.progress, "Writing"), ignore_signals():
        write_results(results)
    if options.progress != "json":
        filled.print_summary(options.output, volume.geometry, time.monotonic() - began)
    warn_of_poor(plan.runs, result, as_events=options.progress == "json")
    return ExitCode.DONE


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """Arguments of the command that are more than a path or a flag."""

    axis: AxisChoice | None
    labelled_slices: list[int] | None
    slices: SliceRange
    clean_ups: tuple[CleanUpRule, ...]
    settings: EngineSettings


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Runs, the layers that they fill, and how these become label maps with the values of the file."""

    runs: list[PlannedRun]
    layers: list[LabelMap]
    restore: Callable[[Sequence[LabelMap]], list[LabelMap]]


def _parse(options: argparse.Namespace) -> _Arguments:
    """Check the arguments, before anything is read."""
    axis = parse_axis(options.axis)
    labelled_slices = parse_labelled_slices(options.labelled_slices)
    slices = parse_slice_range(options.slices or ("all" if options.task else "between"))
    budget = parse_time_limit(options.budget)
    clean_ups = parse_clean_up(options.clean_up)
    engine_options = parse_engine_options(options.engine, options.settings)
    if options.resume and not options.job_dir:
        raise InputError("resume_needs_folder")
    return _Arguments(
        axis=axis,
        labelled_slices=labelled_slices,
        slices=slices,
        clean_ups=clean_ups,
        settings=EngineSettings(options.engine, engine_options, Device(options.device), budget),
    )


def _require_outputs(options: argparse.Namespace) -> None:
    """Raise `InputError` unless every file to be written can be, and replaces no input."""
    outputs = [path for path in (options.output, options.confidence) if path]
    if options.confidence and image_suffix(options.confidence) == ".seg.nrrd":
        raise InputError("confidence_no_labels", path=options.confidence)
    if options.support is None and options.task is None:
        raise InputError("support_missing")
    if options.preview:
        require_pillow()
    extras = [path for path in (options.preview, options.statistics) if path]
    for path, suffix in ((options.preview, ".png"), (options.statistics, ".csv")):
        if path and path.suffix.lower() != suffix:
            raise InputError("suffix_unknown", path=path, allowed=suffix)
    require_different(
        {
            "--output": options.output,
            "--confidence": options.confidence,
            "--preview": options.preview,
            "--statistics": options.statistics,
            "--job-dir": options.job_dir,
        }
    )
    inputs = [path for path in (options.image, options.support, options.label_names, *options.also) if path]
    for path in outputs:
        require_writable(path, *inputs, named=path is options.output)
    for path in extras:
        require_not_input(path, *inputs)
        require_creatable_file(path)
    names = [] if image_suffix(options.output) == ".seg.nrrd" else [sidecar_path(options.output)]
    require_free(options, *outputs, *extras, *names)


def _read(options: argparse.Namespace) -> tuple[Volume, list[LabelMap], float]:
    """Volume, layers of labels on its grid, and the seconds that reading the volume took."""
    began = time.monotonic()
    with activity_indicator(options.progress, "Reading"):
        volume = read_volume(options.image, options.series)
        seconds = time.monotonic() - began
        volume = read_further(volume, options)
        layers = [] if options.support is None else read_labels(options.support, volume, options)
    if len(layers) > 1 and (options.task or image_suffix(options.output) != ".seg.nrrd"):
        layers = [merge_layers(layers, "labels.nii.gz" if options.task else options.output)]
    return volume, layers, seconds


def _plan(
    options: argparse.Namespace, arguments: _Arguments, volume: Volume, layers: list[LabelMap], task: Task | None
) -> _Plan:
    """Plan the fill, by the model of a task if one is given; check the labels that are to be cleaned up."""
    merged = merge_disjoint(layers)
    if task is None:
        clean_ups_by_value(arguments.clean_ups, [segment for layer in layers for segment in layer.segments])
    request = FillRequest(
        volume=volume,
        layers=merged.layers,
        axis=arguments.axis,
        labelled_slices=arguments.labelled_slices,
        slices=arguments.slices,
        settings=arguments.settings,
        complete=not options.partial,
        source=options.support or options.image,
    )
    with activity_indicator(options.progress, "Planning"):
        if task is None:
            return _Plan(runs=plan(request), layers=merged.layers, restore=merged.restore)
        by_task = plan_with_task(request, task)
    clean_ups_by_value(arguments.clean_ups, by_task.filled(by_task.label_map.array).segments)
    return _Plan(
        runs=[by_task.run],
        layers=[by_task.label_map],
        restore=lambda filled: [by_task.filled(filled[0].array)],
    )
