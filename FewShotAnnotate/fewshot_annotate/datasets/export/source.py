"""Cases to export: the accepted ones of a batch, or the wholly labelled examples of a task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ...core import paths
from ...core.errors import InputError
from ...core.expected_dice import ExpectedDice
from ...core.volume import Segment, Volume, names_by_value
from ..accepted_case import AcceptedCase, accepted_case, batch_statuses, is_accepted
from ..batch_folder import BatchFolder
from ..task.example import IMAGE_FILE, LabelOrigin, TaskExample, image_digest, patient_digest
from ..task.library import task_folder, task_names
from ..task.models import newest_model
from ..task.segments import present_segments, task_segments, values_in_task, with_values
from ..task.task import TASK_FILE, Task, read_task


@dataclass(frozen=True)
class LoadedCase:
    """Voxels of a case to export, with their provenance.

    Attributes
    ----------
    volume : Volume
    labels : ndarray [k, j, i]
        Label values of the data set.
    patient : str
        Opaque identifier.
    origins : mapping of LabelOrigin to int
    """

    volume: Volume
    labels: np.ndarray
    patient: str
    origins: Mapping[LabelOrigin, int]


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """A case to export.

    Attributes
    ----------
    name : str
        In the batch or the task; it is not in the export.
    image : Path
    load : function
    engine : str
        Engine and version that filled it; empty if all was painted.
    expected : mapping of str to ExpectedDice
        By name of the segment.
    """

    name: str
    image: Path
    load: Callable[[], LoadedCase]
    engine: str
    expected: Mapping[str, ExpectedDice] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """Cases to export, and their segments.

    Attributes
    ----------
    name : str
    segments : tuple of Segment
        Values 1, 2, ...
    cases : tuple of SourceCase
    left_out : int
        Number of cases that are not accepted, or of which only some slices are labelled.
    """

    name: str
    segments: tuple[Segment, ...]
    cases: tuple[SourceCase, ...]
    left_out: int


def dataset_source(path: str, only: Collection[str] = ()) -> DatasetSource:
    """The cases of a batch folder or of a task.

    Parameters
    ----------
    path : str
        Path of a batch folder, or name or path of a task.
    only : collection of str
        Names of the cases to export; default: all that are accepted.

    Raises
    ------
    InputError
        It is neither; a named case is not there or not accepted; no case is accepted or labelled completely.
    """
    folder = BatchFolder(path)
    names_a_task = path in task_names() or paths.is_file(folder.path / TASK_FILE)
    if paths.is_file(folder.status.path) or (paths.is_folder(folder.path) and not names_a_task):
        source = _of_batch(folder, only)
    else:
        source = _of_task(read_task(task_folder(path)), only)
    if not source.cases:
        raise InputError("dataset_empty", path=path)
    return source


def _of_batch(folder: BatchFolder, only: Collection[str]) -> DatasetSource:
    statuses = batch_statuses(folder)
    for name in only:
        if name not in statuses:
            raise InputError("case_unknown", path=folder.path, name=name)
        if not is_accepted(statuses[name]):
            raise InputError("dataset_not_accepted", path=folder.path, name=name)
    names = [name for name, status in statuses.items() if is_accepted(status) and (not only or name in only)]
    cases = []
    for name in names:
        case = accepted_case(folder, statuses[name])
        if not isinstance(case, AcceptedCase):
            raise case[1]
        cases.append(case)
    segments = _segments_of(cases)
    exported = [
        SourceCase(
            name=case.name,
            image=case.image,
            load=partial(_load_accepted, case, segments),
            engine=case.engine,
            expected=case.expected,
        )
        for case in cases
    ]
    return DatasetSource(
        name=folder.path.name, segments=segments, cases=tuple(exported), left_out=len(statuses) - len(cases)
    )


def _segments_of(cases: Sequence[AcceptedCase]) -> tuple[Segment, ...]:
    """Segments that any case shows, matched by name.

    They are in the order of their label values, among them those that were filled and are not shown, so that the
    values in the data set do not depend on which case comes first.
    """
    segments: dict[str, Segment] = {}
    order: dict[str, None] = {}
    for case in cases:
        label_map = case.read_labels()  # without the image, which is read when the case is exported
        present = present_segments(label_map.array, label_map.segments)
        names = case.filled_names | names_by_value(present)
        order |= {name.casefold(): None for _, name in sorted(names.items()) if name.casefold() not in order}
        for segment in present:
            segments.setdefault(segment.name.casefold(), segment)
    return task_segments([segments[name] for name in order if name in segments])


def _load_accepted(case: AcceptedCase, segments: Sequence[Segment]) -> LoadedCase:
    volume, label_map = case.read()
    present = present_segments(label_map.array, label_map.segments)
    values = values_in_task(segments, present, name=case.name, path=case.files.label)
    labels = with_values(label_map.array, values)
    patient = patient_digest(case.patient) if case.patient else image_digest(volume.array)
    return LoadedCase(volume, labels, patient, case.origins(label_map))


def _of_task(task: Task, only: Collection[str]) -> DatasetSource:
    numbers = {example.number for example in task.examples if example.is_complete}
    if not numbers:
        raise InputError("dataset_no_whole_example", name=task.name)
    listed = [example.number for example in task.examples]
    for number in only:
        if number not in listed:
            raise InputError("task_no_example", name=task.name, number=number, known=", ".join(listed) or "none")
        if number not in numbers:
            raise InputError("dataset_not_accepted", path=task.folder, name=number)
    model = newest_model(task)
    expected = {} if model is None else dict(model.expected(task))
    cases = [
        SourceCase(
            name=example.number,
            image=example.folder(task.folder) / IMAGE_FILE,
            load=partial(_load_example, example, task),
            engine=example.engine,
            expected=expected,
        )
        for example in task.examples
        if example.is_complete and (not only or example.number in only)
    ]
    left_out = len(task.examples) - len(cases)
    return DatasetSource(name=task.name, segments=task.segments, cases=tuple(cases), left_out=left_out)


def _load_example(example: TaskExample, task: Task) -> LoadedCase:
    volume, labels = example.load(task.folder, len(task.segments))
    return LoadedCase(volume, labels, example.patient, example.origins)
