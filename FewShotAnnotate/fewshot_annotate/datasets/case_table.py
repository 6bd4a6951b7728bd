"""CaseTable: the review state of the cases of a batch, shared by all who review it.

=====================  ==============================================================================================
status.csv             whether a case is filled and accepted
NAME/.review.lock      held by the one who reviews the case, whom it names; the system releases it
NAME/flagged           its presence flags the case for another review
=====================  ==============================================================================================
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ..core import paths
from ..core.disk import unwritable_error
from ..core.errors import InputError, Message
from ..core.expected_dice import ExpectedDice
from ..core.file_transaction import FileTransaction
from .accepted_case import batch_statuses, expected_by_name
from .batch_folder import BatchFolder
from .case_files import CaseFiles
from .review_lock import reviewer_of
from .status import CaseStatus, Status

_FLAG = "flagged"


class ReviewState(StrEnum):
    """Where a case is on its way to being accepted."""

    TO_DO = "to do"
    FILLING = "being filled"
    FAILED = "failed"
    FILLED = "filled"
    IN_REVIEW = "in review"
    FLAGGED = "flagged"
    ACCEPTED = "accepted"


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """A row of the table.

    Attributes
    ----------
    name : str
    state : ReviewState
    expected : mapping of str to ExpectedDice
        Of the result as it was filled, by name of the segment.
    reviewer : Message or str
        Who reviews the case now, as USER@COMPUTER.
    message : str
        One line: why it failed, or a warning; empty while it waits.
    picture : Path or None
        Picture of some slices, if there is one.
    """

    name: str
    state: ReviewState
    expected: Mapping[str, ExpectedDice]
    reviewer: Message | str = ""
    message: str = ""
    picture: Path | None = None

    @property
    def mean_expected_dice(self) -> float | None:
        """Mean over the segments; None if it is not known."""
        dice = [label_dice.dice for label_dice in self.expected.values()]
        return sum(dice) / len(dice) if dice else None


class CaseTable:
    """The cases of a batch folder with their review state.

    Parameters
    ----------
    folder : BatchFolder
    """

    def __init__(self, folder: BatchFolder) -> None:
        self.folder = folder

    def rows(self, reviewed: str = "", leaving: str = "") -> list[CaseRow]:
        """All cases in the order of status.csv.

        Parameters
        ----------
        reviewed : str
            Name of the case that this process reviews: it is in review until it is accepted or flagged.
        leaving : str
            Name of a case whose review this process is about to end.

        Raises
        ------
        InputError
            No batch was written there.
        """
        statuses: Collection[CaseStatus] = batch_statuses(self.folder).values()
        if any(status.status is Status.RUNNING for status in statuses) and not self.folder.busy():
            statuses = [_interrupted(status) for status in statuses]
        return [self._row(status, reviewed, leaving) for status in statuses]

    def accept(self, *names: str, accepted: bool = True) -> None:
        """Accept the results of cases, or withdraw the acceptance; their flags are removed. All are changed, or none.

        Raises
        ------
        InputError
            There is no such case, it is not filled, somebody reviews it, or corrected labels were saved under another
            name.
        """
        batch_statuses(self.folder)

        def change(rows: Mapping[str, CaseStatus], transaction: FileTransaction) -> list[CaseStatus]:
            for files in self._not_in_review(names, rows):
                if accepted:
                    files.require_no_later_labels()
                if paths.lexists(files.folder / _FLAG):
                    transaction.remove(files.folder / _FLAG)
            return [replace(rows[name], accepted=accepted) for name in names]

        self.folder.status.change_with_files(change)

    def flag(self, *names: str, flagged: bool = True) -> None:
        """Flag cases for another review, which removes their acceptance, or remove the flags. Raises as `accept`."""
        cases = self._not_in_review(names, batch_statuses(self.folder))
        if flagged:
            self.accept(*names, accepted=False)
        for files in cases:
            set_flag(files, flagged)

    def _not_in_review(self, names: Sequence[str], statuses: Mapping[str, CaseStatus]) -> list[CaseFiles]:
        """The files of filled cases that nobody reviews."""
        cases = []
        for name in names:
            if name not in statuses:
                raise InputError("case_unknown", path=self.folder.path, name=name)
            files = self.folder.case(name)
            if statuses[name].status is not Status.DONE or not paths.is_file(files.label):
                raise InputError("case_not_filled", name=name)
            reviewer = reviewer_of(files)
            if reviewer:
                raise InputError("case_in_review", name=name, reviewer=reviewer)
            cases.append(files)
        return cases

    def _row(self, status: CaseStatus, reviewed: str, leaving: str) -> CaseRow:
        files = self.folder.case(status.name)
        record = files.read_record()
        expected: Mapping[str, ExpectedDice] = {}
        if record is not None:
            _, outcome = record
            expected = files.memo.of(("expected", status.name), outcome, lambda: expected_by_name(outcome))
        reviewer = reviewer_of(files) if status.name != leaving else ""
        state = _state(status, files, reviewer, status.name == reviewed)
        message = "" if status.status is Status.SKIPPED else status.message
        picture = files.preview if paths.is_file(files.preview) else None
        return CaseRow(
            name=status.name, state=state, expected=expected, reviewer=reviewer, message=message, picture=picture
        )


def set_flag(files: CaseFiles, flagged: bool) -> None:
    """Flag a case, or remove its flag.

    Raises
    ------
    InputError
        Its folder cannot be written.
    """
    path = files.folder / _FLAG
    try:
        if flagged:
            with contextlib.suppress(FileExistsError):
                path.open("xb").close()  # without following a link
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable_error(path, error) from None


def _interrupted(status: CaseStatus) -> CaseStatus:
    """The status of a case whose batch was killed: none fills it now."""
    return replace(status, status=Status.SKIPPED) if status.status is Status.RUNNING else status


def _state(status: CaseStatus, files: CaseFiles, reviewer: Message | str, reviewed_here: bool) -> ReviewState:
    if reviewer and not reviewed_here:
        return ReviewState.IN_REVIEW
    if status.status is Status.DONE and paths.lexists(files.folder / _FLAG):
        return ReviewState.FLAGGED
    if status.status is Status.DONE and status.accepted:
        return ReviewState.ACCEPTED
    if reviewer:
        return ReviewState.IN_REVIEW
    states = {
        Status.DONE: ReviewState.FILLED,
        Status.FAILED: ReviewState.FAILED,
        Status.RUNNING: ReviewState.FILLING,
        Status.SKIPPED: ReviewState.TO_DO,
    }
    return states[status.status]
