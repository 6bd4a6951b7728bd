"""Ranking of the cases to review: first those from which a model learns most, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..core.errors import InputError, Message
from ..core.memo import Memo
from .accepted_case import AcceptedCase, accepted_case, batch_statuses, is_accepted
from .batch_folder import BatchFolder
from .case_description import CaseDescription, case_features, describe_case
from .status import Status
from .task.example import TaskExample
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
    positions : (float, float, float)
        Rank among the waiting cases, 0..1, by expected error, undecided voxels and distance.
    """

    case: CaseDescription
    distance: float
    positions: tuple[float, float, float]

    @property
    def reason(self) -> Message:
        """The strongest of the three reasons, if it sets the case apart from most others."""
        reasons = (
            Message("next_expected", dice=f"{1 - self.case.error:.2f}"),
            Message("next_undecided", share=f"{self.case.undecided:.0%}"),
            Message("next_distant", distance=f"{self.distance:.1f}"),
        )
        strongest = max(self.positions)
        return reasons[self.positions.index(strongest)] if strongest > _USUAL_POSITION else Message("next_usual")


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
    positions = zip(*map(_positions, columns), strict=True)
    ranked = map(RankedCase, waiting, distances, positions)
    return sorted(ranked, key=lambda entry: (-sum(entry.positions), entry.case.name))


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
    labelled = _examples_of(task, folder.memo)
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


def _examples_of(task: Task | None, memo: Memo) -> list[CaseDescription]:
    return [
        memo.of(("described example", example.number), example, partial(_description, example))
        for example in (() if task is None else task.examples)
        if example.is_complete
    ]


def _description(example: TaskExample) -> CaseDescription:
    millilitres = [count * example.geometry.voxel_ml for count in example.voxels]
    features = case_features(example.geometry, example.quantiles, millilitres)
    return CaseDescription(name=example.number, features=features)


def _distances(waiting: Sequence[CaseDescription], labelled: Sequence[CaseDescription]) -> list[float]:
    """Root-mean-square difference per feature from the nearest labelled case; without any, from the mean of all."""
    features = np.array([case.features for case in waiting])
    others = np.array([case.features for case in labelled]) if labelled else features.mean(axis=0, keepdims=True)
    if others.shape[1] != features.shape[1]:
        return [0.0] * len(waiting)
    deviation = np.maximum(np.concatenate([features, others]).std(axis=0), _MIN_DEVIATION)
    # Case by case, as thousands of cases times thousands of examples would not fit in memory.
    differences = (others / deviation - row for row in features / deviation)
    return [
        float(np.sqrt(np.einsum("ij,ij->i", difference, difference).min() / len(deviation)))
        for difference in differences
    ]


def _positions(values: Sequence[float]) -> list[float]:
    """Rank of each value, 0 for the smallest to 1 for the largest; equal values share their mean rank."""
    ordered = np.sort(values)
    below, not_above = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return [float(rank) for rank in (below + not_above - 1) / 2 / max(len(ordered) - 1, 1)]
