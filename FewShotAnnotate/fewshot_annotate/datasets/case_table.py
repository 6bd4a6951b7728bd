"""CaseTable: the review state of the cases of a batch, shared by all who review it.

=====================  ==============================================================================================
status.csv             whether a case is filled and accepted
NAME/.review.lock      held by the one who reviews the case, whom it names; the system releases it
NAME/flagged           its presence flags the case for another look
=====================  ==============================================================================================
"""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError
from ..core.expected_dice import ExpectedDice
from ..core.locks import open_locked, share_lock
from ..core.reading import read_text
from .accepted_case import batch_statuses, expected_by_name
from .batch_folder import BatchFolder, CaseFiles
from .status import CaseStatus, Status

_LOCK, _FLAG = ".review.lock", "flagged"
_MAX_NAME_BYTES = 200


class ReviewState(StrEnum):
    """Where a case is on its way to being accepted."""

    TO_DO = "to do"
    FILLING = "being filled"
    FAILED = "failed"
    FILLED = "filled"
    IN_REVIEW = "in review"
    FLAGGED = "flagged"
    ACCEPTED = "accepted"


@dataclass(frozen=True)
class CaseRow:
    """A row of the table.

    Attributes
    ----------
    name : str
    state : ReviewState
    expected : mapping of str to ExpectedDice
        Of the result as it was filled, by name of the segment.
    reviewer : str
        Who reviews the case now, as USER@COMPUTER.
    """

    name: str
    state: ReviewState
    expected: Mapping[str, ExpectedDice]
    reviewer: str = ""

    @property
    def mean_expected_dice(self) -> float | None:
        """Mean over the segments; None if it is not known."""
        found = [one.dice for one in self.expected.values()]
        return sum(found) / len(found) if found else None


class CaseTable:
    """The cases of a batch folder with their review state.

    Parameters
    ----------
    folder : BatchFolder
    """

    def __init__(self, folder: BatchFolder) -> None:
        self.folder = folder

    def rows(self) -> list[CaseRow]:
        """All cases in the order of status.csv.

        Raises
        ------
        InputError
            No batch was written there.
        """
        return [self._row(status) for status in batch_statuses(self.folder).values()]

    @contextlib.contextmanager
    def review(self, name: str) -> Iterator[CaseFiles]:
        """Context manager: the files of a case, which nobody else may review meanwhile.

        Raises
        ------
        InputError
            There is no such case, it is not filled, or somebody else reviews it.
        """
        files = self._filled(name)
        try:
            lock = open_locked(files.folder / _LOCK)
        except OSError as error:
            raise unwritable_error(files.folder, error) from None
        if lock is None:
            raise InputError("case_in_review", name=name, reviewer=self._reviewer(files) or "somebody else")
        share_lock(files.folder / _LOCK)
        with lock:
            with contextlib.suppress(OSError):
                lock.truncate(0)
                lock.write(reviewer_name().encode("utf-8", "replace")[:_MAX_NAME_BYTES])
                lock.flush()
            yield files
            with contextlib.suppress(OSError):
                lock.truncate(0)

    def accept(self, name: str, accepted: bool = True) -> None:
        """Accept the result of a case, or take that back; a flag is removed. Raises as `review`."""
        with self.review(name) as files:
            self._set_flag(files, False)
            self.folder.status.set_accepted(name, accepted)

    def flag(self, name: str, flagged: bool = True) -> None:
        """Flag a case for another look, which is then no longer accepted, or remove the flag. Raises as `review`."""
        with self.review(name) as files:
            if flagged:
                self.folder.status.set_accepted(name, False)
            self._set_flag(files, flagged)

    def _set_flag(self, files: CaseFiles, flagged: bool) -> None:
        path = files.folder / _FLAG
        try:
            if flagged:
                path.touch()
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable_error(path, error) from None

    def _filled(self, name: str) -> CaseFiles:
        statuses = batch_statuses(self.folder)
        if name not in statuses:
            raise InputError("case_unknown", path=self.folder.path, name=name)
        files = self.folder.case(name)
        if statuses[name].status is not Status.DONE or not paths.is_file(files.label):
            raise InputError("case_not_filled", name=name)
        return files

    def _row(self, status: CaseStatus) -> CaseRow:
        files = self.folder.case(status.name)
        record = files.read_record()
        expected = {} if record is None else expected_by_name(record[1])
        reviewer = self._reviewer(files)
        return CaseRow(status.name, self._state(status, files, reviewer), expected, reviewer)

    def _state(self, status: CaseStatus, files: CaseFiles, reviewer: str) -> ReviewState:
        if status.status is not Status.DONE:
            states = {Status.FAILED: ReviewState.FAILED, Status.RUNNING: ReviewState.FILLING}
            return states.get(status.status, ReviewState.TO_DO)
        if reviewer:
            return ReviewState.IN_REVIEW
        if paths.lexists(files.folder / _FLAG):
            return ReviewState.FLAGGED
        return ReviewState.ACCEPTED if status.accepted else ReviewState.FILLED

    def _reviewer(self, files: CaseFiles) -> str:
        """Who holds the lock of a case; empty if nobody does."""
        path = files.folder / _LOCK
        if not paths.is_plain_file(path):
            return ""
        try:
            lock = open_locked(path)
            if lock is not None:
                lock.close()
                return ""
            return read_text(path, max_bytes=_MAX_NAME_BYTES) or "somebody else"
        except (OSError, UnicodeDecodeError):
            return ""


def reviewer_name() -> str:
    """Who reviews, as USER@COMPUTER."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
