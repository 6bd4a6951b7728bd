"""Label maps of the command line, put on the grid of their image; what was done for that is said on stderr."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..core.dicom_seg_reading import label_note
from ..core.errors import InputError
from ..core.files import read_on_grid
from ..core.regrid import MENDED_BY, Consent
from ..core.regrid_note import regrid_note
from ..core.volume import LabelMap, Volume


def add_regrid(verb: argparse.ArgumentParser) -> None:
    """The arguments that agree to what may change labels of another grid."""
    verb.add_argument("--resample", action="store_true", help="resample labels of another grid onto the image's")
    verb.add_argument("--crop", action="store_true", help="remove labels that lie outside the image")


def agreed(options: argparse.Namespace) -> frozenset[Consent]:
    """What the user agreed to."""
    return frozenset(consent for consent in Consent if getattr(options, consent.value))


def read_labels(path: Path, volume: Volume, options: argparse.Namespace) -> list[LabelMap]:
    """Label maps of a file on the volume's grid.

    Raises
    ------
    InputError
        They cannot be read, or lie on another grid and what mends that was not agreed to.
    """
    regridded = read_on_grid(path, volume.geometry, agreed(options))
    for note in (label_note(path), regrid_note(regridded, path)):
        if note:
            print(f"Note: {note}", file=sys.stderr)
    return regridded.layers


def mending_flag(error: InputError, options: argparse.Namespace) -> str:
    """The flag that mends an error, in brackets behind a space, if the command has one."""
    consent = MENDED_BY.get(error.code)
    return f" (--{consent.value})" if consent and hasattr(options, consent.value) else ""
