"""The command line: the same rooms as the Slicer module, without Slicer.

Exit codes: 0 done, 2 bad input, 1 failed, 130 cancelled.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from rich.console import Console
from rich.table import Table

from . import __version__, demo
from .core.axis import SliceAxis, labelled_indices
from .core.errors import InputError
from .core.event import Cancelled, Event, Failed, Finished
from .core.expected import ExpectedDice
from .core.files import (
    image_suffix,
    merge_layers,
    read_label_maps,
    read_volume,
    require_writable,
    write_array,
    write_label_maps,
)
from .core.job import Device, is_budget
from .core.volume import LabelMap, Volume
from .engines import engine_class, engine_names
from .progress import as_part_of, open_reporter
from .run.fill import FillRequest, PlannedRun, open_or_create, plan, run_in_worker
from .run.legs import Whole, legs
from .suggestions import suggestions

EXIT_CODES: dict[type[Event], int] = {Finished: 0, Failed: 1, Cancelled: 130}
BAD_INPUT = 2


@dataclass(frozen=True)
class Result:
    """What all runs gave together.

    Attributes
    ----------
    layers : list of LabelMap
    confidence : float32 ndarray [k, j, i]
    expected : list of (str, ExpectedDice)
        With the names of the segments, where the engine says so.
    """

    layers: list[LabelMap]
    confidence: np.ndarray
    expected: list[tuple[str, ExpectedDice]]


class Unfinished(Exception):
    """A run ended before its last slice."""

    def __init__(self, ending: Event, kept: Path | None) -> None:
        self.ending = ending
        self.kept = kept


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except InputError as error:
        print(f"fewshot-annotate: {error}", file=sys.stderr)
        return BAD_INPUT
    except Unfinished as unfinished:
        print(f"fewshot-annotate: {_sentence(unfinished)}", file=sys.stderr)
        if isinstance(unfinished.ending, Failed) and unfinished.ending.code:
            return BAD_INPUT
        return EXIT_CODES[type(unfinished.ending)]
    except BrokenPipeError:  # whoever read our output is gone, so there is nobody to tell
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (stays open as stdout)
        return EXIT_CODES[Failed]
    except KeyboardInterrupt:
        print("fewshot-annotate: cancelled; no output was written.", file=sys.stderr)
        return EXIT_CODES[Cancelled]
    return code


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"fewshot-annotate: {message}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fewshot-annotate",
        description="Label a few slices of a medical volume and let the rest be filled.",
        epilog="Exit codes: 0 done, 2 bad input, 1 failed, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"fewshot-annotate {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    fill = verbs.add_parser("fill", help="fill the slices between labelled ones")
    fill.set_defaults(command=_fill)
    _add_input(fill, "what to fill", "between")
    fill.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="label map to write")
    fill.add_argument("--engine", default="auto", help=f"auto, {', '.join(engine_names())} (default: %(default)s)")
    fill.add_argument("--confidence", metavar="OUT2", type=Path, help="also write the confidence, 0..1")
    fill.add_argument("--device", choices=[str(device) for device in Device], default="auto")
    fill.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an option of the engine; may be given several times",
    )
    fill.add_argument("--budget", metavar="SECONDS", help="time limit; a result is better with more time")
    fill.add_argument("--progress", choices=("bar", "json", "none"), default="bar")
    fill.add_argument("--job-dir", metavar="DIR", type=Path, help="keep the job's files here")
    fill.add_argument("--resume", action="store_true", help="continue the job in --job-dir if there is one")

    suggest = verbs.add_parser("suggest", help="which slice to label next, best first, as JSON")
    suggest.set_defaults(command=_suggest)
    _add_input(suggest, "what may be suggested and is to be right", "all")
    suggest.add_argument("--count", metavar="N", default="3", help="at most so many slices (default: %(default)s)")

    show = verbs.add_parser("demo", help="fill grey and white matter of the MNI152 brain")
    show.set_defaults(command=_demo, job_dir=None, resume=False)
    show.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("demo-output"))
    show.add_argument("--engine", default="auto", help=f"auto, {', '.join(engine_names())} (default: %(default)s)")
    show.add_argument("--progress", choices=("bar", "json", "none"), default="bar")

    models = verbs.add_parser("models", help="the engines and what they need")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all engines, and whether they can run here")
    listing.set_defaults(command=_list_models)
    return parser


def _add_input(verb: argparse.ArgumentParser, purpose: str, slices: str) -> None:
    """The arguments that say what is labelled, and which slices are meant."""
    verb.add_argument("image", metavar="IMAGE", type=Path, help="any image file SimpleITK reads, or a DICOM folder")
    verb.add_argument("support", metavar="SUPPORT", type=Path, help="label map on the image's grid")
    verb.add_argument(
        "--axis",
        default="auto",
        help="array axis of the labelled slices: 0 slices as stored, 1 rows, 2 columns (default: %(default)s)",
    )
    verb.add_argument(
        "--labelled-slices",
        metavar="3,10,20",
        help="the labelled slices, empty ones too (default: those with any label)",
    )
    verb.add_argument(
        "--slices",
        default=slices,
        metavar="between|all|A:B",
        help=f"{purpose}: between the labelled slices, all, or A up to but not B (default: %(default)s)",
    )


def _fill(options: argparse.Namespace) -> int:
    axis = _axis(options.axis)
    labelled = _slice_numbers(options.labelled_slices)
    slices = _slice_range(options.slices)
    budget = _seconds(options.budget)
    settings = _engine_options(options.engine, options.settings)
    if options.resume and not options.job_dir:
        raise InputError("resume_needs_folder")
    outputs = [path for path in (options.output, options.confidence) if path]
    if options.confidence and image_suffix(options.confidence) == ".seg.nrrd":
        raise InputError("confidence_no_labels", path=options.confidence)
    for number, path in enumerate(outputs):
        require_writable(path, options.image, options.support, *outputs[:number])
    volume = read_volume(options.image)
    layers = read_label_maps(options.support, volume.geometry)
    if len(layers) > 1 and image_suffix(options.output) != ".seg.nrrd":
        layers = [merge_layers(layers, options.output)]
    request = FillRequest(
        volume,
        layers,
        axis,
        labelled,
        slices,
        options.engine,
        Device(options.device),
        settings,
        budget,
        source=options.support,
    )
    runs = plan(request)
    _warn_of_unnamed(runs[0], layers)
    began = time.monotonic()
    with _job_place(options.job_dir) as place:
        result = _run_all(runs, layers, volume, place, options)
    write_label_maps(options.output, result.layers)
    if options.confidence:
        write_array(options.confidence, result.confidence, volume.geometry)
    if options.progress != "json":
        count = len(runs[0].support.unlabelled(runs[0].job.slices))
        print(
            f"{options.output}: {count} slices filled, {len(runs[0].support.indices)} were labelled "
            f"({_plane(runs[0], volume)}, engine {runs[0].job.engine}) in {time.monotonic() - began:.1f} s"
        )
        for name, one in result.expected:
            print(f"  Expected Dice {name:<14} {one.dice:.3f}  (9 times of 10 from {one.low:.3f} to {one.high:.3f})")
    return 0


def _warn_of_unnamed(run: PlannedRun, layers: Sequence[LabelMap]) -> None:
    """Say which slices hold labels but are not among the named ones: what was painted there does not count."""
    held = {index for layer in layers for index in labelled_indices(layer.array, run.support.axis)}
    unnamed = sorted(held - set(run.support.indices))
    if unnamed:
        shown = ", ".join(map(str, unnamed[:10])) + (" ..." if len(unnamed) > 10 else "")
        print(
            f"fewshot-annotate: labels on slices not named do not count and are replaced: {shown}.", file=sys.stderr
        )


def _run_all(
    runs: Sequence[PlannedRun],
    layers: Sequence[LabelMap],
    volume: Volume,
    place: Path,
    options: argparse.Namespace,
) -> Result:
    """Run every layer; layers without labels on the labelled slices come out empty."""
    filled = [layer.with_array(np.zeros_like(layer.array)) for layer in layers]
    confidence = np.ones(volume.geometry.shape, dtype=np.float32)
    expected = []
    if len(layers) > 1 and not options.resume and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError("job_folder_used", path=place)
    paths = [place if len(layers) == 1 else place / f"layer{run.layer}" for run in runs]
    folders = [open_or_create(path, run, volume, options.resume) for path, run in zip(paths, runs, strict=True)]
    ahead, whole = legs(runs[0].job.engine, len(runs)), Whole(len(runs))
    with open_reporter(options.progress) as report:
        for leg in ahead:
            tell = as_part_of(whole, leg, leg is ahead[-1], report)
            folder = folders[leg.layer]
            ending = run_in_worker(folder, tell, drafts_only=leg.drafts_only)
            if leg is not ahead[-1] and folder.cancel_requested():  # too late for its worker, but not for the next
                ending = Cancelled()
            if not isinstance(ending, Finished):
                raise Unfinished(ending, options.job_dir)
    for run, folder in zip(runs, folders, strict=True):
        labels, sureness = folder.assemble()
        filled[run.layer] = layers[run.layer].with_array(labels)
        np.minimum(confidence, sureness, out=confidence)
        names = {segment.value: segment.name for segment in layers[run.layer].segments}
        expected += [(names[one.label], one) for one in folder.expected()]
    return Result(filled, confidence, expected)


def _suggest(options: argparse.Namespace) -> int:
    axis = _axis(options.axis)
    labelled = _slice_numbers(options.labelled_slices)
    slices = _slice_range(options.slices)
    count = _count(options.count)
    volume = read_volume(options.image)
    layers = read_label_maps(options.support, volume.geometry)
    request = FillRequest(volume, layers, axis, labelled, slices, "propagate", source=options.support)
    print(json.dumps(suggestions(request, count), indent=1))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .review.metrics import dice
    from .review.picture import contact_sheet

    label_path, picture_path = options.output / "label.nii.gz", options.output / "contact-sheet.png"
    volume, truth = demo.read_mni152()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("output_unwritable", path=options.output, detail=error.strerror) from None
    require_writable(label_path)
    indices = demo.labelled_slices(truth)
    painted = demo.keep_slices(truth, indices)
    (run,) = plan(FillRequest(volume, [painted], demo.AXIS, indices, engine=options.engine))
    began = time.monotonic()
    with _job_place(None) as place:
        (filled,) = _run_all([run], [painted], volume, place, options).layers
    seconds = time.monotonic() - began
    unlabelled = run.support.unlabelled(run.job.slices)
    summary = sys.stderr if options.progress == "json" else sys.stdout
    print(
        f"MNI152 brain: {len(unlabelled)} slices filled from {len(indices)} labelled ones in {seconds:.1f} s",
        file=summary,
    )
    for segment in demo.SEGMENTS:
        score = dice(
            demo.AXIS.slices(truth.array)[unlabelled], demo.AXIS.slices(filled.array)[unlabelled], segment.value
        )
        print(f"  Dice {segment.name:<14} {score:.3f}  (unlabelled slices only)", file=summary)
    write_label_maps(label_path, [filled])
    middle = [indices[number] for number in range(2, len(indices) - 2, 3)]
    shown = [index + step for index in middle for step in (0, 3, 6, 9)]
    contact_sheet(picture_path, volume, filled, demo.AXIS, shown, indices, columns=4)
    print(f"{label_path}\n{picture_path}", file=summary)
    return 0


def _list_models(_options: argparse.Namespace) -> int:
    table = Table("engine", "state", "licence", "what it does")
    for name in engine_names():
        engine = engine_class(name)
        table.add_row(name, engine.cannot_run() or "ready", engine.licence, engine.summary)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    print(f"auto is {engine_class('auto').name} here.")
    return 0


@contextmanager
def _job_place(kept: Path | None) -> Iterator[Path]:
    """The folder for the jobs: the user's, which stays, or a temporary one."""
    if kept:
        yield kept
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="fewshot-annotate-", ignore_cleanup_errors=True)
    except OSError as error:
        place = os.environ.get("TMPDIR", "the folder for temporary files")
        raise InputError("output_unwritable", path=place, detail=error.strerror) from None
    with folder:
        yield Path(folder.name) / "job"


def _axis(text: str) -> SliceAxis | None:
    if text == "auto":
        return None
    try:
        return SliceAxis(int(text))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("axis_out_of_range", axis=text) from None


def _slice_numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError("slices_malformed", text=text) from None


def _slice_range(text: str) -> str | tuple[int, int]:
    if text in ("between", "all"):
        return text
    try:
        start, stop = (int(part) for part in text.split(":"))
    except ValueError:
        raise InputError("range_malformed", text=text) from None
    if start >= stop:
        raise InputError("range_malformed", text=text)
    return start, stop


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise InputError("count_invalid", count=text)
    return int(text)


def _seconds(text: str | None) -> float | None:
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        raise InputError("budget_invalid", budget=text) from None
    if not is_budget(seconds):
        raise InputError("budget_invalid", budget=text)
    return seconds


def _engine_options(engine_name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Options by name; those the engine does not have are left for it to refuse."""
    engine = engine_class(engine_name)
    options: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise InputError("option_malformed", text=text)
        known = engine.options.get(name)
        options[name] = known.parse(engine.name, name, value) if known else value
    return options


def _plane(run: PlannedRun, volume: Volume) -> str:
    axis = run.support.axis
    return f"axis {axis.index}, {axis.patient_name(volume.geometry)}"


def _sentence(unfinished: Unfinished) -> str:
    rest = f" Continue it with --job-dir {unfinished.kept} --resume." if unfinished.kept else ""
    if isinstance(unfinished.ending, Failed):
        return unfinished.ending.reason + ("" if unfinished.ending.code else rest)
    return f"cancelled; no output was written.{rest}"


if __name__ == "__main__":
    sys.exit(main())
