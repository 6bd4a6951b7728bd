"""`library`: labelled slices kept as named tasks, for volumes of other patients."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.slice_axis import parse_axis
from ..core.support import Support
from ..core.text import printable
from ..datasets.task.library import library_folder, remove_task, save_slices, task_folder, task_names
from ..datasets.task.library_file import export_task, import_task
from ..datasets.task.task import SliceOrigin, Task, read_task
from ..io.files import merge_layers, read_volume
from .arguments import AXIS_HELP, add_partial, add_series, parse_labelled_slices
from .consent import add_overwrite, add_yes, require_yes
from .labels import add_regrid_options, read_labels
from .messages import error_text
from .terminal import table_console


def add_arguments(library: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = library.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all tasks")
    listing.set_defaults(command=_list)
    _add_named(actions, "show", "the slices of a task, and where their thumbnails lie", _show)
    save = _add_named(actions, "save", "keep labelled slices as a new task", _save)
    add = _add_named(actions, "add", "add labelled or corrected slices to a task", _save)
    save.set_defaults(add=False, corrected=False)
    add.set_defaults(add=True)
    add.add_argument("--corrected", action="store_true", help="the slices were filled and then corrected")
    for parser in (save, add):
        parser.add_argument(
            "image", metavar="IMAGE", type=Path, help="any image file SimpleITK reads, or a DICOM folder"
        )
        parser.add_argument("labels", metavar="LABELS", type=Path, help="label map of the image")
        add_regrid_options(parser)
        add_partial(parser)
        add_series(parser)
        parser.add_argument("--axis", default="auto", help=AXIS_HELP)
        parser.add_argument(
            "--labelled-slices", metavar="3,10,20", help="the slices to keep (default: those with any label)"
        )
    export = _add_named(actions, "export", "write a task to one file", _export)
    export.add_argument("-o", "--output", metavar="FILE.zip", type=Path, required=True)
    add_overwrite(export, "FILE.zip")
    bring = actions.add_parser("import", help="put the task of a file into the library")
    bring.set_defaults(command=_import)
    bring.add_argument("file", metavar="FILE.zip", type=Path)
    bring.add_argument("--name", metavar="TASK", help="call it so (default: as the file)")
    add_yes(_add_named(actions, "remove", "remove a task", _remove))


def _add_named(actions: Any, action: str, purpose: str, command: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(action, help=purpose)
    parser.set_defaults(command=command)
    parser.add_argument("name", metavar="TASK")
    return parser


def _list(_options: argparse.Namespace) -> int:
    from rich.table import Table

    table = Table("task", "slices", "plane", "labels")
    for name in task_names():
        try:
            task = read_task(task_folder(name))
        except InputError as error:
            table.add_row(printable(name), "", "", error_text(error))
            continue
        table.add_row(printable(name), str(len(task.slices)), task.plane, _labels(task))
    table_console().print(table)
    print(printable(library_folder()))
    return ExitCode.DONE


def _show(options: argparse.Namespace) -> int:
    from rich.table import Table

    task = read_task(task_folder(options.name))
    table = Table("slice", "size", "spacing mm", "labels", "origin", "added", "version")
    names = {segment.value: segment.name for segment in task.segments}
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
    print(f"{printable(task.name)}: {task.plane}, {_labels(task)}\n{printable(task.folder)}")
    return ExitCode.DONE


def _save(options: argparse.Namespace) -> int:
    axis = parse_axis(options.axis)
    labelled = parse_labelled_slices(options.labelled_slices)
    volume = read_volume(options.image, options.series)
    layers = read_labels(options.labels, volume, options)
    try:
        label_map = layers[0] if len(layers) == 1 else merge_layers(layers, "labels.nii.gz")
    except InputError:
        raise InputError("library_overlaps", path=options.labels) from None
    support = Support.from_label_map(label_map, axis, labelled, complete=not options.partial, path=options.labels)
    origin = SliceOrigin.CORRECTED if options.corrected else SliceOrigin.PAINTED
    task = save_slices(options.name, volume, label_map, support, add=options.add, origin=origin)
    print(f"{printable(task.name)}: {len(task.slices)} {task.plane} slices, {_labels(task)}")
    return ExitCode.DONE


def _export(options: argparse.Namespace) -> int:
    export_task(read_task(task_folder(options.name)), options.output, overwrite=options.overwrite)
    print(printable(options.output))
    return ExitCode.DONE


def _import(options: argparse.Namespace) -> int:
    task = import_task(options.file, options.name)
    print(f"{printable(task.name)}: {len(task.slices)} {task.plane} slices, {_labels(task)}")
    return ExitCode.DONE


def _remove(options: argparse.Namespace) -> int:
    require_yes(options, printable(f"Task '{options.name}'"))
    remove_task(options.name)
    return ExitCode.DONE


def _labels(task: Task) -> str:
    return printable(", ".join(segment.name for segment in task.segments))
