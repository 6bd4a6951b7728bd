"""Batch: fills the cases of a manifest into a folder, records their status and can be resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ..core import paths
from ..core.errors import InputError
from ..engines.base import Engine
from ..engines.registry import engine_class, runnable_engine
from ..jobs.planning import require_channels
from .batch_folder import BatchFolder, no_trace_if_refused
from .batch_state import BatchProgress, BatchState
from .case import CaseJob
from .case_plan import BatchSettings, CaseTask
from .manifest import BadRow, Case, Manifest
from .status import CaseStatus
from .task.filling import require_task_engine
from .task.library import task_folder
from .task.matching import require_library_engine
from .task.models import require_model
from .task.task import read_task

_WAIT_SECONDS = 0.2


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
        WorkersLost
            They cannot be reached any more.
        """

    def close(self) -> None:
        """End the worker processes; running cases have a grace period to stop."""


def run_batch(
    manifest: Manifest,
    output: str | Path,
    settings: BatchSettings,
    make_pool: Callable[[], WorkerPool],
    *,
    engine: str = "auto",
    resume: bool = False,
    remote: bool = False,
    skip_bad_rows: bool = False,
    report: Callable[[BatchProgress], None] = lambda _: None,
) -> dict[str, CaseStatus]:
    """Fill the cases of a manifest that are not done.

    Parameters
    ----------
    manifest : Manifest
    output : str or Path
        Folder of the batch, see `batch_folder.py`.
    settings : BatchSettings
        Settings of all cases.
    make_pool : function
        Called once the input is valid.
    engine : str
        Engine for rows that name none.
    resume : bool
        Whether to continue an earlier batch in `output`. Cases done with the same input, engine and options, and
        cases that a user accepted or corrected, are kept.
    remote : bool
        Whether cases run on other machines, so that this one need not be able to run their engines.
    skip_bad_rows : bool
        Whether to run the others if some rows cannot be run; these are listed as failed.
    report : function
        Called with the progress at every change and every few seconds.

    Returns
    -------
    dict of str to CaseStatus
        Status of each case by name. Skipped cases were not run because the batch was cancelled.

    Raises
    ------
    InputError
        The folder cannot be used, or another batch runs in it. Nothing was run.
    BadRowsError
        Rows cannot be run, and no other is left or they are not to be skipped. Nothing was run.
    WorkersLost
        Raised after the status of all cases was written.
    KeyboardInterrupt
        On a second Ctrl+C; the first one cancels the batch.
    """
    require_page_packages()
    folder = BatchFolder(output)
    case_jobs, unrunnable = runnable_jobs(manifest, folder, settings, engine, remote)
    bad_rows = sorted((*manifest.bad_rows, *unrunnable), key=lambda row: row.number)
    if bad_rows and not (skip_bad_rows and case_jobs):
        raise BadRowsError([row.error for row in bad_rows])
    with no_trace_if_refused(folder.path), folder.exclusive(resume):
        pool = make_pool()  # before anything is changed, as it may fail
        with contextlib.ExitStack() as ending:
            ending.callback(pool.close)
            folder.clear_cancel()
            state = BatchState(folder, case_jobs, bad_rows, report)
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
    manifest: Manifest, folder: BatchFolder, settings: BatchSettings, engine: str, remote: bool
) -> tuple[list[CaseJob], list[BadRow]]:
    """The cases as jobs, with their engines and tasks resolved, and the rows that cannot be run.

    A row cannot be run if its engine does not exist, cannot run or does not take the options or a task, there is no
    such task, or its files lie in the batch's own folder.
    """
    case_jobs, bad_rows = [], []
    tasks = cache(_case_task)
    for case in manifest.cases:
        try:
            task = tasks(case.library, case.task)
            chosen = _engine_of_case(case, case.engine or engine)
            if not remote:
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
        case = replace(case, engine=chosen.name)
        case_jobs.append(CaseJob(case=case, settings=settings, folder=folder.path, task=task))
    return case_jobs, bad_rows


def _case_task(library: str, task: str) -> CaseTask | None:
    """The task whose slices are examples, or the task whose newest model fills a case, by name; empty for none."""
    if library:
        return CaseTask(task_folder(library).resolve())
    if task:
        trained = read_task(task_folder(task))
        return CaseTask(trained.folder.resolve(), require_model(trained).folder.resolve())
    return None


def _engine_of_case(case: Case, name: str) -> type[Engine]:
    """The engine of a name, which may be 'auto', if it can fill the case by the task that the case names."""
    if case.library:
        name = require_library_engine(name)
    elif case.task:
        name = require_task_engine(name, case.support is not None)
    return engine_class(name)


def _run(state: BatchState, pool: WorkerPool) -> None:
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
            state.report_if_due()
            if state.folder.cancel_requested():
                break
    except KeyboardInterrupt:
        state.folder.request_cancel()
