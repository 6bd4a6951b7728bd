"""Batch: fills the cases of a manifest into a folder, records their status and can be resumed."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ..core import paths
from ..core.errors import InputError
from ..engines.registry import engine_class, runnable_engine
from ..jobs.planning import require_channels
from .batch_folder import BatchFolder
from .batch_time import BatchTime
from .case import CORRECTED, BatchSettings, CaseJob
from .case_details import details_of
from .gallery import write_page
from .manifest import BadRow, Manifest
from .review_lock import reviewer_of
from .status import NOT_BEGUN, CaseStatus, RowUpdate, Status, keep_accepted
from .task.filling import require_task_engine
from .task.library import task_folder
from .task.matching import require_library_engine
from .task.models import require_model
from .task.task import read_task
from .traces import no_trace_if_refused

_WAIT_SECONDS = 0.2
_PAGE_SECONDS = 10.0
CANCELLED = "cancelled"
IN_REVIEW = "in review"


class WorkersLost(Exception):  # noqa: N818 (named for what happened)
    """The workers cannot be reached any more."""

    def __init__(self, error: InputError) -> None:
        super().__init__(error)
        self.error = error


class BadRowsError(Exception):
    """Rows of the manifest cannot be run.

    Attributes
    ----------
    errors : tuple of InputError
        One for each row, in order.
    """

    def __init__(self, errors: Sequence[InputError]) -> None:
        super().__init__(*errors)
        self.errors = tuple(errors)


class WorkerPool(Protocol):
    """Worker processes that run cases."""

    def slots(self) -> int:
        """Number of cases that may run at the same time; may change, and be 0 for a while."""

    def submit(self, case_job: CaseJob) -> None:
        """Start a case."""

    def poll(self, seconds: float) -> list[CaseStatus]:
        """Cases that ended since the last call; waits at most `seconds` for the first one.

        Raises
        ------
        PoolLost
        """

    def close(self) -> None:
        """End the worker processes; running cases have a grace period to stop."""


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """Progress of a batch.

    Attributes
    ----------
    case : CaseStatus or None
        The case that changed; None at the start.
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


def run_batch(
    manifest: Manifest,
    output: str | Path,
    settings: BatchSettings,
    make_pool: Callable[[], WorkerPool],
    *,
    engine: str = "auto",
    resume: bool = False,
    elsewhere: bool = False,
    skip_bad_rows: bool = False,
    report: Callable[[BatchProgress], None] = lambda _: None,
) -> dict[str, CaseStatus]:
    """Fill the cases of a manifest that are not done.

    Parameters
    ----------
    output : path of a folder
        See `batch_folder.py`.
    make_pool : function
        Called once the input is valid.
    engine : str
        Engine for rows that name none.
    resume : bool
        Whether to continue an earlier batch in `output`. Cases done with the same input, engine and options, and
        cases that a user accepted or corrected, are kept.
    elsewhere : bool
        Whether cases run on other machines, so that engines need not run on this one.
    skip_bad_rows : bool
        Whether to run the others if some rows cannot be run; these are listed as failed.
    report : function
        Called with the progress at every change.

    Returns
    -------
    dict of str to CaseStatus
        Status of each case by name. Skipped cases were not run because the batch was cancelled.

    Raises
    ------
    InputError
        The folder is unusable, or another batch runs in the folder. Nothing was run.
    BadRowsError
        Rows are unusable, and no other is left or they are not to be skipped. Nothing was run.
    PoolLost
        Raised after the status of all cases was written.
    KeyboardInterrupt
        On a second Ctrl+C; the first one cancels the batch.
    """
    require_page_packages()
    folder = BatchFolder(output)
    case_jobs, unrunnable = runnable_jobs(manifest, folder, settings, engine, elsewhere)
    bad_rows = sorted((*manifest.bad_rows, *unrunnable), key=lambda row: row.number)
    if bad_rows and not (skip_bad_rows and case_jobs):
        raise BadRowsError([row.error for row in bad_rows])
    with no_trace_if_refused(folder.path), folder.exclusive(resume):
        pool = make_pool()  # before anything is changed, as it may fail
        with contextlib.ExitStack() as ending:
            ending.callback(pool.close)
            folder.clear_cancel()
            state = _BatchState(folder, case_jobs, bad_rows, report)
            if state.waiting:
                ending.pop_all()
                try:
                    _run(state, pool)
                finally:
                    pool.close()
                    state.skip_remaining()
                    state.save()
                    state.write_page()
        return {name: state.statuses[name] for name in state.names}


def require_page_packages() -> None:
    """Raise `InputError` if a package for previews or the HTML page is missing."""
    for module, package in (("PIL", "pillow"), ("jinja2", "jinja2")):
        if find_spec(module) is None:
            raise InputError("package_missing", package=package, install='"fewshot-annotate[batch]"')


def runnable_jobs(
    manifest: Manifest, folder: BatchFolder, settings: BatchSettings, engine: str, elsewhere: bool
) -> tuple[list[CaseJob], list[BadRow]]:
    """The cases as jobs, with their engines and tasks resolved, and the rows that cannot be run.

    A row cannot be run if its engine does not exist, cannot run or does not take the options or a task, there is no
    such task, or its files lie in the batch's own folder.
    """
    case_jobs, bad_rows = [], []
    trained = cache(_trained_task)
    for case in manifest.cases:
        try:
            name = case.engine or engine
            library = task_folder(case.library).resolve() if case.library else None
            task, model = trained(case.task) if case.task else (None, None)
            if library:
                name = require_library_engine(name)
            elif task:
                name = require_task_engine(name, case.support is not None)
            chosen = engine_class(name)
            if not elsewhere:
                runnable_engine(chosen.name)
            chosen(settings.device, settings.options)
            require_channels(chosen.name, case.also)
            for path in (case.image, case.support, *case.also):
                if path is not None and folder.path in (above := paths.resolve(path), *above.parents):
                    raise InputError("output_is_input", path=path)
            folder.case(case.name)
        except InputError as error:
            error = InputError("manifest_row", path=manifest.path, row=case.row, detail=error)
            bad_rows.append(BadRow(case.row, case.name, error))
            continue
        case_jobs.append(
            CaseJob(
                case=replace(case, engine=chosen.name),
                settings=settings,
                folder=folder.path,
                library=library,
                task=task,
                model=model,
            )
        )
    return case_jobs, bad_rows


def _trained_task(name: str) -> tuple[Path, Path]:
    """Folders of a task and of its newest model."""
    task = read_task(task_folder(name))
    return task.folder.resolve(), require_model(task).folder.resolve()


def _run(state: _BatchState, pool: WorkerPool) -> None:
    """Keep the workers busy until no case is left or the batch is cancelled."""
    try:
        while state.running or state.waiting:
            free = pool.slots() - len(state.running)
            if free > 0 and state.waiting:
                for case_job in state.begin(free):
                    pool.submit(case_job)
            state.try_to_save()  # after new cases have started, so that no worker waits for the file
            for status in pool.poll(_WAIT_SECONDS):
                state.end(status)
            state.write_page_if_due()
            if state.folder.cancel_requested():
                break
    except KeyboardInterrupt:
        state.folder.request_cancel()


class _BatchState:
    """Status of all cases, in memory and in status.csv and index.html."""

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
        self.names = [rows[number] for number in sorted(rows)]  # of all cases, in the order of the manifest
        self._total = len(self.names)
        self._counts = dict.fromkeys(Status, 0)
        self._case_jobs = {case_job.case.name: case_job for case_job in case_jobs}
        self._unsaved: dict[str, CaseStatus] = {}
        self._time = BatchTime()
        finished = {case_job.case.name: _finished(case_job) for case_job in case_jobs}
        there = {case_job.case.name for case_job in case_jobs if case_job.files.label.is_file()}
        in_review = {name for name in there if reviewer_of(folder.case(name))}

        def at_first(rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
            first = []
            for case_job in case_jobs:
                name = case_job.case.name
                row = rows.get(name)
                keeps = row is not None and name in there and (row.accepted or name in in_review)
                kept = _kept(row, case_job) if row is not None and keeps else finished[name]
                first.append(kept or CaseStatus(name=name, status=Status.SKIPPED, seconds=None, message=NOT_BEGUN))
            failed = [
                CaseStatus(name=bad.name, status=Status.FAILED, message=str(bad.error), error=bad.error)
                for bad in bad_rows
            ]
            return [*first, *keep_accepted(failed, rows)]

        self.statuses = folder.status.change(at_first)
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
        except InputError:  # another program blocks the table, or the disk is full; what it says counts still
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

    def write_page(self) -> None:
        """Write index.html."""
        write_page(self.folder, [self.statuses[name] for name in self.names])
        self._paged = time.monotonic()

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
        count = self._counts
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


def _kept(row: CaseStatus, case_job: CaseJob) -> CaseStatus:
    """The row of an accepted case, or one in review; it says so if the label map changed since."""
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
