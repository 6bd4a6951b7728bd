"""Reading of label maps onto the grid of their image; notes about changes are printed on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from ..core.regrid import Consent
from ..core.text import printable
from ..core.volume import LabelMap, Volume
from ..io.dicom.origin import channel_notes
from ..io.files import read_channels, read_on_grid
from ..io.label_names import named_from
from ..io.label_notes import label_notes
from ..io.shear_note import shear_note

_MAX_LISTED = 5


def add_regrid_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that consent to lossy regridding of labels."""
    parser.add_argument("--resample", action="store_true", help="resample labels of another grid onto the image's")
    parser.add_argument("--crop", action="store_true", help="remove labels that lie outside the image")


def add_label_names(parser: argparse.ArgumentParser) -> None:
    """Add the option for a file of label names."""
    parser.add_argument(
        "--labels",
        metavar="FILE",
        dest="label_names",
        type=Path,
        help="names and colours by label value: JSON, a label file of ITK-SNAP or a colour table of Slicer",
    )


def consents(options: argparse.Namespace) -> frozenset[Consent]:
    """The lossy operations that the user consented to."""
    return frozenset(consent for consent in Consent if getattr(options, consent.value))


def read_labels(path: Path, volume: Volume, options: argparse.Namespace) -> list[LabelMap]:
    """Read the label maps of a file onto the volume's grid.

    Raises
    ------
    InputError
        They or their names cannot be read, or they are on another grid and consent to regrid them is missing.
    """
    regridded = read_on_grid(path, volume.geometry, consents(options))
    for note in (shear_note(volume.geometry, options.image), *label_notes(regridded, path, options.image)):
        if note is not None:
            print_note(note)
    return named_from(regridded.layers, getattr(options, "label_names", None))


def read_further(volume: Volume, options: argparse.Namespace) -> Volume:
    """The volume with its further channels; raises `InputError` if one of them cannot be used."""
    for note in channel_notes(options.also, options.image):
        print_note(note)
    return read_channels(volume, options.also)


def print_left_out(kind: str, files: Sequence[PurePath]) -> None:
    """Print a note with the first of the files that are left out, if any, and how many more there are."""
    if not files:
        return
    names, more = ", ".join(map(str, files[:_MAX_LISTED])), len(files) - _MAX_LISTED
    print_note(f"{kind} are left out: {names} and {more} more." if more > 0 else f"{kind} are left out: {names}.")


def print_note(note: object) -> None:
    """Print a note on stderr."""
    print(f"Note: {printable(note)}", file=sys.stderr)
