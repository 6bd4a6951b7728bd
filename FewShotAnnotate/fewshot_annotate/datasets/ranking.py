"""Which case to review next: the one from which a model learns most, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import InputError, Message
from ..core.intensity import intensity_quantiles
from ..core.volume import Geometry
from ..io.files import read_volume
from .accepted_case import AcceptedCase, accepted_case, batch_statuses, is_accepted
from .batch_folder import BatchFolder
from .status import Status
from .task.task import Task

_QUANTILE_SAMPLE_VOXELS = 1 << 20
# Labelled voxels of lower confidence are those about which the networks of an ensemble disagree.
_UNDECIDED_CONFIDENCE = 0.7
# Volumes below this are all the same: nothing.
_MIN_ML = 0.01
# Features that vary less than this (natural logarithms, and shares) do not set cases apart.
_MIN_DEVIATION = 0.1


@dataclass(frozen=True, kw_only=True)
class CaseDescription:
    """What of a case is compared with others.

    Attributes
    ----------
    name : str
    features : tuple of float
        See `case_features`.
    error : float
        1 less the expected Dice of its fill, mean over segments; 0 for labelled cases.
    undecided : float
        Share of the labelled voxels with a low probability.
    """

    name: str
    features: tuple[float, ...]
    error: float = 0.0
    undecided: float = 0.0


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


def case_features(geometry: Geometry, quantiles: Sequence[float], millilitres: Sequence[float]) -> tuple[float, ...]:
    """Features of a case: logarithms of spacing, extent and volumes, and the shape of its histogram.

    Parameters
    ----------
    quantiles : sequence of 5 floats
        Intensity quantiles.
    millilitres : sequence of float
        Volume of each segment.
    """
    spacing = np.sort(geometry.spacing)
    extent = np.sort(np.array(geometry.shape[::-1]) * geometry.spacing)
    _, low, middle, high, _ = quantiles
    balance = (middle - low) / (high - low) if high > low else 0.5
    volumes = np.log(np.maximum(millilitres, _MIN_ML))
    return (*map(float, np.log(spacing)), *map(float, np.log(extent)), *map(float, volumes), float(balance))


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
        Its examples are known too.

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
    labelled = _known_of_task(task)
    names = [] if task is None else [segment.name for segment in task.segments]
    for status in batch_statuses(folder).values():
        if status.status is not Status.DONE:
            continue
        case = accepted_case(folder, status.name)
        try:
            if not isinstance(case, AcceptedCase):
                raise case[1]
            description, names = _described(case, names)
            (labelled if is_accepted(status) else waiting).append(description)
        except InputError as error:
            unreadable.append((status.name, error))
    return rank_cases(waiting, labelled), unreadable


def _described(case: AcceptedCase, names: list[str]) -> tuple[CaseDescription, list[str]]:
    volume, label_map = case.read()
    values = {segment.name: segment.value for segment in label_map.segments}
    names = names or sorted(values)
    counts = np.bincount(label_map.array.ravel(), minlength=max(values.values(), default=0) + 1)
    millilitres = [
        float(counts[values[name]]) * float(np.prod(volume.geometry.spacing)) / 1000 if name in values else 0.0
        for name in names
    ]
    expected = [label_dice.dice for label_dice in case.expected.values()]
    confidence = _confidence(case.files.confidence, volume.geometry)
    labelled = label_map.array != 0
    undecided = float((confidence[labelled] < _UNDECIDED_CONFIDENCE).mean()) if labelled.any() else 1.0
    sure = float(confidence[labelled].mean()) if labelled.any() else 0.0
    description = CaseDescription(
        name=case.name,
        features=case_features(
            volume.geometry, intensity_quantiles(volume.array, _QUANTILE_SAMPLE_VOXELS), millilitres
        ),
        error=1 - float(np.mean(expected)) if expected else 1 - sure,
        undecided=undecided,
    )
    return description, names


def _confidence(path: Path, geometry: Geometry) -> np.ndarray:
    try:
        array = read_volume(path).array
    except InputError as error:
        if error.code != "volume_constant":
            raise
        return np.ones(geometry.shape, dtype=np.float32)
    if array.shape != geometry.shape:
        raise InputError("file_unreadable", path=path, detail="it has another size than its image")
    return array


def _known_of_task(task: Task | None) -> list[CaseDescription]:
    if task is None:
        return []
    return [
        CaseDescription(
            name=example.number,
            features=case_features(
                example.geometry, example.quantiles, [count * example.voxel_ml for count in example.voxels]
            ),
        )
        for example in task.examples
        if example.whole
    ]


def _distances(waiting: Sequence[CaseDescription], labelled: Sequence[CaseDescription]) -> list[float]:
    """Distance of each case from the nearest known one, else from the mean of all; per feature."""
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
    """The strongest of the three reasons."""
    reasons = (
        Message("next_expected", dice=f"{1 - case.error:.2f}"),
        Message("next_undecided", share=f"{case.undecided:.0%}"),
        Message("next_distant", distance=f"{distance:.1f}"),
    )
    return reasons[int(np.argmax(positions))]
