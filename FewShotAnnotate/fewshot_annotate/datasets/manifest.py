"""Manifest: the CSV table that lists the cases of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.folder_names import FORBIDDEN_CHARACTERS, MAX_CHARACTERS, folder_name_key, is_folder_name
from ..core.slice_axis import AxisChoice, parse_axis, parse_slice_indices
from ..io.table import Row, read_table
from .image_and_label_names import without_suffix

REQUIRED = ("image", "support")
OPTIONAL = ("name", "engine", "axis", "labelled_slices", "labels", "library", "series", "task", "also", "patient")
# Of names that are made, so that their bytes and a number at their end fit.
_NAME_CHARACTERS = 60
_RESERVED = ("status.csv", "index.html", "cancel", "cases.csv", "dataset.json")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a manifest.

    Attributes
    ----------
    row : int
        Row number as in a spreadsheet: the header is row 1.
    name : str
        Name of the case and its folder; unique in the manifest, ignoring case.
    image : Path
        An image file or a DICOM folder, absolute.
    support : Path or None
        Label map on the image's grid, absolute; None if a task is used and nothing is painted.
    engine : str
        Name of the engine or 'auto'; empty for that of the batch.
    axis : SliceAxis, Plane or None
        None: found from the labels.
    labelled_slices : tuple of int or None
        None: the slices that hold any label.
    labels : Path or None
        File with the names of the labels, absolute; None for those that the label map has.
    library : str
        Name of a task of the support library; empty for none.
    series : str
        Which series of a DICOM folder with several, as `read_volume` takes it; empty where there is one.
    task : str
        Name or path of the task whose model is used; empty for none.
    also : tuple of Path
        Further volumes of the same patient in the same position: image files or DICOM folders, absolute.
    patient : str
        The same text for all cases of one patient, such as a pseudonym; empty if it is not known.
    """

    row: int
    name: str
    image: Path
    support: Path | None
    engine: str = ""
    axis: AxisChoice | None = None
    labelled_slices: tuple[int, ...] | None = None
    labels: Path | None = None
    library: str = ""
    series: str = ""
    task: str = ""
    also: tuple[Path, ...] = ()
    patient: str = ""


@dataclass(frozen=True)
class Manifest:
    """The cases of a batch.

    Attributes
    ----------
    path : Path
    cases : tuple of Case, at least one
    unknown : tuple of str
        Columns that are ignored.
    bad_rows : tuple of BadRow
        Rows that make no case.
    """

    path: Path
    cases: tuple[Case, ...]
    unknown: tuple[str, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be run: its number, a name that no case has, and the error, which names the row."""

    number: int
    name: str
    error: InputError


def read_manifest(path: str | Path, task: str = "") -> Manifest:
    """Read a CSV file with columns `image,support` and optionally those of `OPTIONAL`.

    The separator is the one of the header: comma, semicolon or tab; the encoding is UTF-8. Paths are relative to the
    manifest's folder unless absolute. Empty rows are skipped. With a task, column and cell of `support` are optional.

    Parameters
    ----------
    path : str or Path
    task : str
        Task of the rows that name none and no library task.

    Raises
    ------
    InputError
        The file is missing or not a table, or a column is missing.
    """
    table = read_table(Path(path), REQUIRED[:1] if task else REQUIRED)
    named: dict[str, Case] = {}

    def case_of(row: Row) -> Case:
        case = _case(row, task)
        other = named.setdefault(folder_name_key(case.name), case)
        if other is not case:
            raise InputError("case_name_twice", name=case.name, row=other.row)
        return case

    columns = {*REQUIRED, *OPTIONAL}
    unknown = tuple(column for column in table.header if column and column not in columns)
    cases, errors = table.split_items(case_of)
    bad_rows = []
    for number, error in errors.items():
        row = table.row(number)
        name = row.cell("name") or without_suffix(Path(row.cell("image")).name)
        usable = is_case_name(name) and folder_name_key(name) not in named
        name = name if usable else f"row {number}"
        named.setdefault(folder_name_key(name), Case(row=number, name=name, image=Path(), support=None))
        bad_rows.append(BadRow(number, name, error))
    return Manifest(table.path, tuple(cases), unknown, tuple(bad_rows))


def require_case_name(name: str) -> None:
    """Raise `InputError` unless a name is valid for a case and its folder."""
    if not is_case_name(name):
        raise InputError("case_name", name=name[:MAX_CHARACTERS])


def is_case_name(name: str) -> bool:
    """Whether a name is valid for a case and its folder: that of no file in the folder of a batch."""
    return is_folder_name(name) and name.lower() not in _RESERVED


def as_case_name(text: str) -> str:
    """A valid name for a case that resembles a text, such as a path."""
    name = FORBIDDEN_CHARACTERS.sub("_", text).strip("'=+-@. ")[:_NAME_CHARACTERS].rstrip(". ")
    name = name.encode("utf-8", "replace").decode("utf-8")
    return name if is_case_name(name) else f"case {name}".rstrip(". ")


def _case(row: Row, default_task: str) -> Case:
    library, own_task = row.cell("library"), row.cell("task")
    if library and own_task:
        raise InputError("case_task_twice")
    task = own_task or ("" if library else default_task)
    row.require("image", *(() if library or task else ("support",)))
    image = row.existing("image")
    support = row.existing("support") if row.cell("support") else None
    name = row.cell("name") or without_suffix(image.name)
    require_case_name(name)
    slices = row.cell("labelled_slices")
    return Case(
        row=row.number,
        name=name,
        image=image,
        support=support,
        engine=row.cell("engine"),
        axis=parse_axis(row.cell("axis") or "auto"),
        labelled_slices=tuple(parse_slice_indices(slices)) if slices else None,
        labels=row.existing("labels") if row.cell("labels") else None,
        library=library,
        series=row.cell("series"),
        also=row.several_existing("also"),
        task=task,
        patient=row.cell("patient"),
    )
