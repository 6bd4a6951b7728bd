"""What words on the command line stand for; bad ones raise `InputError`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.axis import parse_slice_numbers
from ..core.errors import InputError
from ..core.job import Device, is_budget
from ..core.numbers import parse_whole, real_number, whole_number
from ..engines import engine_class, engine_names


def add_series(verb: Any, of: str = "IMAGE") -> None:
    """The argument that chooses one of several DICOM series."""
    verb.add_argument(
        "--series",
        metavar="NUMBER",
        help=f"which DICOM series, if {of} holds several: its number, its UID, or the name of one of its files",
    )


# More than any volume has.
MAX_SLICES = 100_000


def add_input(verb: argparse.ArgumentParser, purpose: str, slices: str) -> None:
    """The arguments that say what is labelled, and which slices are meant."""
    verb.add_argument("image", metavar="IMAGE", type=Path, help="any image file SimpleITK reads, or a DICOM folder")
    verb.add_argument("support", metavar="SUPPORT", type=Path, help="label map of the image, or DICOM segmentation")
    add_series(verb)
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
    add_partial(verb)
    verb.add_argument(
        "--slices",
        default=slices,
        metavar="between|all|A:B",
        help=f"{purpose}: between the labelled slices, all, or A up to but not B (default: %(default)s)",
    )


def add_partial(verb: argparse.ArgumentParser) -> None:
    """The argument that says that labelled slices may lack labels."""
    verb.add_argument(
        "--partial",
        action="store_true",
        help="a label that is not on a labelled slice may just not be painted there (default: it is absent there)",
    )


def add_engine(verb: argparse.ArgumentParser) -> None:
    """The argument that names the engine."""
    verb.add_argument("--engine", default="auto", help=f"auto, {', '.join(engine_names())} (default: %(default)s)")


def add_settings(verb: argparse.ArgumentParser) -> None:
    """The arguments that say where the engine computes, and its options."""
    verb.add_argument("--device", choices=[str(device) for device in Device], default="auto")
    verb.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="an option of the engine; may be given several times",
    )
    verb.add_argument(
        "--implementation",
        metavar="NAME",
        action="append",
        dest="settings",
        type="implementation={}".format,
        help="whose code runs an engine that has a choice, for example official: --option implementation=NAME",
    )


def add_progress(verb: argparse.ArgumentParser) -> None:
    """The argument that says how progress is shown."""
    verb.add_argument("--progress", choices=("bar", "json", "none"), default="bar")


def as_slice_numbers(text: str | None) -> list[int] | None:
    return None if text is None else parse_slice_numbers(text)


def as_slice_range(text: str) -> str | tuple[int, int]:
    if text in ("between", "all"):
        return text
    first, _, last = text.partition(":")
    start, stop = whole_number(first), whole_number(last)
    if start is None or stop is None or start >= stop:
        raise InputError("range_malformed", text=text)
    return start, stop


def as_count(text: str, what: str = "slices", most: int = MAX_SLICES) -> int:
    return parse_whole(text, what, 1, most)


def as_seconds(text: str | None) -> float | None:
    seconds = None if text is None else real_number(text)
    if (seconds is None) != (text is None) or not is_budget(seconds):
        raise InputError("budget_invalid", budget=text)
    return seconds


def as_engine_options(engine_name: str, texts: Sequence[str]) -> dict[str, Any]:
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
