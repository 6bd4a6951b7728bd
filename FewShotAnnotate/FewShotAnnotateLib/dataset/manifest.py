"""Manifest: the table that lists the cases of a batch."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.axis import SliceAxis
from ..core.errors import InputError

REQUIRED = ("image", "support")
OPTIONAL = ("name", "engine", "axis", "labelled_slices", "library")
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
    """

    row: int
    name: str
    image: Path
    support: Path | None
    engine: str = ""
    axis: SliceAxis | None = None
    labelled_slices: tuple[int, ...] | None = None
    library: str = ""


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
    """Read a CSV file with columns `image,support` and optionally `name,engine,axis,labelled_slices,library`.

    Commas, semicolons or tabs separate the columns, whichever the header has; UTF-8. Paths are taken from the
    manifest's folder unless they are absolute. Empty rows are passed over.

    Raises
    ------
    InputError
        No such file or no table, a column is missing, or a row cannot be used; that names the row.
    """
    path = Path(path)
    rows = _rows(path)
    header = [_plain(cell).lower() for cell in rows[0]] if rows else []
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise InputError("manifest_columns", path=path, missing=" and ".join(missing), header=",".join(REQUIRED))
    doubled = sorted({column for column in header if column and header.count(column) > 1})
    if doubled:
        raise InputError("manifest_column_twice", path=path, column=doubled[0])
    cases: list[Case] = []
    named: dict[str, Case] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            case = _case(number, header, row, path.parent)
            other = named.setdefault(_same_folder(case.name), case)
            if other is not case:
                raise InputError("case_name_twice", name=case.name, row=other.row)
        except InputError as error:
            raise InputError("manifest_row", path=path, row=number, detail=error) from None
        cases.append(case)
    if not cases:
        raise InputError("manifest_empty", path=path)
    known = {*REQUIRED, *OPTIONAL}
    return Manifest(path, tuple(cases), tuple(column for column in header if column and column not in known))


def require_case_name(name: str) -> None:
    """Raise `InputError` unless a name can be that of a case's folder."""
    if not is_folder_name(name) or name.lower() in _TAKEN:
        raise InputError("case_name", name=name[:_MOST_CHARACTERS])


def is_folder_name(name: str) -> bool:
    """Whether a name is that of a folder, on every system, and of one right below its parent."""
    if not name or len(name) > _MOST_CHARACTERS or _FORBIDDEN.search(name):
        return False
    return name[0] not in ". " and name[-1] not in ". " and not _DEVICES.fullmatch(name)


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("manifest_unreadable", path=path, detail="it is not UTF-8") from None
    except FileNotFoundError:
        raise InputError("file_missing", path=path) from None
    except OSError as error:
        raise InputError("manifest_unreadable", path=path, detail=error.strerror) from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    try:
        return list(csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True))
    except csv.Error as error:
        raise InputError("manifest_unreadable", path=path, detail=error) from None


def _case(number: int, header: Sequence[str], row: Sequence[str], folder: Path) -> Case:
    """The case of a row, whose paths are taken from `folder`."""
    if len(row) > len(header):
        raise InputError("manifest_cells", count=len(row), columns=len(header))
    cells = dict(zip(header, map(_plain, row), strict=False))
    library = cells.get("library", "")
    for column in REQUIRED:
        if not cells.get(column) and not (column == "support" and library):
            raise InputError("manifest_cell_empty", column=column)
    image = _existing(folder, cells["image"])
    support = _existing(folder, cells["support"]) if cells.get("support") else None
    name = cells.get("name") or _name_of(image)
    require_case_name(name)
    slices = cells.get("labelled_slices", "")
    return Case(
        number,
        name,
        image,
        support,
        cells.get("engine", ""),
        _as_axis(cells.get("axis", "")),
        _as_slice_numbers(slices) if slices else None,
        library,
    )


def _existing(folder: Path, text: str) -> Path:
    path = folder.resolve() / text
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # a name that no file can have
        pass
    raise InputError("file_missing", path=path)


def _name_of(image: Path) -> str:
    for ending in _ENDINGS:
        if image.name.lower().endswith(ending):
            return image.name[: -len(ending)]
    return image.name


def _as_axis(text: str) -> SliceAxis | None:
    if text in ("", "auto"):
        return None
    if text not in ("0", "1", "2"):
        raise InputError("axis_out_of_range", axis=text)
    return SliceAxis(int(text))


def _as_slice_numbers(text: str) -> tuple[int, ...]:
    """Numbers separated by commas, semicolons or spaces: a comma needs quotes in a CSV file, the others do not."""
    try:
        return tuple(int(part) for part in re.split(r"[,;\s]+", text.strip(",; ")))
    except ValueError:
        raise InputError("slices_malformed", text=text) from None


def _same_folder(name: str) -> str:
    """What names have in common that some file system takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _plain(cell: str) -> str:
    return cell.strip()
