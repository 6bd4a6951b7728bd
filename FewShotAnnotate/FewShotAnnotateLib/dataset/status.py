"""Status of the cases of a batch: status.csv, rewritten whole, by the batch and by whoever reviews it.

The table is a plain file, which people open in a spreadsheet program and which every version of this program reads.
Only two programs write it, the one that runs the batch and the one that reviews it; workers on other machines never
do. Each change is one transaction: the table is read, changed and replaced while one lock is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ..core.cells import from_text
from ..core.errors import InputError
from ..core.lock import lock_held
from ..core.storage import write_csv
from ..core.table import read_lines
from .manifest import require_case_name

COLUMNS = ("name", "status", "seconds", "message")
# Added by the first review.
ACCEPTED = "accepted"
_YES = frozenset(("yes", "y", "true", "1", "x"))
_NO = frozenset(("", "no", "n", "false", "0", "-"))
_WAIT_SECONDS = 10.0


class Status(StrEnum):
    """What became of a case."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # not run: not yet, or not any more
    RUNNING = "running"


@dataclass(frozen=True)
class CaseStatus:
    """One row of status.csv.

    Attributes
    ----------
    name : str
    status : Status
    seconds : float or None
        What the case took; None if it did not come to an end.
    message : str
        One line: why it failed or was not run, or what the user should know of it.
    accepted : bool
        Whether a person has reviewed the result and takes it.
    """

    name: str
    status: Status
    seconds: float | None = None
    message: str = ""
    accepted: bool = False

    def cells(self) -> dict[str, str]:
        """The row's text by column."""
        seconds = "" if self.seconds is None else f"{self.seconds:.2f}"
        texts = (self.name, str(self.status), seconds, self.message, "yes" if self.accepted else "")
        return dict(zip((*COLUMNS, ACCEPTED), texts, strict=True))


# From all rows of the table by name, the rows to put into it.
Change = Callable[[Mapping[str, CaseStatus]], Iterable[CaseStatus]]


class StatusFile:
    """A status.csv and the lock beside it, under which it is changed.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, CaseStatus]:
        """The rows by name, in the file's order; empty if there is no file.

        Raises
        ------
        InputError
            It is no such table, or a row cannot be used; that names the row.
        """
        return self._read().statuses

    def change(self, change: Change) -> dict[str, CaseStatus]:
        """Put rows into the file, in place of those of the same name or at its end; whole or not at all.

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
        with lock_held(self.path.with_name(".status.lock"), _WAIT_SECONDS, self.path):
            table = self._read()
            changed = {one.name: one for one in change(dict(table.statuses))}
            if not changed.items() <= table.statuses.items() or not self.path.exists():
                table.put(changed)
                write_csv(self.path, table.header, table.rows())
        return table.statuses

    def update(self, changed: Iterable[CaseStatus]) -> dict[str, CaseStatus]:
        """Put in what became of cases, as `change` does; what a person accepted stays accepted."""
        return self.change(lambda rows: with_acceptance(changed, rows))

    def set_accepted(self, name: str, accepted: bool) -> dict[str, CaseStatus]:
        """Say whether a person takes the result of a case, as `change` does; the rest of its row stays as it is."""
        return self.change(lambda rows: [replace(rows[name], accepted=accepted)] if name in rows else [])

    def _read(self) -> _Table:
        try:
            lines = read_lines(self.path)
        except InputError as error:
            if error.code == "file_missing":
                return _Table([*COLUMNS])
            raise InputError("status_unreadable", path=self.path) from None
        header = [from_text(cell) for cell in lines[0]] if lines else []
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


def with_acceptance(changed: Iterable[CaseStatus], rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
    """Rows to put into a table, but accepted where they are in the table; an accepted case is done for good."""
    merged = []
    for one in changed:
        row = rows.get(one.name)
        if row is not None and row.accepted:
            one = replace(one, accepted=True) if one.status is Status.DONE else row
        merged.append(one)
    return merged


class _Table:
    """A status.csv in memory, with columns that mean nothing here."""

    def __init__(self, header: list[str]) -> None:
        self.header = header
        self.columns = [cell.strip().lower() for cell in header]
        self.statuses: dict[str, CaseStatus] = {}
        self._cells: dict[str, dict[str, str]] = {}

    def add(self, line: list[str]) -> None:
        """Add a row as it stands in the file."""
        if any(line[len(self.header) :]):
            raise InputError("manifest_cells", count=len(line), columns=len(self.header))
        cells = {column: from_text(cell) for column, cell in zip(self.columns, line, strict=False)}
        status = _from_cells(cells)
        if status.name in self.statuses:
            row = [*self.statuses].index(status.name) + 2
            raise InputError("case_name_twice", name=status.name, row=row)
        self.statuses[status.name], self._cells[status.name] = status, cells

    def put(self, changed: Mapping[str, CaseStatus]) -> None:
        """Put rows in place of those of the same name or at the end."""
        for name, status in changed.items():
            self._cells[name] = {**self._cells.get(name, {}), **status.cells()}
        self.statuses.update(changed)
        if ACCEPTED not in self.columns and any(one.accepted for one in self.statuses.values()):
            self.header = [*self.header, ACCEPTED]
            self.columns = [*self.columns, ACCEPTED]

    def rows(self) -> Iterable[list[str]]:
        """The rows as they are to stand in the file."""
        return ([cells.get(column, "") for column in self.columns] for cells in self._cells.values())


def _from_cells(cells: Mapping[str, str]) -> CaseStatus:
    name, status, seconds, message = (cells.get(column, "") for column in COLUMNS)
    require_case_name(name)
    accepted = cells.get(ACCEPTED, "").strip().lower()
    try:
        took = float(seconds.replace(",", ".")) if seconds.strip() else None  # some spreadsheets write 1,5
        if (took is not None and not math.isfinite(took)) or accepted not in _YES | _NO:
            raise ValueError
        return CaseStatus(name, Status(status.strip().lower()), took, message, accepted in _YES)
    except ValueError:
        raise InputError("status_row", name=name) from None
