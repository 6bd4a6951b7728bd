"""Batch: runs the cases of a manifest into a folder, keeps its status, and can go on where it was ended."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Protocol

from ..core.errors import InputError
from ..engines import engine_class, runnable_engine
from .case import CORRECTED, Settings, Task
from .folder import BatchFolder
from .gallery import write_page
from .library import task_folder
from .library_use import require_library_engine
from .manifest import Manifest
from .status import CaseStatus, Change, Status, with_acceptance
from .traces import no_trace_if_refused

_WAIT_SECONDS = 0.2
_PAGE_SECONDS = 10.0
NOT_BEGUN = "not begun"
CANCELLED = "cancelled"


class PoolLost(Exception):
    """The processes that run cases cannot be reached any more; the message is one line for users."""


class Pool(Protocol):
    """Processes that run cases."""

    def slots(self) -> int:
        """How many cases may run at the same time; may change, and be 0 for a while."""

    def submit(self, task: Task) -> None:
        """Begin a case."""

    def ended(self, seconds: float) -> list[CaseStatus]:
        """The cases that ended since the last call; waits for the first one, but no longer than `seconds`.

        Raises
        ------
        PoolLost
        """

    def close(self) -> None:
        """End all processes of our own; cases that still run may stop by themselves for a moment."""


@dataclass(frozen=True)
class Tally:
    """How far a batch is.

    Attributes
    ----------
    case : CaseStatus or None
        The one that changed; None at the beginning.
    done, failed, running, total : int
    """

    case: CaseStatus | None
    done: int
    failed: int
    running: int
    total: int


def run_batch(
    manifest: Manifest,
    output: str | Path,
    settings: Settings,
    make_pool: Callable[[], Pool],
    *,
    engine: str = "auto",
    resume: bool = False,
    elsewhere: bool = False,
    report: Callable[[Tally], None] = lambda _: None,
) -> dict[str, CaseStatus]:
    """Run the cases that are not done.

    Parameters
    ----------
    output : path of a folder
        See `folder.py`.
    make_pool : function
        Called once the input is found to be good.
    engine : str
        For rows that name none.
    resume : bool
        Whether `output` may hold an earlier run: cases that were done from the same input, engine and options, and
        cases that a person accepted or corrected, stay as they are.
    elsewhere : bool
        Whether cases run on other machines, so that engines need not be able to run on this one.
    report : function
        Told of every change.

    Returns
    -------
    dict of str to CaseStatus
        The cases of the manifest. Those skipped were not run because the batch was cancelled.

    Raises
    ------
    InputError
        A row cannot be used, the folder cannot, or another batch runs in it. Nothing was run.
    PoolLost
        After the status of all cases was written.
    KeyboardInterrupt
        A second one; the first one cancels.
    """
    require_pages()
    folder = BatchFolder(output)
    tasks = require_runnable(manifest, folder, settings, engine, elsewhere)
    with no_trace_if_refused(folder.path), folder.exclusive(resume):
        folder.cancel_file.unlink(missing_ok=True)
        board = _Board(folder, tasks, report)
        if board.waiting:
            pool = make_pool()
            try:
                _run(board, pool)
            finally:
                pool.close()
                board.give_up()
                board.save()
                board.write_page()
        return {task.case.name: board.statuses[task.case.name] for task in tasks}


def require_pages() -> None:
    """Raise `InputError` if a package is missing that pictures or pages need."""
    for module, package in (("PIL", "pillow"), ("jinja2", "jinja2")):
        if find_spec(module) is None:
            raise InputError("package_missing", package=package, install='"fewshot-annotate[batch]"')


def require_runnable(
    manifest: Manifest, folder: BatchFolder, settings: Settings, engine: str, elsewhere: bool
) -> list[Task]:
    """The cases as tasks, their engines and library tasks resolved.

    Raises
    ------
    InputError
        A row's engine does not exist, cannot run or does not take the options or a library task, there is no such
        task, or its files lie in the batch's own folder. The error names the row.
    """
    tasks = []
    for case in manifest.cases:
        try:
            name = case.engine or engine
            library = task_folder(case.library).resolve() if case.library else None
            chosen = engine_class(require_library_engine(name) if library else name)
            if not elsewhere:
                runnable_engine(chosen.name)
            chosen(settings.device, settings.options)
            for path in (case.image, case.support):
                if path is not None and folder.path in (path, *path.parents):
                    raise InputError("output_is_input", path=path)
            folder.case(case.name)
        except InputError as error:
            raise InputError("manifest_row", path=manifest.path, row=case.row, detail=error) from None
        tasks.append(Task(replace(case, engine=chosen.name), settings, folder.path, library))
    return tasks


def _run(board: _Board, pool: Pool) -> None:
    """Keep the pool busy until nothing is left or the batch is cancelled."""
    try:
        while board.running or board.waiting:
            free = pool.slots() - len(board.running)
            if free > 0 and board.waiting:
                for task in board.begin(free):
                    pool.submit(task)
            board.try_to_save()  # what ended in the last round too: a process waits for its case, not for the file
            for status in pool.ended(_WAIT_SECONDS):
                board.end(status)
            board.write_page_if_due()
            if board.folder.cancel_file.exists():
                break
    except KeyboardInterrupt:
        board.folder.cancel_file.touch()


class _Board:
    """Status of all cases, in memory and in the files."""

    def __init__(self, folder: BatchFolder, tasks: Sequence[Task], report: Callable[[Tally], None]) -> None:
        self.folder = folder
        self.running: dict[str, Task] = {}
        self.waiting: deque[Task] = deque()
        self._report = report
        self._total = len(tasks)
        self._counts = dict.fromkeys(Status, 0)
        self._tasks = {task.case.name: task for task in tasks}
        self._unsaved: dict[str, CaseStatus] = {}
        finished = {task.case.name: _finished(task) for task in tasks}
        there = {task.case.name for task in tasks if task.files.label.is_file()}

        def at_first(rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
            first = []
            for task in tasks:
                name = task.case.name
                row = rows.get(name)
                accepted = row is not None and row.accepted and name in there
                kept = replace(row, status=Status.DONE) if row is not None and accepted else finished[name]
                first.append(kept or CaseStatus(name, Status.SKIPPED, None, NOT_BEGUN))
            return first

        self.statuses = folder.status.change(at_first)
        for task in tasks:
            status = self.statuses[task.case.name].status
            self._counts[status] += 1
            if status is Status.SKIPPED:
                self.waiting.append(task)
        self.write_page()
        self._tell(None)

    def begin(self, count: int) -> list[Task]:
        """The next cases, which run now; those that a person accepted while they waited are left out."""
        begun: list[Task] = []
        accepted: list[CaseStatus] = []

        def claim(rows: Mapping[str, CaseStatus]) -> list[CaseStatus]:
            for task in self.waiting:
                row = rows.get(task.case.name)
                if row is not None and row.accepted:
                    accepted.append(replace(row, status=Status.DONE))
                elif len(begun) < count:
                    begun.append(task)
                else:
                    break
            running = [CaseStatus(task.case.name, Status.RUNNING) for task in begun]
            return [*with_acceptance(self._unsaved.values(), rows), *accepted, *running]

        try:
            self._change(claim)
        except InputError:  # whoever keeps the table from being written accepts nothing in it meanwhile
            begun, accepted = list(islice(self.waiting, count)), []
        for _ in range(len(begun) + len(accepted)):
            self.waiting.popleft()
        for row in accepted:
            self._set(row)
        for task in begun:
            self.running[task.case.name] = task
            self._set(CaseStatus(task.case.name, Status.RUNNING))
        return begun

    def end(self, status: CaseStatus) -> None:
        """A case came to its end."""
        self.running.pop(status.name, None)
        self._set(status)

    def give_up(self) -> None:
        """No case that is left is run any more."""
        for task in [*self.running.values(), *self.waiting]:
            self._set(CaseStatus(task.case.name, Status.SKIPPED, None, CANCELLED))
        self.running.clear()
        self.waiting.clear()

    def try_to_save(self) -> None:
        """As `save`, but what cannot be written now, such as while a spreadsheet holds the file, is written later."""
        with contextlib.suppress(InputError):
            self.save()

    def save(self) -> None:
        """Write the changes to status.csv."""
        if self._unsaved:
            self._change(lambda rows: with_acceptance(self._unsaved.values(), rows))

    def write_page_if_due(self) -> None:
        """Write the page if it is a while ago."""
        if time.monotonic() - self._paged > _PAGE_SECONDS:
            self.write_page()

    def write_page(self) -> None:
        """Write the page."""
        write_page(self.folder, [self.statuses[name] for name in self._tasks])
        self._paged = time.monotonic()

    def _change(self, change: Change) -> None:
        """Change status.csv; what a person accepted meanwhile is taken from there."""
        rows = self.folder.status.change(change)
        self._unsaved = {}
        for name in self._tasks.keys() & rows.keys():
            if rows[name].accepted:
                self._count(rows[name])

    def _set(self, status: CaseStatus) -> None:
        self._unsaved[status.name] = status
        self._count(status)
        self._tell(status)

    def _count(self, status: CaseStatus) -> None:
        self._counts[self.statuses[status.name].status] -= 1
        self._counts[status.status] += 1
        self.statuses[status.name] = status

    def _tell(self, changed: CaseStatus | None) -> None:
        count = self._counts
        self._report(Tally(changed, count[Status.DONE], count[Status.FAILED], count[Status.RUNNING], self._total))


def _finished(task: Task) -> CaseStatus | None:
    """The status of a case that need not be run again, or None."""
    record = task.files.read_record()
    if record is not None and record[0] == task.request():
        _, outcome = record
        return CaseStatus(task.case.name, Status.DONE, outcome.get("seconds"), str(outcome.get("message", "")))
    return CaseStatus(task.case.name, Status.DONE, None, CORRECTED) if task.files.corrected() else None
