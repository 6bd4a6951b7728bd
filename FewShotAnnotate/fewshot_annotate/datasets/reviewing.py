"""Steps of a review that need no scene: lock and read a case; accept, flag or reset it; read the table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.disk import unwritable_error
from ..core.errors import InputError, Message
from ..core.volume import LabelMap, Segment
from .accepted_examples import add_accepted, add_reviewed, remove_reviewed
from .accepting import LabelHistory, accept_case
from .batch_folder import BatchFolder
from .case_files import PRIVATE
from .case_table import CaseRow, CaseTable, ReviewState, set_flag
from .listed_cases import dataset_task, listed_names
from .ranking import RankedCase, rank_batch
from .review_lock import ReviewLock
from .reviewed_case import ReviewedCase, read_case
from .status import Status
from .task.library import task_folder
from .task.task import read_task

# States of the next case to review, in order; the second and third only if the data set lists its cases.
_NEXT = (ReviewState.FILLED, ReviewState.TO_DO, ReviewState.FAILED, ReviewState.FLAGGED)
_UNFILLED = (ReviewState.TO_DO, ReviewState.FAILED)


@dataclass(frozen=True)
class ReviewTable:
    """The cases of a data set or batch as they were read.

    Attributes
    ----------
    rows : tuple of CaseRow
    listed : frozenset of str
        Names of the cases whose images are known though they are not filled.
    ranked : tuple of RankedCase
        Filled cases in the order in which to review them.
    """

    rows: tuple[CaseRow, ...] = ()
    listed: frozenset[str] = frozenset()
    ranked: tuple[RankedCase, ...] = ()

    def next(self, current: str | None) -> str | None:
        """Name of the case to review after another one; None if there is none.

        Filled cases come first, then those that no batch filled, then flagged ones. Within these, the order is that
        of the ranking and else of the table, from the current case on.
        """
        names = [row.name for row in self.rows]
        order = [*_names_after(current, [ranked.case.name for ranked in self.ranked]), *_names_after(current, names)]
        by_name = {row.name: row for row in self.rows}
        rows = [by_name[name] for name in dict.fromkeys(order) if name in by_name]
        loadable = [row for row in rows if row.state not in _UNFILLED or row.name in self.listed]
        return next((row.name for state in _NEXT for row in loadable if row.state is state), None)

    def reason(self, name: str | None) -> Message | None:
        """Why a filled case is to be reviewed before others; None for one that is not ranked."""
        return next((ranked.reason for ranked in self.ranked if ranked.case.name == name), None)


def read_review_table(folder: BatchFolder, reviewed: str = "", leaving: str = "") -> ReviewTable:
    """Read the table; parameters as for `CaseTable.rows`. Raises `InputError` if there is no batch."""
    rows = tuple(CaseTable(folder).rows(reviewed, leaving))
    try:
        task = _task_of(folder)
        ranked, _ = rank_batch(folder, None if task is None else read_task(task, folder.memo))
    except InputError:  # of the task, which the overview names
        ranked, _ = rank_batch(folder)
    return ReviewTable(rows, listed_names(folder), tuple(ranked))


def _names_after(current: str | None, names: Sequence[str]) -> list[str]:
    """The other names from the current one on, and then those before it."""
    start = names.index(current) + 1 if current in names else 0
    return [name for name in (*names[start:], *names[:start]) if name != current]


class CaseReading:
    """Reads a case and holds its lock, in a thread.

    Parameters
    ----------
    folder : BatchFolder
    name : str
    held : ReviewLock or None
        The lock, if it is held already.
    leaving : str
        Name of the case that is shown now.
    """

    def __init__(self, folder: BatchFolder, name: str, held: ReviewLock | None = None, leaving: str = "") -> None:
        self.lock = held
        self._folder = folder
        self._name = name
        self._was_held = held is not None
        self._leaving = leaving if held is None else ""
        self._abandoned = False

    def read(self) -> tuple[ReviewedCase, ReviewTable]:
        """The case as its files hold it, and the table.

        Raises
        ------
        InputError
            Somebody else reviews the case, or it cannot be read.
        """
        if self.lock is None:
            files = self._folder.case(self._name)
            try:
                files.folder.mkdir(PRIVATE, exist_ok=True)
            except OSError as error:
                raise unwritable_error(files.folder, error) from None
            self.lock = ReviewLock(files)
        try:
            row = self._folder.status.read().get(self._name)
            if row is not None and row.status is Status.RUNNING and self._folder.busy():
                raise InputError("review_running", name=self._name)
            is_filled = self._folder.case(self._name).read_record() is not None
            case = read_case(self._folder, self._name, () if is_filled else _task_segments(self._folder))
            table = read_review_table(self._folder, self._name, self._leaving)
        except BaseException:
            self.abandon()
            raise
        if self._abandoned:
            self.abandon()
        return case, table

    def abandon(self) -> None:
        """The case is not shown: others may review it."""
        self._abandoned = True
        if self.lock is not None and not self._was_held:
            self.lock.release()


@dataclass(frozen=True)
class Acceptance:
    """Outcome of an acceptance or of its withdrawal; `refusal` is why the task was not changed accordingly."""

    case: ReviewedCase
    table: ReviewTable
    refusal: InputError | None


def _task_of(folder: BatchFolder) -> Path | None:
    name = dataset_task(folder)
    return task_folder(name) if name else None


def _task_segments(folder: BatchFolder) -> tuple[Segment, ...]:
    task = _task_of(folder)
    return read_task(task, folder.memo).segments if task is not None else ()


def write_acceptance(
    case: ReviewedCase, corrected: LabelMap | None, folder: BatchFolder, history: LabelHistory | None
) -> Acceptance:
    """Accept a case, and add it to the task; that it cannot be added does not undo the acceptance."""
    changed = accept_case(case, corrected, folder, history)
    refusal = None
    try:
        task = _task_of(folder)
        if task is not None:
            add_reviewed(task, folder, changed)
    except InputError as error:
        refusal = error
    return Acceptance(changed, read_review_table(folder, case.name), refusal)


def reset_case(case: ReviewedCase, folder: BatchFolder, flagged: bool) -> Acceptance:
    """Write that a case is not accepted, and whether it is flagged; it leaves the task, too, if possible."""
    folder.status.set_accepted(case.name, False)
    set_flag(case.files, flagged)
    refusal = None
    try:
        task = _task_of(folder)
        if task is not None:
            remove_reviewed(task, case)
    except InputError as error:
        refusal = error
    return Acceptance(case, read_review_table(folder, case.name), refusal)


def accept_cases(folder: BatchFolder, names: Collection[str], accepted: bool = True) -> list[tuple[str, InputError]]:
    """Accept the results of cases, or withdraw that; they are added to the task of the data set, or leave it.

    Returns
    -------
    list of (str, InputError)
        Names of cases, or the folder, with the reason why the task was not changed accordingly.

    Raises
    ------
    InputError
        As `CaseTable.accept`; nothing is changed.
    """
    CaseTable(folder).accept(*names, accepted=accepted)
    return _follow(folder, names, accepted)


def flag_cases(folder: BatchFolder, names: Collection[str], flagged: bool = True) -> list[tuple[str, InputError]]:
    """Flag cases for another review, so that they leave the task, or remove the flags; as `accept_cases`."""
    CaseTable(folder).flag(*names, flagged=flagged)
    return _follow(folder, names, False) if flagged else []


def _follow(folder: BatchFolder, names: Collection[str], accepted: bool) -> list[tuple[str, InputError]]:
    """Add cases to the task of the data set, if it has one, or remove them; those that cannot be, with the reason."""
    try:
        task = _task_of(folder)
        if task is None:
            return []
        if accepted:
            return list(add_accepted(task, folder, names).refused)
    except InputError as error:
        return [(str(folder.path), error)]
    refused = []
    for name in names:
        try:
            remove_reviewed(task, read_case(folder, name))
        except InputError as error:
            refused.append((name, error))
    return refused
