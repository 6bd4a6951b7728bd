"""State of a batch: which cases are done, running and waiting, as its table, its page and its progress show it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import InputError
from ..core.storage import write_text
from .accepted_case import expected_by_name
from .batch_folder import BatchFolder
from .batch_time import BatchTime
from .case import CORRECTED, CaseJob
from .case_details import details_of
from .manifest import BadRow
from .review_lock import reviewer_of
from .status import NOT_BEGUN, CaseStatus, RowUpdate, Status, keep_accepted

_PAGE_SECONDS = 10.0
# The progress is reported at least this often while cases run.
REPORT_SECONDS = 5.0
CANCELLED = "cancelled"
IN_REVIEW = "in review"
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """Progress of a batch.

    Attributes
    ----------
    case : CaseStatus or None
        The case that changed; None at the start, and where only time has passed.
    done, failed, running, total : int
    eta : float or None
        Estimated remaining time in seconds, None if unknown.
    """

    case: CaseStatus | None
    done: int
    failed: int
    running: int
    total: int
    eta: float | None = None


class BatchState:
    """Status of all cases of a batch, in memory, in status.csv and in index.html.

    Parameters
    ----------
    folder : BatchFolder
        Locked by this process.
    case_jobs : sequence of CaseJob
        Cases that can be run; those that are done are not run again.
    bad_rows : sequence of BadRow
        Cases that cannot be run.
    report : function
        Called with the progress at every change, and by `report_if_due`.

    Attributes
    ----------
    folder : BatchFolder
    names : list of str
        All cases, in the order of the manifest.
    statuses : dict of str to CaseStatus
        Status of each case by name.
    waiting : deque of CaseJob
        Cases that are still to be started, in order.
    running : dict of str to CaseJob
        Cases that run now, by name.
    """

    def __init__(
        self,
        folder: BatchFolder,
        case_jobs: Sequence[CaseJob],
        bad_rows: Sequence[BadRow],
        report: Callable[[BatchProgress], None],
    ) -> None:
        self.folder = folder
        self.running: dict[str, CaseJob] = {}
        self.waiting: deque[CaseJob] = deque()
        self._report = report
        rows = {case_job.case.row: case_job.case.name for case_job in case_jobs} | {
            bad.number: bad.name for bad in bad_rows
        }
        self.names = [rows[number] for number in sorted(rows)]
        self._total = len(self.names)
        self._counts = dict.fromkeys(Status, 0)
        self._case_jobs = {case_job.case.name: case_job for case_job in case_jobs}
        self._unsaved: dict[str, CaseStatus] = {}
        self._time = BatchTime()
        self.statuses = folder.status.change(_first_statuses(folder, case_jobs, bad_rows))
        for name in self.names:
            self._counts[self.statuses[name].status] += 1
        self.waiting.extend(
            case_job for case_job in case_jobs if self.statuses[case_job.case.name].status is Status.SKIPPED
        )
        self.write_page()
        self._report_progress(None)
        for bad in bad_rows:
            self._report_progress(self.statuses[bad.name])

    def begin(self, count: int) -> list[CaseJob]:
        """Mark the next cases as running; those that a user accepted meanwhile or reviews now are left out."""
        begun: list[CaseJob] = []
        left_out: list[CaseStatus] = []

        def claim(rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
            begun.clear()
            left_out.clear()
            for case_job in self.waiting:
                name = case_job.case.name
                row = rows.get(name)
                if row is not None and row.accepted:
                    left_out.append(replace(row, status=Status.DONE))
                elif reviewer_of(case_job.files):
                    result = case_job.files.read_record()  # of another model, or none
                    state = Status.SKIPPED if result is None else Status.DONE
                    left_out.append(CaseStatus(name=name, status=state, message=IN_REVIEW))
                elif len(begun) < count:
                    begun.append(case_job)
                else:
                    break
            running = [CaseStatus(name=case_job.case.name, status=Status.RUNNING) for case_job in begun]
            return [*keep_accepted(self._unsaved.values(), rows), *left_out, *running]

        try:
            self._change(claim)
        except InputError:  # another program blocks the table, or the disk is full; the file is still valid
            try:
                claim(self.folder.status.read())
            except InputError:
                claim({})
        for _ in range(len(begun) + len(left_out)):
            self.waiting.popleft()
        for row in left_out:
            self._set(row)
        for case_job in begun:
            self.running[case_job.case.name] = case_job
            self._time.begin(case_job.case.name)
            self._set(CaseStatus(name=case_job.case.name, status=Status.RUNNING))
        return begun

    def end(self, status: CaseStatus) -> None:
        """Record the end of a case."""
        self.running.pop(status.name, None)
        self._time.end(status.name)
        self._set(status)

    def skip_remaining(self) -> None:
        """Mark all cases that have not ended as skipped."""
        for case_job in [*self.running.values(), *self.waiting]:
            self._set(CaseStatus(name=case_job.case.name, status=Status.SKIPPED, seconds=None, message=CANCELLED))
        self.running.clear()
        self.waiting.clear()

    def try_to_save(self) -> None:
        """As `save`, but if the file is blocked, such as by a spreadsheet program, try again later."""
        with contextlib.suppress(InputError):
            self.save()

    def save(self) -> None:
        """Write the changes to status.csv."""
        if self._unsaved:
            self._change(lambda rows: keep_accepted(self._unsaved.values(), rows))

    def write_page_if_due(self) -> None:
        """Write the page if it is out of date; failure to write it does not end the batch."""
        if time.monotonic() - self._paged > _PAGE_SECONDS:
            with contextlib.suppress(InputError):
                self.write_page()

    def report_if_due(self) -> None:
        """Report the progress if the last report is some seconds old."""
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._report_progress(None)

    def write_page(self) -> None:
        """Write index.html."""
        began = time.monotonic()
        _write_page(self.folder, [self.statuses[name] for name in self.names])
        self._paged = time.monotonic()
        self._time.page_written(self._paged - began)

    def _change(self, change: RowUpdate) -> None:
        """Update status.csv, and take over what a user accepted in it meanwhile."""
        rows = self.folder.status.change(change)
        self._unsaved = {}
        for name in self._case_jobs.keys() & rows.keys():
            if rows[name].accepted:
                self._count(rows[name])

    def _set(self, status: CaseStatus) -> None:
        self._unsaved[status.name] = status
        self._count(status)
        self._report_progress(status)

    def _count(self, status: CaseStatus) -> None:
        self._counts[self.statuses[status.name].status] -= 1
        self._counts[status.status] += 1
        self.statuses[status.name] = status

    def _report_progress(self, changed: CaseStatus | None) -> None:
        count, self._reported = self._counts, time.monotonic()
        self._report(
            BatchProgress(
                case=changed,
                done=count[Status.DONE],
                failed=count[Status.FAILED],
                running=count[Status.RUNNING],
                total=self._total,
                eta=self._time.seconds_left(len(self.waiting)),
            )
        )


def _first_statuses(
    folder: BatchFolder, case_jobs: Sequence[CaseJob], bad_rows: Sequence[BadRow]
) -> Callable[[Mapping[str, CaseStatus]], list[CaseStatus]]:
    """Function from the rows of an earlier batch to the statuses with which this one begins.

    Files are read here, so that the function, which is called while the status file is locked, is quick.
    """
    finished = {case_job.case.name: _finished(case_job) for case_job in case_jobs}
    there = {case_job.case.name for case_job in case_jobs if case_job.files.label.is_file()}
    in_review = {name for name in there if reviewer_of(folder.case(name))}
    failed = [
        CaseStatus(name=bad.name, status=Status.FAILED, message=str(bad.error), error=bad.error) for bad in bad_rows
    ]

    def first_statuses(rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
        first = []
        for case_job in case_jobs:
            name = case_job.case.name
            row = rows.get(name)
            keeps = row is not None and name in there and (row.accepted or name in in_review)
            kept = _kept(row, case_job) if row is not None and keeps else finished[name]
            kept = kept or CaseStatus(name=name, status=Status.SKIPPED, seconds=None, message=NOT_BEGUN)
            first.append(replace(kept, patient=case_job.case.patient or kept.patient))
        return [*first, *keep_accepted(failed, rows)]

    return first_statuses


def _kept(row: CaseStatus, case_job: CaseJob) -> CaseStatus:
    """The row of a case that is accepted or in review, with a message if its label map was corrected."""
    return replace(row, status=Status.DONE, message=CORRECTED if case_job.files.corrected() else row.message)


def _finished(case_job: CaseJob) -> CaseStatus | None:
    """The status of a case that need not be run again, or None."""
    record = case_job.files.read_record()
    if record is not None and record[0] == case_job.request():
        _, outcome = record
        return CaseStatus(
            name=case_job.case.name,
            status=Status.DONE,
            seconds=outcome.get("seconds"),
            message=str(outcome.get("message", "")),
            details=details_of(outcome),
        )
    return (
        CaseStatus(name=case_job.case.name, status=Status.DONE, seconds=None, message=CORRECTED)
        if case_job.files.corrected()
        else None
    )


def _write_page(folder: BatchFolder, cases: Sequence[CaseStatus]) -> None:
    """Write index.html of a batch folder; it shows the previews and needs no network."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True)
    expected = {case.name: _expected_dice(folder, case) for case in cases if case.status is Status.DONE}
    counts = {str(status): sum(case.status is status for case in cases) for status in Status}
    text = environment.get_template("index.html").render(
        title=folder.path.name, cases=cases, counts=counts, expected=expected
    )
    write_text(folder.page, text)


def _expected_dice(folder: BatchFolder, case: CaseStatus) -> str:
    """Expected Dice of a finished case, by segment; empty if it is not known."""
    record = folder.case(case.name).read_record()
    expected = {} if record is None else expected_by_name(record[1])
    return ", ".join(
        f"{name} {label_dice.dice:.2f} ({label_dice.low:.2f} to {label_dice.high:.2f})"
        for name, label_dice in expected.items()
    )
