"""`fill`: the slices between labelled ones."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..core.clean_up import clean_up_layers, clean_ups_by_value
from ..core.errors import InputError
from ..core.events import Warned
from ..core.exit_codes import ExitCode
from ..core.job import Device
from ..core.layers import merge_disjoint
from ..core.results import Result, write_results
from ..core.signals import ignore_signals
from ..core.slice_axis import labelled_indices, parse_axis
from ..core.storage import write_bytes
from ..core.text import printable
from ..core.volume import LabelMap
from ..datasets.task.filling import plan_with_task
from ..datasets.task.library import task_folder
from ..datasets.task.task import read_task
from ..engines.pretrained.engine_weights import weights_in_use
from ..evaluation.label_statistics import label_statistics, statistics_csv
from ..export.algorithm import PRODUCT, Algorithm, tagged
from ..guidance.contact_sheet import contact_sheet, least_certain
from ..guidance.poor_dice import poor_labels
from ..io.files import (
    image_suffix,
    merge_layers,
    read_channels,
    read_volume,
    require_writable,
    write_array,
    write_label_maps,
)
from ..jobs.layers import FilledLayers
from ..jobs.planning import EngineSettings, FillRequest, PlannedRun, plan
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
from .consent import add_overwrite, require_free
from .labels import add_label_names, add_regrid_options, read_labels
from .running import run_all
from .sign_of_life import sign_of_life


def add_arguments(fill: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    fill.set_defaults(command=_fill)
    add_input(fill, "what to fill", None, support_optional=True)
    add_task(fill, "use the model of this task; SUPPORT may be left out then")
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
        "--statistics", metavar="OUT4.csv", type=Path, help="also write voxels and ml of each label, with their range"
    )
    add_clean_up(fill)
    fill.add_argument("--budget", metavar="SECONDS", help="time limit; a result is better with more time")
    add_progress(fill)
    fill.add_argument("--job-dir", metavar="DIR", type=Path, help="keep the job's files here")
    fill.add_argument("--resume", action="store_true", help="continue the job in --job-dir if there is one")


def _fill(options: argparse.Namespace) -> int:
    axis = parse_axis(options.axis)
    labelled = parse_labelled_slices(options.labelled_slices)
    slices = parse_slice_range(options.slices or ("all" if options.task else "between"))
    budget = parse_time_limit(options.budget)
    rules = parse_clean_up(options.clean_up)
    settings = parse_engine_options(options.engine, options.settings)
    if options.resume and not options.job_dir:
        raise InputError("resume_needs_folder")
    outputs = [path for path in (options.output, options.confidence) if path]
    if options.confidence and image_suffix(options.confidence) == ".seg.nrrd":
        raise InputError("confidence_no_labels", path=options.confidence)
    if options.support is None and options.task is None:
        raise InputError("support_missing")
    extras = [path for path in (options.preview, options.statistics) if path]
    for path, suffix in ((options.preview, ".png"), (options.statistics, ".csv")):
        if path and path.suffix.lower() != suffix:
            raise InputError("suffix_unknown", path=path, allowed=suffix)
    inputs = [path for path in (options.image, options.support, *options.also) if path]
    for number, path in enumerate(outputs):
        require_writable(path, *inputs, *outputs[:number], named=path is options.output)
    require_free(options, *outputs, *extras)
    task = read_task(task_folder(options.task)) if options.task else None
    began_reading = time.monotonic()
    with sign_of_life(options.progress, "Reading"):
        volume = read_channels(read_volume(options.image, options.series), options.also)
        layers = [] if options.support is None else read_labels(options.support, volume, options)
    # Writing is expected to take about as long, since it packs as many voxels.
    writing_seconds = time.monotonic() - began_reading
    if len(layers) > 1 and (task is not None or image_suffix(options.output) != ".seg.nrrd"):
        layers = [merge_layers(layers, "labels.nii.gz" if task else options.output)]
    merged = merge_disjoint(layers)
    if task is None:
        clean_ups_by_value(rules, [segment for layer in layers for segment in layer.segments])
    request = FillRequest(
        volume=volume,
        layers=merged.layers,
        axis=axis,
        labelled_slices=labelled,
        slices=slices,
        settings=EngineSettings(options.engine, settings, Device(options.device), budget),
        complete=not options.partial,
        source=options.support or options.image,
    )
    with sign_of_life(options.progress, "Planning"):
        by_task = None if task is None else plan_with_task(request, task)
        runs = plan(request) if by_task is None else [by_task.run]
    if by_task is not None:
        clean_ups_by_value(rules, by_task.filled(by_task.label_map.array).segments)
    _warn_of_unnamed(runs[0], layers)
    began = time.monotonic()
    result = run_all(
        runs, merged.layers if by_task is None else [by_task.label_map], volume, options, writing_seconds
    )
    job = runs[0].job
    made_by = Algorithm(f"{PRODUCT} {job.engine}", __version__, weights_in_use(job.engine, job.options))
    filled = merged.restore(result.layers) if by_task is None else [by_task.filled(result.layers[0].array)]
    filled, confidence = clean_up_layers(filled, result.confidence, rules, runs[0].support, job.slices)
    labels = tagged(filled, made_by)
    results: list[Result] = [(options.output, lambda path: write_label_maps(path, labels))]
    if options.confidence:
        results.append((options.confidence, lambda path: write_array(path, confidence, volume.geometry)))
    support, expected = runs[0].support, dict(result.expected_dice)
    if options.preview:
        shown = least_certain(labels[0].array, confidence, support.axis, job.slices)
        results.append(
            (
                options.preview,
                lambda path: contact_sheet(path, volume, labels[0], support.axis, shown, support.indices),
            )
        )
    if options.statistics:
        rows = label_statistics(labels, expected, support.axis, job.slices)
        results.append((options.statistics, lambda path: write_bytes(path, statistics_csv(rows))))
    with sign_of_life(options.progress, "Writing"), ignore_signals():
        write_results(results)
    if options.progress != "json":
        count = len(job.slices)
        print(
            f"{printable(options.output)}: {count} slices filled, {len(support.indices)} were labelled "
            f"({support.axis.describe(volume.geometry)}, engine {job.engine}) in {time.monotonic() - began:.1f} s"
        )
        for name, dice in result.expected_dice:
            likely = f"9 times of 10 from {dice.low:.3f} to {dice.high:.3f}"
            print(f"  Expected Dice {printable(name):<14} {dice.dice:.3f}  ({likely})")
    _warn_of_poor(runs, result, options.progress == "json")
    return ExitCode.DONE


def _warn_of_poor(runs: Sequence[PlannedRun], result: FilledLayers, as_events: bool) -> None:
    """Say which labels have a low expected Dice, and which slice to label next; events name no segment."""
    dice_by_name = dict(result.expected_dice)
    for run, layer in zip(runs, result.layers, strict=False):
        axis, names = run.support.axis, {segment.value: segment.name for segment in layer.segments}
        expected = [replace(dice_by_name[name], label=value) for value, name in names.items() if name in dice_by_name]
        labels, confidence = axis.slices(layer.array), axis.slices(result.confidence)
        for poor in poor_labels(run.support, expected, labels, confidence, run.job.slices):
            name = f"label {poor.label}" if as_events else printable(names[poor.label])
            message = poor.message(name)
            print(Warned.of(message).to_line() if as_events else f"  {message}")


def _warn_of_unnamed(run: PlannedRun, layers: Sequence[LabelMap]) -> None:
    """Say which slices hold labels but are not among the named ones: what was painted there does not count."""
    held = {index for layer in layers for index in labelled_indices(layer.array, run.support.axis)}
    unnamed = sorted(held - set(run.support.indices))
    if unnamed:
        listed = ", ".join(map(str, unnamed[:10])) + (" ..." if len(unnamed) > 10 else "")
        print(
            f"fewshot-annotate: labels on slices not named do not count and are replaced: {listed}.",
            file=sys.stderr,
        )
