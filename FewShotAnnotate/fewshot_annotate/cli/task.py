"""`task`: named labelling jobs with their examples and the models that are trained on them."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.slice_axis import parse_axis, resolve_axis
from ..core.support import Support
from ..core.text import printable
from ..datasets.batch_folder import BatchFolder
from ..datasets.ranking import rank_batch
from ..datasets.task.accepted import add_accepted
from ..datasets.task.adding import Added, Provenance, add_example, looks_painted, remove_example
from ..datasets.task.example import LabelOrigin
from ..datasets.task.library import create_task, library_folder, remove_task, task_folder, task_names
from ..datasets.task.library_file import export_task, import_task
from ..datasets.task.models import TaskModel, newest_model, task_models
from ..datasets.task.segments import task_segments
from ..datasets.task.task import Task, read_task
from ..io.files import merge_layers, read_volume
from ..io.label_names import read_segments
from .arguments import add_series, parse_count, parse_labelled_slices
from .consent import add_overwrite, add_yes, require_yes
from .labels import add_regrid_options, print_note, read_labels
from .messages import error_text
from .terminal import table_console
from .training import add_train_arguments


def add_arguments(task: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = task.add_subparsers(required=True, metavar="ACTION")
    create = _add_named(actions, "create", "begin a task", _create)
    create.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="segments: a JSON file of names by label value, or a label map (default: those of the first example)",
    )
    listing = actions.add_parser("list", help="all tasks")
    listing.set_defaults(command=_list)
    _add_named(actions, "show", "segments, examples and models of a task, and how well the models did", _show)
    _add_add(_add_named(actions, "add", "add a labelled case, or the accepted cases of a batch", _add))
    add_train_arguments(actions.add_parser("train", help="train a model on the examples of a task"))
    following = _add_named(actions, "next", "which filled case of a batch to review next, and why", _next)
    following.add_argument("batch", metavar="BATCH_DIR", type=Path, help="folder of a batch")
    following.add_argument("--count", metavar="N", default="5", help="at most so many cases (default: %(default)s)")
    export = _add_named(actions, "export", "write a task with its examples to one file", _export)
    export.add_argument("-o", "--output", metavar="FILE.zip", type=Path, required=True)
    add_overwrite(export, "FILE.zip")
    bring = actions.add_parser("import", help="make a task from a file that was exported")
    bring.set_defaults(command=_import)
    bring.add_argument("file", metavar="FILE.zip", type=Path)
    bring.add_argument("--name", metavar="TASK", help="call it so (default: as the file)")
    remove = _add_named(actions, "remove", "remove a task, or one of its examples", _remove)
    remove.add_argument("--example", metavar="NUMBER", help="remove this example only")
    add_yes(remove)


def _add_named(actions: Any, action: str, purpose: str, command: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(action, help=purpose)
    parser.set_defaults(command=command)
    parser.add_argument("name", metavar="TASK", help="name of the task, or path of its folder")
    return parser


def _add_add(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "image", metavar="IMAGE", type=Path, help="image file or DICOM folder; or folder of a batch, without LABELS"
    )
    add.add_argument("labels", metavar="LABELS", type=Path, nargs="?", help="label map of the image")
    what = add.add_mutually_exclusive_group()
    what.add_argument(
        "--labelled-slices", metavar="3,10,20", help="only these slices are labelled (default: the whole volume)"
    )
    what.add_argument("--whole", action="store_true", help="the whole volume is labelled, though it may not look so")
    add.add_argument("--axis", default="auto", help="array axis of the labelled slices (default: %(default)s)")
    add.add_argument(
        "--origin",
        choices=[str(origin) for origin in LabelOrigin],
        default=str(LabelOrigin.PAINTED),
        help="who made the labels: painted by a person, or filled and then corrected, or accepted as they were",
    )
    add.add_argument(
        "--patient", metavar="PSEUDONYM", default="", help="the same for images of one patient; only a digest is kept"
    )
    add_regrid_options(add)
    add_series(add)


def _create(options: argparse.Namespace) -> int:
    segments = () if options.labels is None else task_segments(read_segments(options.labels))
    task = create_task(options.name, segments)
    print(f"{printable(task.name)}: {_labels(task) or 'segments of the first example'}\n{printable(task.folder)}")
    return ExitCode.DONE


def _list(_options: argparse.Namespace) -> int:
    from rich.table import Table

    table = Table("task", "examples", "slices", "plane", "labels", "models", "expected Dice")
    for name in task_names():
        try:
            task = read_task(task_folder(name))
        except InputError as error:
            table.add_row(printable(name), "", "", "", error_text(error), "", "")
            continue
        models = [model for model in task_models(task) if model.report is not None]
        table.add_row(
            printable(name),
            str(len(task.examples)),
            str(sum(example.slice_count for example in task.examples) + len(task.slices)),
            task.plane,
            _labels(task),
            str(len(models)),
            _mean_dice(models[-1]) if models else "",
        )
    table_console().print(table)
    print(printable(library_folder()))
    return ExitCode.DONE


def _show(options: argparse.Namespace) -> int:
    task = read_task(task_folder(options.name))
    for table in _tables(task):
        table_console().print(table)
    if task.slices:
        print(f"{len(task.slices)} {task.plane} slices without their volumes (fewshot-annotate library show).")
    model = newest_model(task)
    if model is not None:
        for name, dice in model.expected(task):
            likely = f"9 patients of 10 from {dice.low:.3f} to {dice.high:.3f}"
            print(f"  Expected Dice {printable(name):<14} {dice.dice:.3f}  ({likely})")
    print(f"{printable(task.name)}: {_labels(task)}\n{printable(task.folder)}")
    return ExitCode.DONE


def _tables(task: Task) -> Iterator[Any]:
    from rich.table import Table

    if task.segments:
        segments = Table("value", "segment", "ml, mean of examples")
        for segment in task.segments:
            counts = [
                example.voxels[segment.value - 1] * example.voxel_ml for example in task.examples if example.whole
            ]
            mean = f"{sum(counts) / len(counts):.3g}" if counts else ""
            segments.add_row(str(segment.value), printable(segment.name), mean)
        yield segments
    if task.examples:
        examples = Table("example", "size", "spacing mm", "labelled", "by", "engine", "added", "version")
        for example in task.examples:
            examples.add_row(
                example.number,
                "x".join(map(str, example.geometry.shape[::-1])),
                "x".join(f"{size:.3g}" for size in example.geometry.spacing),
                "whole" if example.whole else f"{example.slice_count} slices of axis {example.axis}",
                _shares(example.origins),
                example.engine,
                example.added,
                example.program,
            )
        yield examples
    trained = task_models(task)
    if trained:
        models = Table("model", "examples", "patients", "steps", "seconds", "expected Dice", "version")
        for model in trained:
            report = model.report
            figures = (
                ("", "", "", "in training")
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
    volume = read_volume(options.image, options.series)
    layers = read_labels(options.labels, volume, options)
    try:
        label_map = layers[0] if len(layers) == 1 else merge_layers(layers, "labels.nii.gz")
    except InputError:
        raise InputError("task_overlaps", path=options.labels) from None
    axis = resolve_axis(parse_axis(options.axis), volume.geometry)
    if labelled is not None:
        axis = Support.from_label_map(label_map, axis, labelled, path=options.labels).axis
    elif not options.whole and (painted := looks_painted(label_map)):
        raise InputError("task_looks_painted", path=options.labels, slices=",".join(map(str, painted)))
    slices = volume.geometry.shape[0] if labelled is None else len(labelled)
    added = add_example(
        folder,
        volume,
        label_map,
        axis=axis,
        labelled_slices=labelled,
        provenance=Provenance(origins={LabelOrigin(options.origin): slices}, patient=options.patient),
        path=options.labels,
    )
    _note_replaced(added, options.image)
    print(_summary(added.task))
    return ExitCode.DONE


def _add_batch(options: argparse.Namespace, folder: Path) -> int:
    result = add_accepted(folder, BatchFolder(options.image))
    for name, added in result.added:
        _note_replaced(added, name)
    for name, error in result.refused:
        print(f"fewshot-annotate: {printable(name)}: {error_text(error, options)}", file=sys.stderr)
    twice = Counter(added.example.digest for _, added in result.added)
    for digest, count in twice.items():
        if count > 1:
            same = ", ".join(name for name, added in result.added if added.example.digest == digest)
            print_note(f"{same}: these cases have the same image; the labels of the last one are kept.")
    print(f"{_summary(read_task(folder))}; {len(result.added)} cases added, {result.waiting} not accepted yet")
    return ExitCode.BAD_INPUT if result.refused else ExitCode.DONE


def _note_replaced(added: Added, image: object) -> None:
    if added.replaced:
        print_note(f"{image}: this image was in the task already; its labels were replaced.")


def _summary(task: Task) -> str:
    return f"{printable(task.name)}: {len(task.examples)} examples, {_labels(task)}"


def _next(options: argparse.Namespace) -> int:
    count = parse_count(options.count, "cases")
    ranked, unreadable = rank_batch(BatchFolder(options.batch), read_task(task_folder(options.name)))
    for name, error in unreadable:
        print(f"fewshot-annotate: {printable(name)}: {error_text(error, options)}", file=sys.stderr)
    for case in ranked[:count]:
        print(f"{printable(case.case.name)}: {printable(error_text(case.reason))}")
    if not ranked:
        print("No filled case waits for its review.")
    return ExitCode.DONE


def _export(options: argparse.Namespace) -> int:
    export_task(read_task(task_folder(options.name)), options.output, overwrite=options.overwrite)
    print(printable(options.output))
    return ExitCode.DONE


def _import(options: argparse.Namespace) -> int:
    task = import_task(options.file, options.name)
    print(_summary(task))
    return ExitCode.DONE


def _remove(options: argparse.Namespace) -> int:
    example = f"Example {options.example} of task" if options.example else "Task"
    require_yes(options, printable(f"{example} '{options.name}'"))
    if options.example:
        print(_summary(remove_example(task_folder(options.name), options.example)))
    else:
        remove_task(options.name)
    return ExitCode.DONE


def _labels(task: Task) -> str:
    return printable(", ".join(segment.name for segment in task.segments))
