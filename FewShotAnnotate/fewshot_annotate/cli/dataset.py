"""`dataset`: cases on their way to being accepted, and accepted ones as a data set for other programs."""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError
from ..core.exit_codes import ExitCode
from ..core.numbers import float_or_none, parse_int
from ..core.text import printable
from ..datasets.batch import require_page_packages
from ..datasets.batch_folder import BatchFolder
from ..datasets.case_table import CaseTable
from ..datasets.export.delivery import export_dataset
from ..datasets.export.layouts import LAYOUTS, LayoutOptions
from ..datasets.export.source import dataset_source
from ..datasets.found_volumes import find_volumes
from ..datasets.listed_cases import add_volumes, cases_path, create_dataset, set_dataset_task
from ..datasets.reviewing import accept_cases, flag_cases
from ..datasets.task.library import task_folder
from .activity_indicator import activity_indicator
from .arguments import add_progress
from .labels import print_left_out, print_note
from .messages import error_text, print_refused
from .progress import Bar, Column, Display, open_display
from .terminal import case_count, table_console, text_table

_MAX_DATASET_NUMBER = 999


def add_arguments(dataset: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = dataset.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add the volumes of a folder to a data set, for batch to fill")
    add.set_defaults(command=_add)
    add.add_argument(
        "batch", metavar="BATCH_DIR", type=Path, help="folder of the data set; a new or empty folder becomes one"
    )
    add.add_argument("images", metavar="IMAGES_DIR", type=Path, help="folder with NIfTI, NRRD or DICOM files")
    add.add_argument(
        "--task", metavar="TASK", help="task whose model fills the cases, and to which accepted cases are added"
    )
    listing = actions.add_parser("list", help="the cases of a batch with their review state")
    listing.set_defaults(command=_list)
    accept = actions.add_parser("accept", help="accept the results of cases of a batch")
    accept.set_defaults(command=_accept)
    flag = actions.add_parser("flag", help="flag cases of a batch that need another review")
    flag.set_defaults(command=_flag)
    for action in (listing, accept, flag):
        action.add_argument("batch", metavar="BATCH_DIR", type=Path, help="folder of a batch")
    for action in (accept, flag):
        action.add_argument("names", metavar="CASE", nargs="+", help="name of a case")
        action.add_argument("--undo", action="store_true", help="withdraw the acceptance or the flag")
    export = actions.add_parser("export", help="write the accepted cases of a batch, or the cases of a task")
    export.set_defaults(command=_export)
    export.add_argument("source", metavar="DIR", help="folder of a batch, or a task")
    export.add_argument("--format", choices=list(LAYOUTS), required=True, help="layout of the data set")
    export.add_argument("-o", "--output", metavar="OUT_DIR", type=Path, required=True, help="new folder to write")
    export.add_argument("--name", help="name of the data set (default: as DIR)")
    export.add_argument(
        "--number", metavar="N", default="501", help="number for nnunet and msd, 1 to 999 (default: %(default)s)"
    )
    export.add_argument("--suffix", metavar="T1w", default="", help="kind of the images, for bids")
    export.add_argument(
        "--cases", metavar="A,B", default="", help="export only these cases (default: all accepted ones)"
    )
    export.add_argument(
        "--validation",
        metavar="SHARE",
        default="0.2",
        help="share of the patients to hold out, 0 to 0.9 (default: %(default)s)",
    )
    export.add_argument("--seed", default="0", help="seed of the split (default: %(default)s)")
    export.add_argument("--no-previews", action="store_true", help="do not draw slices of each case")
    add_progress(export)


def _add(options: argparse.Namespace) -> int:
    if options.task is not None:
        task_folder(options.task)
    with activity_indicator("bar", "Searching"):
        found = find_volumes(options.images)
    folder = create_dataset(options.batch)
    with activity_indicator("bar", "Adding"):
        names = add_volumes(folder, found.volumes)
    if options.task is not None:
        set_dataset_task(folder, options.task)
    for name in names:
        print(printable(name))
    print_left_out("label maps (by the names of files and folders)", found.label_maps)
    if found.links:
        print_note(f"links to volumes that are listed by themselves are left out: {found.links}.")
    there = len(found.volumes) - len(names)
    print(f"{printable(cases_path(folder))}: {case_count(len(names))} added, {there} were there")
    return ExitCode.DONE


def _list(options: argparse.Namespace) -> int:
    with activity_indicator("bar", "Reading"):
        rows = CaseTable(BatchFolder(options.batch)).rows()
    table = text_table("case", "state", "expected Dice", "reviewed by")
    for row in rows:
        mean = row.mean_expected_dice
        table.add_row(printable(row.name), str(row.state), "" if mean is None else f"{mean:.3f}", str(row.reviewer))
    table_console().print(table)
    counts = sorted(Counter(str(row.state) for row in rows).items())
    print(f"{case_count(len(rows))}: {', '.join(f'{count} {state}' for state, count in counts)}")
    return ExitCode.DONE


def _accept(options: argparse.Namespace) -> int:
    names = list(dict.fromkeys(options.names))
    refused = accept_cases(BatchFolder(options.batch), names, accepted=not options.undo)
    print(f"{case_count(len(names))} {'no longer accepted' if options.undo else 'accepted'}")
    return _task_followed(refused, options)


def _flag(options: argparse.Namespace) -> int:
    names = list(dict.fromkeys(options.names))
    refused = flag_cases(BatchFolder(options.batch), names, flagged=not options.undo)
    print(f"{case_count(len(names))} {'no longer flagged' if options.undo else 'flagged'}")
    return _task_followed(refused, options)


def _task_followed(refused: Sequence[tuple[str, InputError]], options: argparse.Namespace) -> ExitCode:
    """Say of which cases the task was not changed, and why."""
    if not refused:
        return ExitCode.DONE
    print_refused(refused, options)
    print_note("the task of the data set was not changed for these cases.")
    return ExitCode.FAILED


def _export(options: argparse.Namespace) -> int:
    validation = float_or_none(options.validation)
    if validation is None or not 0 <= validation <= 0.9:
        raise InputError("dataset_share", text=options.validation)
    if options.suffix and options.format != "bids":
        raise InputError("dataset_suffix", format=options.format)
    seed = parse_int(options.seed, "seed", 0, 1 << 30)
    number = parse_int(options.number, "data sets", 1, _MAX_DATASET_NUMBER)
    if not options.no_previews:
        require_page_packages()
    names = next(csv.reader([options.cases], skipinitialspace=True), [])  # a name with a comma is quoted
    only = [name.strip() for name in names if name.strip()]
    source = dataset_source(options.source, only)
    layout = LayoutOptions(name=options.name or source.name, number=number, suffix=options.suffix)
    total = len(source.cases)
    with open_display(options.progress, _display(total)) as report:
        made = export_dataset(
            source,
            options.output,
            options.format,
            layout,
            validation=validation,
            seed=seed,
            previews=not options.no_previews,
            report=report,
        )
    for message in made.findings:
        print_note(error_text(message, options))
    if options.progress != "json":
        held = len(made.validation)
        print(
            f"{printable(made.folder)}: {case_count(total)}, {total - held} for training and {held} for validation; "
            f"{source.left_out} left out that are not accepted or not labelled completely"
        )
    return ExitCode.DONE


def _display(total: int) -> Display[int]:
    def show(bar: Bar, count: int) -> None:
        bar.update("Exporting", count, total)

    return Display[int](
        columns=("{task.completed:.0f}/{task.total:.0f} cases", Column.ELAPSED, Column.REMAINING),
        show=show,
        line_of=lambda count: json.dumps({"event": "case", "done": count, "total": total}),
    )
