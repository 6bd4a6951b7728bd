"""`compare`: which engine fills one's own labelled slices best, measured on slices hidden in turn."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from ..comparison.case import Case
from ..comparison.clock import Step
from ..comparison.compare import compare
from ..comparison.design import Wish
from ..comparison.recommend import duration
from ..comparison.report import comparison_png, require_packages, write_report
from ..comparison.results import Comparison
from ..comparison.store import write_json
from ..comparison.tables import write_slices, write_summary
from ..comparison.trial import Contender, EngineFailed, Interrupted
from ..core.errors import InputError
from ..core.event import Progress
from ..core.files import read_label_maps, read_volume
from ..core.job import Device
from ..engines import engine_class, engine_names
from .arguments import add_progress, as_axis, as_count, as_engine_options, as_seconds, as_slice_numbers

FAILED, CANCELLED = 1, 130


def add(verbs: Any) -> None:
    """Add the command to the parser's subcommands."""
    verb = verbs.add_parser("compare", help="which engine fills your slices best, as a report")
    verb.set_defaults(command=_compare)
    verb.add_argument("image", metavar="IMAGE", type=Path, help="any image file SimpleITK reads, or a DICOM folder")
    verb.add_argument("support", metavar="SUPPORT", type=Path, help="label map on the image's grid")
    verb.add_argument("-o", "--output", metavar="REPORT_DIR", type=Path, required=True, help="folder for the report")
    verb.add_argument(
        "--engines",
        default="all",
        metavar="A,B,C",
        help=f"all, or some of {', '.join(engine_names())} (default: all)",
    )
    verb.add_argument("--axis", default="auto", help="array axis of the labelled slices (default: %(default)s)")
    verb.add_argument("--labelled-slices", metavar="3,10,20", help="the labelled slices, empty ones too")
    verb.add_argument("--sizes", metavar="1,2,4", help="support sizes (default: 1, 2, 4, 8, ... and all)")
    verb.add_argument("--draws", default="3", metavar="N", help="choices of support per size (default: %(default)s)")
    verb.add_argument("--held-out", default="16", metavar="N", help="most slices to hide (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=0, help="of the choices (default: %(default)s)")
    verb.add_argument("--device", choices=[str(device) for device in Device], default="auto")
    verb.add_argument(
        "--option",
        metavar="ENGINE.NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an option of one engine; may be given several times",
    )
    verb.add_argument("--budget", metavar="SECONDS", help="time limit of each filling, for engines that heed one")
    verb.add_argument("--resume", action="store_true", help="go on with what is finished in REPORT_DIR")
    add_progress(verb)


def _compare(options: argparse.Namespace) -> int:
    axis, labelled = as_axis(options.axis), as_slice_numbers(options.labelled_slices)
    wish, contenders = _wish(options), _contenders(options)
    require_packages()
    volume = read_volume(options.image)
    layers = read_label_maps(options.support, volume.geometry)
    case = Case.of_label_maps(volume, layers, axis, labelled, options.support)
    folder: Path = options.output
    with _ending(folder) as code, _reporter(options.progress) as tell:
        comparison = compare(case, contenders, wish, folder, tell, options.resume)
    if code:
        return code[0]
    plot = comparison_png(comparison)
    (folder / "dice.png").write_bytes(plot)
    write_json(folder / "result.json", comparison.to_json())
    write_summary(folder / "summary.csv", comparison)
    write_slices(folder / "slices.csv", comparison)
    write_report(folder / "report.html", case, comparison, contenders, wish, plot)
    if options.progress == "json":
        print(json.dumps(comparison.to_json()["recommendation"]))
    else:
        _show(case, comparison)
        print(folder / "report.html")
    return 0


def _wish(options: argparse.Namespace) -> Wish:
    sizes = tuple(as_slice_numbers(options.sizes) or ())
    return Wish(sizes, as_count(options.draws), as_count(options.held_out), options.seed)


def _contenders(options: argparse.Namespace) -> list[Contender]:
    """The engines in the order given, none twice, each with its options."""
    asked = list(engine_names()) if options.engines == "all" else options.engines.split(",")
    names = list(dict.fromkeys(engine_class(name.strip()).name for name in asked))
    settings: dict[str, list[str]] = {name: [] for name in names}
    for text in options.settings:
        engine, separator, setting = text.partition(".")
        if not separator:
            raise InputError("engine_option_malformed", text=text)
        if engine not in settings:
            raise InputError("engine_not_compared", engine=engine, compared=", ".join(names))
        settings[engine].append(setting)
    budget, device = as_seconds(options.budget), Device(options.device)
    return [Contender(name, as_engine_options(name, settings[name]), device, budget) for name in names]


@contextmanager
def _ending(folder: Path) -> Iterator[list[int]]:
    """Turns what ends a comparison early into one line and an exit code."""
    code: list[int] = []
    try:
        yield code
    except (Interrupted, KeyboardInterrupt):
        print(
            f"fewshot-annotate: cancelled. Finished trials are kept in {folder}; go on with --resume.",
            file=sys.stderr,
        )
        code.append(CANCELLED)
    except EngineFailed as failure:
        print(f"fewshot-annotate: no engine finished. {failure}", file=sys.stderr)
        code.append(FAILED)


@contextmanager
def _reporter(kind: str) -> Iterator[Callable[[Step], None]]:
    """Shows steps as a bar on stderr, as progress events of the trials on stdout, or not at all."""
    if kind == "none":
        yield lambda step: None
    elif kind == "json":
        yield lambda step: print(
            Progress(step.done, step.total, step.eta, round(step.fraction, 4)).to_line(), flush=True
        )
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[trials]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        bar = Bar(*columns, console=Console(stderr=True))
        task = bar.add_task("Comparing", total=1.0, trials="", left="")

        def show(step: Step) -> None:
            bar.start()  # not before there is something to show
            left = "" if step.eta is None else f"{duration(step.eta)} left"
            doing = f"{step.engine} from {_slices(step.size)}"
            trials = f"trial {step.done + 1} of {step.total}"
            bar.update(task, completed=step.fraction, description=doing, trials=trials, left=left)

        try:
            yield show
        finally:
            if bar.live.is_started:
                bar.stop()


def _show(case: Case, comparison: Comparison) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    sizes = [_slices(size) for size in comparison.sizes]
    time = [f"time for {case.to_fill} slices"] if case.to_fill else []
    table = Table("engine", *sizes, *time, title="Mean Dice on hidden slices, by painted slices")
    for engine in comparison.engines:
        points = [comparison.at(engine, size) for size in comparison.sizes]
        cells = [
            f"{one.dice:.3f}" + (f" ({one.least:.3f}-{one.most:.3f})" if one.draws > 1 else "") for one in points
        ]
        table.add_row(engine, *cells, *([duration(points[-1].fill_seconds(case.to_fill))] if time else []))
    console.print(table)
    for one in comparison.absent:
        print(f"Not compared: {one.engine}: {'failed: ' if one.started else ''}{one.reason}")
    for engine, told in comparison.warnings.items():
        for message in told:
            print(f"{engine} said: {message}")
    for reason in comparison.recommendation.reasons:
        console.print(reason)


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"
