"""What the commands `task` and `library` share: both work on the tasks in the data folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.text import printable
from ..core.volume import LabelMap, Volume
from ..datasets.task.library import library_folder, task_folder, task_names
from ..datasets.task.library_file import export_task, import_task
from ..datasets.task.models import newest_model
from ..datasets.task.task import Task, read_task
from ..io.files import merge_layers
from .activity_indicator import activity_indicator
from .consent import add_overwrite
from .labels import print_note, read_labels
from .messages import error_text
from .terminal import table_console, text_table

Command = Callable[[argparse.Namespace], int]


def add_action(actions: Any, action: str, purpose: str, command: Command) -> argparse.ArgumentParser:
    """Add an action on a task."""
    parser: argparse.ArgumentParser = actions.add_parser(action, help=purpose)
    parser.set_defaults(command=command)
    add_task_name(parser)
    return parser


def add_task_name(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a task."""
    parser.add_argument("name", metavar="TASK", help="name of the task, or path of its folder")


def add_export_and_import(actions: Any, summary: Callable[[Task], str]) -> None:
    """Add the actions that write a task to a file and read it again; the summary of the new task is printed."""

    def import_file(options: argparse.Namespace) -> int:
        with activity_indicator("bar", "Reading"):
            task = import_task(options.file, options.name)
        print(summary(task))
        return ExitCode.DONE

    export = add_action(actions, "export", "write a task to one file", _export)
    export.add_argument("-o", "--output", metavar="FILE.zip", type=Path, required=True, help="file to write")
    add_overwrite(export, "FILE.zip")
    importing = actions.add_parser("import", help="make a task from a file that was exported")
    importing.set_defaults(command=import_file)
    importing.add_argument("file", metavar="FILE.zip", type=Path, help="file that was exported")
    importing.add_argument("--name", metavar="TASK", help="name of the new task (default: as in the file)")


def _export(options: argparse.Namespace) -> int:
    task = read_task(task_folder(options.name))
    with activity_indicator("bar", "Writing"):
        export_task(task, options.output, overwrite=options.overwrite)
    if newest_model(task) is not None:
        print_note("the file holds the examples, not the models; train the task after its import.")
    print(printable(options.output))
    return ExitCode.DONE


def print_tasks(columns: Sequence[str], row: Callable[[Task], Sequence[str]]) -> None:
    """Print a table of all tasks; for one that cannot be read, the error is in the column 'labels'."""
    table = text_table("task", *columns)
    for name in task_names():
        try:
            cells = row(read_task(task_folder(name)))
        except InputError as error:
            cells = [error_text(error) if column == "labels" else "" for column in columns]
        table.add_row(printable(name), *cells)
    table_console().print(table)
    print(printable(library_folder()))


def read_one_label_map(options: argparse.Namespace, volume: Volume) -> LabelMap | None:
    """Read the label map of an image for a task, which keeps one label per voxel; None if segments overlap.

    Raises
    ------
    InputError
        As for `read_labels`.
    """
    layers = read_labels(options.labels, volume, options)
    try:
        return layers[0] if len(layers) == 1 else merge_layers(layers, "labels.nii.gz")
    except InputError:
        return None


def segment_names(task: Task) -> str:
    """Names of the task's segments, separated by commas."""
    return printable(", ".join(segment.name for segment in task.segments))
