"""Status of the cases of a batch: status.csv, written by the batch and by the review in Slicer.

Users open the table in a spreadsheet program, and every version of this program reads it. Workers on other machines
never write it. Each change is a transaction: the table is read, changed and replaced under a lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from ..core.errors import InputError
from ..core.file_transaction import FileTransaction
from ..core.locks import file_lock
from ..core.memo import Memo
from ..core.spreadsheet_cells import unescape_formula
from ..core.storage import csv_bytes
from ..io.table import read_table_text, split_lines
from .manifest import require_case_name

COLUMNS = ("name", "status", "seconds", "message")
# Added with the first finished case: axis of the slices as an array index and in words, mean expected Dice of labels,
# ml of each label, and the slice of the lowest confidence.
DETAILS = ("axis", "plane", "expected_dice", "ml", "least_confidence", "least_confident_slice")
# Added by the first review.
ACCEPTED = "accepted"
# Added if the manifest has it, or by people.
PATIENT = "patient"
# Message of a case that waits.
NOT_BEGUN = "not begun"
_YES = frozenset(("yes", "y", "true", "1", "x"))
_NO = frozenset(("", "no", "n", "false", "0", "-"))
_WAIT_SECONDS = 10.0


class Status(StrEnum):
    """State of a case."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # waiting, or not run because the batch was cancelled
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class CaseStatus:
    """One row of status.csv.

    Attributes
    ----------
    name : str
    status : Status
    seconds : float or None
        Run time; None if the case did not end.
    message : str
        One line: why the case failed or was skipped, or a warning.
    accepted : bool
        Whether a user accepted the result in a review.
    details : tuple of str
        Cells of `DETAILS`; empty if the case was not filled.
    patient : str
        As of `Case`; if it is empty, that in the table stays.
    error : InputError or None
        The error that `message` describes, for callers; not in the table.
    """

    name: str
    status: Status
    seconds: float | None = None
    message: str = ""
    accepted: bool = False
    details: tuple[str, ...] = ()
    patient: str = ""
    error: InputError | None = field(default=None, compare=False)

    def cells(self) -> dict[str, str]:
        """The row's text by column."""
        seconds = "" if self.seconds is None else f"{self.seconds:.2f}"
        texts = (self.name, str(self.status), seconds, self.message, "yes" if self.accepted else "")
        details = dict(zip(DETAILS, self.details, strict=False))
        return dict(zip((*COLUMNS, ACCEPTED), texts, strict=True)) | details | {PATIENT: self.patient}


# Function from the current rows by name to the rows to add or replace.
RowUpdate = Callable[[Mapping[str, CaseStatus]], Iterable[CaseStatus]]


class StatusFile:
    """A status.csv and the lock file beside it.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._memo = Memo()

    def read(self) -> dict[str, CaseStatus]:
        """The rows by name, in the file's order; empty if there is no file.

        Raises
        ------
        InputError
            The file is not a status table, or a row is invalid; the error names the row.
        """
        return self._read().statuses

    def change(self, change: RowUpdate) -> dict[str, CaseStatus]:
        """Replace the rows of the same names in the file, and append the others; all of them or none.

        Columns that people added stay as they are.

        Parameters
        ----------
        change : function
            Called while nobody else can change the file. What it raises leaves the file as it is.

        Returns
        -------
        dict of str to CaseStatus
            All rows, as they are in the file now.

        Raises
        ------
        InputError
            The file is no such table, or cannot be written.
        """
        return self.change_with_files(lambda rows, _files: change(rows))

    def change_with_files(
        self, change: Callable[[Mapping[str, CaseStatus], FileTransaction], Iterable[CaseStatus]]
    ) -> dict[str, CaseStatus]:
        """As `change`, together with other files: all of them are changed, or none.

        Parameters
        ----------
        change : function
            As for `change`; it may add files to the transaction that it is given.
        """
        with file_lock(self.path.with_name(".status.lock"), _WAIT_SECONDS, self.path):
            table = self._read()
            with FileTransaction() as files:
                changed = {status.name: status for status in change(dict(table.statuses), files)}
                if not changed.items() <= table.statuses.items() or not self.path.exists():
                    table.put(changed)
                    files.stream(self.path).write(csv_bytes(table.header, table.rows()))
        return table.statuses

    def update(self, changed: Iterable[CaseStatus]) -> dict[str, CaseStatus]:
        """Update the status of cases, as `change`; whether they are accepted stays as it is."""
        return self.change(lambda rows: keep_accepted(changed, rows))

    def set_accepted(self, name: str, accepted: bool) -> dict[str, CaseStatus]:
        """Set whether a user accepts the result of a case, as `change`; the rest of its row is kept."""
        return self.change(lambda rows: [replace(rows[name], accepted=accepted)] if name in rows else [])

    def _read(self) -> _Table:
        try:
            text = read_table_text(self.path)
        except InputError as error:
            if error.code == "file_missing":
                return _Table([*COLUMNS])
            raise InputError("status_unreadable", path=self.path) from None
        return self._memo.of(self.path, text, lambda: self._parse(text)).copy()

    def _parse(self, text: str) -> _Table:
        try:
            lines = split_lines(text, self.path)
        except InputError:
            raise InputError("status_unreadable", path=self.path) from None
        header = [unescape_formula(cell) for cell in lines[0]] if lines else []
        while header and not header[-1].strip():
            header.pop()  # a spreadsheet program leaves empty columns behind
        table = _Table(header)
        if not set(COLUMNS) <= set(table.columns) or len(set(table.columns)) < len(table.columns):
            raise InputError("status_unreadable", path=self.path)
        for number, line in enumerate(lines[1:], start=2):
            if any(line):
                try:
                    table.add(line)
                except InputError as error:
                    raise InputError("manifest_row", path=self.path, row=number, detail=error) from None
        return table


def keep_accepted(changed: Iterable[CaseStatus], rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
    """Update rows, but not whether they are accepted, which only a review changes; an accepted case stays done."""
    merged = []
    for status in changed:
        row = rows.get(status.name)
        if row is None:
            merged.append(status)
        elif row.accepted and status.status is not Status.DONE:
            merged.append(row)
        else:
            merged.append(replace(status, accepted=row.accepted))
    return merged


class _Table:
    """A status.csv in memory, with columns that users added."""

    def __init__(self, header: list[str]) -> None:
        self.header = header
        self.columns = [cell.strip().lower() for cell in header]
        self.statuses: dict[str, CaseStatus] = {}
        self._cells: dict[str, dict[str, str]] = {}

    def copy(self) -> _Table:
        """A table that may be changed without changing this one."""
        table = _Table(self.header)
        table.statuses, table._cells = {**self.statuses}, {**self._cells}
        return table

    def add(self, line: list[str]) -> None:
        """Add a row as it stands in the file."""
        if any(line[len(self.header) :]):
            raise InputError("manifest_cells", count=len(line), columns=len(self.header))
        cells = {column: unescape_formula(cell) for column, cell in zip(self.columns, line, strict=False)}
        status = _from_cells(cells)
        if status.name in self.statuses:
            row = [*self.statuses].index(status.name) + 2
            raise InputError("case_name_twice", name=status.name, row=row)
        self.statuses[status.name], self._cells[status.name] = status, cells

    def put(self, changed: Mapping[str, CaseStatus]) -> None:
        """Put rows in place of those of the same name or at the end."""
        for name, status in changed.items():
            if not status.patient and name in self.statuses:
                status = replace(status, patient=self.statuses[name].patient)
            self.statuses[name] = status
            self._cells[name] = {**self._cells.get(name, {}), **status.cells()}
        if any(status.details for status in self.statuses.values()):
            self._add_columns(DETAILS)
        if any(status.accepted for status in self.statuses.values()):
            self._add_columns((ACCEPTED,))
        if any(status.patient for status in self.statuses.values()):
            self._add_columns((PATIENT,))

    def _add_columns(self, names: Sequence[str]) -> None:
        new = [name for name in names if name not in self.columns]
        self.header, self.columns = [*self.header, *new], [*self.columns, *new]

    def rows(self) -> Iterable[list[str]]:
        """The rows as they are to stand in the file."""
        return ([cells.get(column, "") for column in self.columns] for cells in self._cells.values())


def _from_cells(cells: Mapping[str, str]) -> CaseStatus:
    name, status, seconds, message = (cells.get(column, "") for column in COLUMNS)
    require_case_name(name)
    accepted = cells.get(ACCEPTED, "").strip().lower()
    try:
        duration = float(seconds.replace(",", ".")) if seconds.strip() else None  # some spreadsheets write 1,5
        if (duration is not None and not math.isfinite(duration)) or accepted not in _YES | _NO:
            raise ValueError
        details = tuple(cells.get(column, "") for column in DETAILS)
        return CaseStatus(
            name=name,
            status=Status(status.strip().lower()),
            seconds=duration,
            message=message,
            accepted=accepted in _YES,
            details=details if any(details) else (),
            patient=cells.get(PATIENT, "").strip(),
        )
    except ValueError:
        raise InputError("status_row", name=name) from None
