"""`library`: labelled slices kept as named tasks, for volumes of other patients."""

from __future__ import annotations

import argparse

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.slice_axis import parse_axis
from ..core.support import Support
from ..core.text import printable
from ..core.volume import names_by_value
from ..datasets.task.library import remove_task, save_slices, task_folder
from ..datasets.task.task import SliceOrigin, Task, read_task
from ..io.files import read_volume
from .activity_indicator import activity_indicator
from .arguments import (
    add_axis,
    add_image_and_labels,
    add_labelled_slices,
    add_partial,
    add_series,
    parse_labelled_slices,
)
from .consent import add_yes, require_yes
from .labels import add_regrid_options
from .task_actions import add_action, add_export_and_import, print_tasks, read_one_label_map, segment_names
from .terminal import table_console, text_table


def add_arguments(library: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = library.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all tasks")
    listing.set_defaults(command=_list)
    add_action(actions, "show", "the slices of a task, and where their thumbnails lie", _show)
    save = add_action(actions, "save", "keep labelled slices as a new task", _save)
    add = add_action(actions, "add", "add labelled or corrected slices to a task", _save)
    save.set_defaults(add=False, corrected=False)
    add.set_defaults(add=True)
    add.add_argument("--corrected", action="store_true", help="the slices were filled and then corrected")
    for parser in (save, add):
        add_image_and_labels(parser, "labels")
        add_regrid_options(parser)
        add_partial(parser)
        add_series(parser)
        add_axis(parser)
        add_labelled_slices(parser)
    add_export_and_import(actions, _summary)
    add_yes(add_action(actions, "remove", "remove a task", _remove))


def _list(_options: argparse.Namespace) -> int:
    print_tasks(["slices", "plane", "labels"], lambda task: [str(len(task.slices)), task.plane, segment_names(task)])
    return ExitCode.DONE


def _show(options: argparse.Namespace) -> int:
    task = read_task(task_folder(options.name))
    table = text_table("slice", "size", "spacing mm", "labels", "origin", "added", "version")
    names = names_by_value(task.segments)
    for library_slice in task.slices:
        rows, columns = library_slice.spacing
        table.add_row(
            library_slice.file,
            f"{library_slice.shape[1]}x{library_slice.shape[0]}",
            f"{columns:.3g}x{rows:.3g}",
            printable(", ".join(names[value] for value in library_slice.annotated)),
            str(library_slice.origin),
            library_slice.added,
            library_slice.program,
        )
    table_console().print(table)
    print(f"{printable(task.name)}: {task.plane}, {segment_names(task)}\n{printable(task.folder)}")
    return ExitCode.DONE


def _save(options: argparse.Namespace) -> int:
    axis = parse_axis(options.axis)
    labelled = parse_labelled_slices(options.labelled_slices)
    with activity_indicator("bar", "Reading"):
        volume = read_volume(options.image, options.series)
        label_map = read_one_label_map(options, volume)
    if label_map is None:
        raise InputError("library_overlaps", path=options.labels)
    support = Support.from_label_map(label_map, axis, labelled, complete=not options.partial, path=options.labels)
    origin = SliceOrigin.CORRECTED if options.corrected else SliceOrigin.PAINTED
    with activity_indicator("bar", "Writing"):
        task = save_slices(options.name, volume, label_map, support, add=options.add, origin=origin)
    print(_summary(task))
    return ExitCode.DONE


def _remove(options: argparse.Namespace) -> int:
    require_yes(options, printable(f"task '{options.name}'"))
    remove_task(options.name)
    return ExitCode.DONE


def _summary(task: Task) -> str:
    return f"{printable(task.name)}: {len(task.slices)} {task.plane} slices, {segment_names(task)}"
