"""Accepted cases of a batch as examples of a task."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.memo import Memo
from ..core.volume import LabelMap, Volume
from .accepted_case import AcceptedCase, accepted_case, accepted_cases, batch_statuses
from .batch_folder import BatchFolder
from .reviewed_case import ReviewedCase
from .task.adding import Added, Provenance, add_example, remove_example
from .task.example import TaskExample, image_digest
from .task.task import Task, read_task


@dataclass(frozen=True)
class AddedCases:
    """Outcome of adding the accepted cases of a batch.

    Attributes
    ----------
    added : tuple of (str, TaskExample)
        By name of the case.
    replaced : tuple of str
        Names of those whose image was in the task already.
    refused : tuple of (str, InputError)
        Cases that could not be added.
    waiting : int
        Number of cases that nobody has accepted yet.
    """

    added: tuple[tuple[str, TaskExample], ...]
    replaced: tuple[str, ...]
    refused: tuple[tuple[str, InputError], ...]
    waiting: int


def add_accepted(task: Path, batch: BatchFolder, names: Collection[str] | None = None) -> AddedCases:
    """Add the accepted cases of a batch to a task. A case that cannot be added does not keep the others away.

    Parameters
    ----------
    task : Path
    batch : BatchFolder
    names : collection of str, optional
        Names of the cases; default: all that are accepted.

    Raises
    ------
    InputError
        No batch was written there.
    """
    added: list[tuple[str, TaskExample]] = []
    replaced: list[str] = []
    refused: list[tuple[str, InputError]] = []
    latest: Task | None = None  # reading the task takes long once it has many examples
    for case in accepted_cases(batch, names):
        if not isinstance(case, AcceptedCase):
            refused.append(case)
            continue
        try:
            result = _add(task, case, *case.read(), latest)
        except InputError as error:
            refused.append((case.name, error))
            continue
        latest = result.task
        added.append((case.name, result.example))
        if result.replaced:
            replaced.append(case.name)
    waiting = len(batch_statuses(batch)) - len(added) - len(refused)
    return AddedCases(tuple(added), tuple(replaced), tuple(refused), waiting)


def add_reviewed(task: Path, batch: BatchFolder, case: ReviewedCase) -> Added:
    """Add a case that was just accepted to a task; raises `InputError` as `add_example`."""
    accepted = accepted_case(batch, batch_statuses(batch)[case.name])
    if not isinstance(accepted, AcceptedCase):
        raise accepted[1]
    return _add(task, accepted, case.volume, case.label_map, memo=batch.memo)


def remove_reviewed(task: Path, case: ReviewedCase) -> None:
    """Remove the example of a case from a task, if there is one."""
    digest = image_digest(case.volume.array)
    for example in read_task(task).examples:
        if example.digest == digest:
            remove_example(task, example.number)


def _add(
    task: Path,
    case: AcceptedCase,
    volume: Volume,
    label_map: LabelMap,
    latest: Task | None = None,
    memo: Memo | None = None,
) -> Added:
    provenance = Provenance(origins=case.origins(label_map), engine=case.engine, patient=case.patient)
    return add_example(task, volume, label_map, provenance=provenance, path=case.files.label, task=latest, memo=memo)
