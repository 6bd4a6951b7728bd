"""Status of the cases of a batch: status.csv, rewritten whole, by the batch and by whoever reviews it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..core.errors import InputError
from ..core.lock import take_lock
from ..core.reading import read_text
from ..core.storage import write_csv

COLUMNS = ("name", "status", "seconds", "message")
# Added by the first review.
ACCEPTED = "accepted"
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

    def cells(self) -> list[str]:
        """The row's text, `accepted` last."""
        seconds = "" if self.seconds is None else f"{self.seconds:.2f}"
        return [self.name, str(self.status), seconds, self.message, "yes" if self.accepted else ""]


class StatusFile:
    """A status.csv and the lock beside it, under which it is read and written.

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
            It is no such table.
        """
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(self.path, "utf-8-sig"), newline="")))
            return {row["name"]: _from_row(row) for row in rows}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
            raise InputError("status_unreadable", path=self.path) from None

    def update(self, changed: Iterable[CaseStatus]) -> dict[str, CaseStatus]:
        """Put rows into the file, in place of those of the same name or at its end; whole or not at all.

        Returns
        -------
        dict of str to CaseStatus
            All rows, as they are in the file now.

        Raises
        ------
        InputError
            The file is no such table, or cannot be written.
        """
        try:
            with self._alone():
                rows = self.read()
                rows.update((one.name, one) for one in changed)
                self._write(rows)
        except OSError as error:
            raise InputError("output_unwritable", path=self.path, detail=error.strerror) from None
        return rows

    def _write(self, rows: dict[str, CaseStatus]) -> None:
        columns = [*COLUMNS, ACCEPTED] if any(one.accepted for one in rows.values()) else [*COLUMNS]
        write_csv(self.path, columns, (one.cells()[: len(columns)] for one in rows.values()))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Batch and review each read, change and write: one at a time."""
        end = time.monotonic() + _WAIT_SECONDS
        with self.path.with_name(".status.lock").open("a+b") as file:
            while not take_lock(file):
                if time.monotonic() > end:
                    raise InputError("output_unwritable", path=self.path, detail="another program holds it")
                time.sleep(0.01)
            yield


def _from_row(row: dict[str, str]) -> CaseStatus:
    seconds = float(row["seconds"]) if row["seconds"] else None
    return CaseStatus(row["name"], Status(row["status"]), seconds, row["message"], bool(row.get(ACCEPTED)))
