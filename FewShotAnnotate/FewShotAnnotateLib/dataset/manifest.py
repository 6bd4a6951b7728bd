"""Manifest: the table that lists the cases of a batch."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ..core.axis import SliceAxis, parse_axis, parse_slice_numbers
from ..core.errors import InputError
from ..core.table import Row, read_table

REQUIRED = ("image", "support")
OPTIONAL = ("name", "engine", "axis", "labelled_slices", "library", "series")
# Endings that name a format, not a case; the longest first.
_ENDINGS = (".nii.gz", ".seg.nrrd", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".gipl", ".hdr")
_MOST_CHARACTERS = 120
# Characters and names that some file system refuses; a leading point hides a folder and is ours.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_TAKEN = ("status.csv", "index.html", "cancel")


@dataclass(frozen=True)
class Case:
    """One row of a manifest.

    Attributes
    ----------
    row : int
        As a spreadsheet counts: the header is row 1.
    name : str
        Names the case's folder; unique in the manifest, however it is capitalised.
    image : Path
        An image file or a DICOM folder, absolute.
    support : Path or None
        Label map on the image's grid, absolute; None where the library task is all the support.
    engine : str
        Name of the engine or 'auto'; empty for that of the batch.
    axis : SliceAxis or None
        None: found from the labels.
    labelled_slices : tuple of int or None
        None: the slices that hold any label.
    library : str
        Name of a task of the support library; empty for none.
    series : str
        Which series of a DICOM folder with several, as `read_volume` takes it; empty where there is one.
    """

    row: int
    name: str
    image: Path
    support: Path | None
    engine: str = ""
    axis: SliceAxis | None = None
    labelled_slices: tuple[int, ...] | None = None
    library: str = ""
    series: str = ""


@dataclass(frozen=True)
class Manifest:
    """The cases of a batch.

    Attributes
    ----------
    path : Path
    cases : tuple of Case, at least one
    unknown : tuple of str
        Columns that mean nothing here.
    """

    path: Path
    cases: tuple[Case, ...]
    unknown: tuple[str, ...] = ()


def read_manifest(path: str | Path) -> Manifest:
    """Read a CSV file with columns `image,support` and optionally `name,engine,axis,labelled_slices,library,series`.

    Commas, semicolons or tabs separate the columns, whichever the header has; UTF-8. Paths are taken from the
    manifest's folder unless they are absolute. Empty rows are passed over.

    Raises
    ------
    InputError
        No such file or no table, a column is missing, or a row cannot be used; that names the row.
    """
    table = read_table(Path(path), REQUIRED)
    named: dict[str, Case] = {}

    def case_of(row: Row) -> Case:
        case = _case(row)
        other = named.setdefault(_same_folder(case.name), case)
        if other is not case:
            raise InputError("case_name_twice", name=case.name, row=other.row)
        return case

    known = {*REQUIRED, *OPTIONAL}
    unknown = tuple(column for column in table.header if column and column not in known)
    return Manifest(table.path, tuple(table.items(case_of)), unknown)


def require_case_name(name: str) -> None:
    """Raise `InputError` unless a name can be that of a case's folder."""
    if not is_folder_name(name) or name.lower() in _TAKEN:
        raise InputError("case_name", name=name[:_MOST_CHARACTERS])


def is_folder_name(name: str) -> bool:
    """Whether a name is that of a folder, on every system, and of one right below its parent."""
    if not name or len(name) > _MOST_CHARACTERS or _FORBIDDEN.search(name):
        return False
    return name[0] not in ". " and name[-1] not in ". " and not _DEVICES.fullmatch(name)


def _case(row: Row) -> Case:
    library = row.cell("library")
    row.require("image", *(() if library else ("support",)))
    image = row.existing("image")
    support = row.existing("support") if row.cell("support") else None
    name = row.cell("name") or _name_of(image)
    require_case_name(name)
    slices = row.cell("labelled_slices")
    return Case(
        row.number,
        name,
        image,
        support,
        row.cell("engine"),
        parse_axis(row.cell("axis") or "auto"),
        tuple(parse_slice_numbers(slices)) if slices else None,
        library,
        row.cell("series"),
    )


def _name_of(image: Path) -> str:
    for ending in _ENDINGS:
        if image.name.lower().endswith(ending):
            return image.name[: -len(ending)]
    return image.name


def _same_folder(name: str) -> str:
    """What names have in common that some file system takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
