"""Ranking of the cases to review: first those from which a model learns most, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError, Message
from .accepted_case import AcceptedCase, accepted_case, batch_statuses, is_accepted
from .batch_folder import BatchFolder
from .case_description import CaseDescription, case_features, describe_case
from .status import Status
from .task.task import Task

# Minimum standard deviation of a feature (natural logarithms and fractions), so that noise does not separate cases.
_MIN_DEVIATION = 0.1

# Rank, 0..1, of a case that half of the others are below.
_USUAL_POSITION = 0.5


@dataclass(frozen=True)
class RankedCase:
    """A case that waits for its review.

    Attributes
    ----------
    case : CaseDescription
    distance : float
        From the nearest labelled case, in standard deviations of a feature.
    reason : Message
    """

    case: CaseDescription
    distance: float
    reason: Message


def rank_cases(waiting: Sequence[CaseDescription], labelled: Sequence[CaseDescription]) -> list[RankedCase]:
    """Cases in the order in which to review them.

    The rank is the mean of three: of the expected error, of the share of undecided voxels, and of the distance from
    the labelled cases.

    Parameters
    ----------
    waiting : sequence of CaseDescription
        Filled cases.
    labelled : sequence of CaseDescription
        Accepted examples; may be empty.
    """
    if not waiting:
        return []
    distances = _distances(waiting, labelled)
    columns = [[case.error for case in waiting], [case.undecided for case in waiting], distances]
    positions = np.array([_positions(column) for column in columns])
    order = sorted(range(len(waiting)), key=lambda index: (-positions[:, index].mean(), waiting[index].name))
    return [
        RankedCase(waiting[index], distances[index], _reason(waiting[index], distances[index], positions[:, index]))
        for index in order
    ]


def rank_batch(
    folder: BatchFolder, task: Task | None = None
) -> tuple[list[RankedCase], list[tuple[str, InputError]]]:
    """Filled cases of a batch that nobody has accepted, in the order in which to review them.

    Parameters
    ----------
    folder : BatchFolder
    task : Task, optional
        Its examples count as labelled cases.

    Returns
    -------
    list of RankedCase
    list of (str, InputError)
        Cases that cannot be read.

    Raises
    ------
    InputError
        No batch was written there.
    """
    waiting: list[CaseDescription] = []
    unreadable: list[tuple[str, InputError]] = []
    labelled = _examples_of(task)
    names = [] if task is None else [segment.name for segment in task.segments]
    for status in batch_statuses(folder).values():
        if status.status is not Status.DONE:
            continue
        case = accepted_case(folder, status)
        try:
            if not isinstance(case, AcceptedCase):
                raise case[1]
            description, names = describe_case(case, names)
            (labelled if is_accepted(status) else waiting).append(description)
        except InputError as error:
            unreadable.append((status.name, error))
    return rank_cases(waiting, labelled), unreadable


def _examples_of(task: Task | None) -> list[CaseDescription]:
    if task is None:
        return []
    return [
        CaseDescription(
            name=example.number,
            features=case_features(
                example.geometry, example.quantiles, [count * example.geometry.voxel_ml for count in example.voxels]
            ),
        )
        for example in task.examples
        if example.is_complete
    ]


def _distances(waiting: Sequence[CaseDescription], labelled: Sequence[CaseDescription]) -> list[float]:
    """Root-mean-square difference per feature from the nearest labelled case; without any, from the mean of all."""
    features = np.array([case.features for case in waiting])
    others = np.array([case.features for case in labelled]) if labelled else features.mean(axis=0, keepdims=True)
    if others.shape[1] != features.shape[1]:
        return [0.0] * len(waiting)
    deviation = np.maximum(np.concatenate([features, others]).std(axis=0), _MIN_DEVIATION)
    difference = (features[:, None] - others[None]) / deviation
    return [float(value) for value in np.sqrt((difference**2).mean(axis=-1)).min(axis=1)]


def _positions(values: Sequence[float]) -> np.ndarray:
    """Rank of each value, 0 for the smallest to 1 for the largest; equal values share their mean rank."""
    array = np.asarray(values)
    below = (array[None] < array[:, None]).sum(axis=1)
    equal = (array[None] == array[:, None]).sum(axis=1)
    return np.asarray((below + (equal - 1) / 2) / max(len(array) - 1, 1))


def _reason(case: CaseDescription, distance: float, positions: np.ndarray) -> Message:
    """The strongest of the three reasons, if one sets the case apart from most others."""
    reasons = (
        Message("next_expected", dice=f"{1 - case.error:.2f}"),
        Message("next_undecided", share=f"{case.undecided:.0%}"),
        Message("next_distant", distance=f"{distance:.1f}"),
    )
    strongest = int(np.argmax(positions))
    return reasons[strongest] if positions[strongest] > _USUAL_POSITION else Message("next_usual")
