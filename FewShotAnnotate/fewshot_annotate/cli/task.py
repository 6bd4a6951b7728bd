"""`task`: labelling jobs with their labelled examples and the models trained on them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.slice_axis import SliceAxis, parse_axis, resolve_axis
from ..core.support import Support
from ..core.text import printable
from ..datasets.accepted_examples import add_accepted
from ..datasets.batch_folder import BatchFolder
from ..datasets.ranking import rank_batch
from ..datasets.task.adding import Provenance, add_example, remove_example, sparsely_labelled_slices
from ..datasets.task.example import LabelOrigin, TaskExample
from ..datasets.task.library import create_task, remove_task, task_folder
from ..datasets.task.models import TaskModel, newest_model, task_models
from ..datasets.task.segments import task_segments
from ..datasets.task.task import Task, read_task
from ..io.files import read_segments, read_volume
from .activity_indicator import activity_indicator
from .arguments import add_axis, add_labelled_slices, add_series, parse_count, parse_labelled_slices
from .consent import add_yes, require_yes
from .labels import add_regrid_options, print_note
from .messages import error_text, print_refused
from .task_actions import add_action, add_export_and_import, print_tasks, read_one_label_map, segment_names
from .terminal import case_count, table_console, text_table
from .training import add_train_arguments, print_expected_dice


def add_arguments(task: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = task.add_subparsers(required=True, metavar="ACTION")
    create = add_action(actions, "create", "create a task", _create)
    create.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="segments: a JSON file of names by label value, or a label map (default: those of the first example)",
    )
    listing = actions.add_parser("list", help="all tasks")
    listing.set_defaults(command=_list)
    add_action(actions, "show", "segments, examples and models of a task, with the expected Dice", _show)
    _add_example_arguments(add_action(actions, "add", "add a labelled case, or the accepted cases of a batch", _add))
    add_train_arguments(actions.add_parser("train", help="train a model on the examples of a task"))
    next_case = add_action(actions, "next", "which filled case of a batch to review next, and why", _next)
    next_case.add_argument("batch", metavar="BATCH_DIR", type=Path, help="folder of a batch")
    next_case.add_argument("--count", metavar="N", default="5", help="maximum number of cases (default: %(default)s)")
    add_export_and_import(actions, _summary)
    remove = add_action(actions, "remove", "remove a task, or one of its examples", _remove)
    remove.add_argument("--example", metavar="NUMBER", help="remove this example only")
    add_yes(remove)


def _add_example_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "image",
        metavar="IMAGE",
        type=Path,
        help="any image file SimpleITK reads, or a DICOM folder; or folder of a batch, without LABELS",
    )
    add.add_argument(
        "labels", metavar="LABELS", type=Path, nargs="?", help="label map of the image, or DICOM segmentation"
    )
    extent = add.add_mutually_exclusive_group()
    add_labelled_slices(extent, "the whole volume is labelled")
    extent.add_argument("--whole", action="store_true", help="all slices are labelled, even if few have labels")
    add_axis(add)
    add.add_argument(
        "--origin",
        choices=[str(origin) for origin in LabelOrigin],
        default=str(LabelOrigin.PAINTED),
        help="who made the labels: painted by a person, or filled and then corrected, or accepted as they were "
        "(default: %(default)s)",
    )
    add.add_argument(
        "--patient",
        metavar="PSEUDONYM",
        default="",
        help="the same pseudonym for all images of a patient; only a digest is kept",
    )
    add_regrid_options(add)
    add_series(add)


def _create(options: argparse.Namespace) -> int:
    named = [] if options.labels is None else read_segments(options.labels)
    if options.labels is not None and not named:
        raise InputError("task_no_segments", path=options.labels)
    task = create_task(options.name, task_segments(named))
    if [segment.value for segment in named] != [segment.value for segment in task.segments]:
        print_note(
            "Label values of the task count from 1 (fewshot-annotate task show); labels without names need these."
        )
    print(
        f"{printable(task.name)}: {segment_names(task) or 'segments of the first example'}\n{printable(task.folder)}"
    )
    return ExitCode.DONE


def _list(_options: argparse.Namespace) -> int:
    print_tasks(["examples", "slices", "plane", "labels", "models", "expected Dice"], _row)
    return ExitCode.DONE


def _row(task: Task) -> list[str]:
    models = [model for model in task_models(task) if model.report is not None]
    return [
        str(len(task.examples)),
        str(sum(example.slice_count for example in task.examples) + len(task.slices)),
        task.plane,
        segment_names(task),
        str(len(models)),
        _mean_dice(models[-1]) if models else "",
    ]


def _show(options: argparse.Namespace) -> int:
    task = read_task(task_folder(options.name))
    for table in _tables(task):
        table_console().print(table)
    if task.slices:
        print(f"{len(task.slices)} {task.plane} slices without their volumes (fewshot-annotate library show).")
    model = newest_model(task)
    if model is not None:
        print_expected_dice(model, task)
    print(f"{printable(task.name)}: {segment_names(task)}\n{printable(task.folder)}")
    return ExitCode.DONE


def _tables(task: Task) -> Iterator[Any]:
    if task.segments:
        segments = text_table("value", "segment", "ml, mean of examples")
        for segment in task.segments:
            counts = [
                example.voxels[segment.value - 1] * example.geometry.voxel_ml
                for example in task.examples
                if example.is_complete
            ]
            mean = f"{sum(counts) / len(counts):.3g}" if counts else ""
            segments.add_row(str(segment.value), printable(segment.name), mean)
        yield segments
    if task.examples:
        examples = text_table("example", "size", "spacing mm", "labelled", "by", "engine", "added", "version")
        for example in task.examples:
            examples.add_row(
                example.number,
                "x".join(map(str, example.geometry.shape[::-1])),
                "x".join(f"{size:.3g}" for size in example.geometry.spacing),
                _labelled(example),
                _shares(example.origins),
                example.engine,
                example.added,
                example.program,
            )
        yield examples
    trained = task_models(task)
    if trained:
        models = text_table("model", "examples", "patients", "steps", "seconds", "expected Dice", "version")
        for model in trained:
            report = model.report
            figures = (
                ("", "", "", "in training" if model.in_training else "damaged")
                if report is None
                else (str(report.patients), str(report.steps), f"{report.seconds:.0f}", _mean_dice(model))
            )
            models.add_row(model.number, str(model.record.examples), *figures, model.record.program)
        yield models


def _shares(origins: Mapping[LabelOrigin, int]) -> str:
    total = sum(origins.values()) or 1
    return ", ".join(f"{origin} {count / total:.0%}" for origin, count in origins.items() if count)


def _mean_dice(model: TaskModel) -> str:
    mean = None if model.report is None else model.report.mean_expected_dice
    return "one patient only" if mean is None else f"{mean:.3f}"


def _add(options: argparse.Namespace) -> int:
    folder = task_folder(options.name)
    if options.labels is None:
        return _add_batch(options, folder)
    labelled = parse_labelled_slices(options.labelled_slices)
    with activity_indicator("bar", "Reading"):
        volume = read_volume(options.image, options.series)
        label_map = read_one_label_map(options, volume)
    if label_map is None:
        raise InputError("task_overlaps", path=options.labels)
    axis = resolve_axis(parse_axis(options.axis), volume.geometry)
    if labelled is not None:
        axis = Support.from_label_map(label_map, axis, labelled, path=options.labels).axis
    elif not options.whole and (labelled := sparsely_labelled_slices(label_map)):
        raise InputError("task_sparsely_labelled", path=options.labels, slices=",".join(map(str, labelled)))
    slices = volume.geometry.shape[0] if labelled is None else len(labelled)
    with activity_indicator("bar", "Adding"):
        added = add_example(
            folder,
            volume,
            label_map,
            axis=axis,
            labelled_slices=labelled,
            provenance=Provenance(origins={LabelOrigin(options.origin): slices}, patient=options.patient),
            path=options.labels,
        )
    if added.replaced:
        _note_replaced(options.image)
    print(_summary(added.task))
    return ExitCode.DONE


def _add_batch(options: argparse.Namespace, folder: Path) -> int:
    with activity_indicator("bar", "Adding"):
        result = add_accepted(folder, BatchFolder(options.image))
    for name in result.replaced:
        _note_replaced(name)
    print_refused(result.refused, options)
    counts = Counter(example.digest for _, example in result.added)
    for digest, count in counts.items():
        if count > 1:
            same = ", ".join(name for name, example in result.added if example.digest == digest)
            print_note(f"{same}: these cases have the same image; the labels of the last one are kept.")
    cases = case_count(len(result.added))
    print(f"{_summary(read_task(folder))}; {cases} added, {result.waiting} not accepted yet")
    if not result.refused:
        return ExitCode.DONE
    return ExitCode.FAILED if result.added else ExitCode.BAD_INPUT


def _note_replaced(image: object) -> None:
    print_note(f"{image}: this image was in the task already; its labels were replaced.")


def _summary(task: Task) -> str:
    count = len(task.examples)
    return f"{printable(task.name)}: {count} {'example' if count == 1 else 'examples'}, {segment_names(task)}"


def _labelled(example: TaskExample) -> str:
    """What of an example is labelled."""
    if example.axis is None:
        return "whole"
    return f"{example.slice_count} slices of {SliceAxis(example.axis).describe(example.geometry)}"


def _next(options: argparse.Namespace) -> int:
    count = parse_count(options.count, "cases")
    with activity_indicator("bar", "Comparing the cases"):
        ranked, unreadable = rank_batch(BatchFolder(options.batch), read_task(task_folder(options.name)))
    print_refused(unreadable, options)
    for entry in ranked[:count]:
        print(f"{printable(entry.case.name)}: {printable(error_text(entry.reason))}")
    if not ranked:
        print("No filled case waits for its review.")
    return ExitCode.DONE


def _remove(options: argparse.Namespace) -> int:
    example = f"example {options.example} of task" if options.example else "task"
    require_yes(options, printable(f"{example} '{options.name}'"))
    if options.example:
        print(_summary(remove_example(task_folder(options.name), options.example)))
    else:
        remove_task(options.name)
    return ExitCode.DONE
