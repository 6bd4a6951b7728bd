"""Command line arguments shared by several commands, and their parsing; invalid ones raise `InputError`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.clean_up import CleanUp, CleanUpRule
from ..core.errors import InputError
from ..core.job import Device, is_time_limit
from ..core.numbers import float_or_none, int_or_none, parse_int
from ..core.slice_axis import MAX_SLICES, parse_slice_indices
from ..engines.registry import engine_class, engine_names


def add_series(parser: Any, of: str = "IMAGE") -> None:
    """Add the option that chooses one of several DICOM series."""
    parser.add_argument(
        "--series",
        metavar="NUMBER",
        help=f"which DICOM series, if {of} holds several: its number, its UID, or the name of one of its files",
    )


def add_also(parser: argparse.ArgumentParser) -> None:
    """Add the option for further channels."""
    parser.add_argument(
        "--also",
        metavar="IMAGE2",
        type=Path,
        action="append",
        default=[],
        help="a further volume of the same patient in the same position, such as T2 beside T1, on any grid; for "
        "propagate and adapt; may be given several times",
    )


# Upper bound for the standard deviation of smoothing, above the size of any organ's detail.
MAX_SMOOTHING_MM = 50.0


def add_image_and_labels(
    parser: argparse.ArgumentParser, labels: str = "support", *, image_optional: bool = False, optional: bool = False
) -> None:
    """Add the arguments for an image and its label map; `labels` is the name of the latter."""
    parser.add_argument(
        "image",
        metavar="IMAGE",
        type=Path,
        nargs="?" if image_optional else None,
        help="any image file SimpleITK reads, or a DICOM folder",
    )
    parser.add_argument(
        labels,
        metavar=labels.upper(),
        type=Path,
        nargs="?" if optional else None,
        help="label map of the image, or DICOM segmentation",
    )


def add_axis(parser: argparse.ArgumentParser) -> None:
    """Add the option for the axis of the labelled slices."""
    parser.add_argument(
        "--axis",
        default="auto",
        help="axis of the labelled slices: array axis 0 (slices as stored), 1 (rows) or 2 (columns), or axial, "
        "coronal or sagittal (default: %(default)s, found from the labels)",
    )


def add_labelled_slices(parser: Any, default: str = "slices with any label") -> None:
    """Add the option that names the labelled slices."""
    parser.add_argument(
        "--labelled-slices",
        metavar="3,10,20",
        help=f"array indices, from 0, of the labelled slices, including empty ones (default: {default})",
    )


def add_slices(parser: argparse.ArgumentParser, purpose: str, default: str | None = None) -> None:
    """Add the option for a range of slices; by default `between`, or `all` with a task."""
    parser.add_argument(
        "--slices",
        default=default,
        metavar="between|all|A:B",
        help=f"{purpose}: between the labelled slices, all, or indices from A up to but not including B "
        f"(default: {'%(default)s' if default else 'between, all with a task'})",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option for the device."""
    parser.add_argument(
        "--device",
        choices=[str(device) for device in Device],
        default="auto",
        help="where networks compute; auto is cuda if torch can use an NVIDIA GPU, else cpu (default: %(default)s)",
    )


def add_task(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the option that names a task."""
    parser.add_argument("--task", metavar="TASK", help=f"name or folder of a task, {purpose}")


def add_input(
    parser: argparse.ArgumentParser, purpose: str, slices: str | None, *, support_optional: bool = False
) -> None:
    """Add the arguments for image, labels and slice ranges."""
    add_image_and_labels(parser, optional=support_optional)
    add_series(parser)
    add_also(parser)
    add_axis(parser)
    add_labelled_slices(parser)
    add_partial(parser)
    add_slices(parser, purpose, slices)


def add_partial(parser: argparse.ArgumentParser) -> None:
    """Add the option for partially labelled slices."""
    parser.add_argument(
        "--partial",
        action="store_true",
        help="a label missing on a labelled slice counts as not annotated there (default: as absent)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the option for the engine."""
    parser.add_argument("--engine", default="auto", help=f"auto, {', '.join(engine_names())} (default: %(default)s)")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options for the device and for engine options."""
    add_device(parser)
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an option of the engine (models info ENGINE lists them); may be given several times",
    )
    parser.add_argument(
        "--implementation",
        metavar="NAME",
        action="append",
        dest="settings",
        type="implementation={}".format,
        help="the same as --option implementation=NAME; official runs the code of the authors of an engine",
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add the option for the form of progress output."""
    parser.add_argument(
        "--progress",
        choices=("bar", "json", "none"),
        default="bar",
        help="progress as a bar on stderr, as JSON lines on stdout, or none (default: %(default)s)",
    )


def parse_labelled_slices(text: str | None) -> list[int] | None:
    """Indices of the labelled slices a user names, None where none are named."""
    return None if text is None else parse_slice_indices(text)


def parse_slice_range(text: str) -> str | tuple[int, int]:
    """`between`, `all` or the first and last slice of `FIRST:LAST`."""
    if text in ("between", "all"):
        return text
    first, _, last = text.partition(":")
    start, stop = int_or_none(first), int_or_none(last)
    if start is None or stop is None or start >= stop:
        raise InputError("range_malformed", text=text)
    return start, stop


def parse_count(text: str, what: str = "slices", most: int = MAX_SLICES) -> int:
    """An integer from 1 to `most`."""
    return parse_int(text, what, 1, most)


def parse_time_limit(text: str | None) -> float | None:
    """Seconds of a time limit, None without one."""
    seconds = None if text is None else float_or_none(text)
    if (seconds is None) != (text is None) or not is_time_limit(seconds):
        raise InputError("budget_invalid", budget=text)
    return seconds


def add_clean_up(parser: argparse.ArgumentParser) -> None:
    """Add the option for the clean-up of filled labels."""
    parser.add_argument(
        "--clean-up",
        metavar="[LABEL=]STEPS",
        action="append",
        default=[],
        help="clean up filled slices by steps joined by commas: smooth or smooth:MM, largest, holes; one label (name "
        "or value) or all; may be given several times",
    )


def parse_clean_up(texts: Sequence[str]) -> tuple[CleanUpRule, ...]:
    """Rules of [LABEL=]STEP,STEP."""
    return tuple(_clean_up_rule(text) for text in texts)


def _clean_up_rule(text: str) -> CleanUpRule:
    label, _, steps = text.rpartition("=")
    smooth_mm, others = None, []
    for step in map(str.strip, steps.split(",")):
        name, separator, size = step.partition(":")
        if name == "smooth":
            smooth_mm = float_or_none(size) if separator else 0.0
            if smooth_mm is None or not (0 < smooth_mm <= MAX_SMOOTHING_MM or not separator):
                raise InputError("clean_up_malformed", text=text)
        elif step in ("largest", "holes"):
            others.append(step)
        else:
            raise InputError("clean_up_malformed", text=text)
    return CleanUpRule(label.strip(), CleanUp(smooth_mm, "largest" in others, "holes" in others))


def parse_engine_options(engine_name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Parse NAME=VALUE options of an engine; unknown names are passed on and refused by the engine."""
    engine = engine_class(engine_name)
    options: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise InputError("option_malformed", text=text)
        option = engine.options.get(name)
        options[name] = option.parse(engine.name, name, value) if option else value
    return options
