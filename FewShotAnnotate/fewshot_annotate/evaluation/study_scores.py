"""Scores of a study: mean and standard deviation over volumes, by group, and the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from ..core.errors import Message
from .confidence_interval import confidence_interval_95
from .recommendation import painted
from .study import StudyResult, VolumeScores

ALL_VOLUMES = "all volumes"
# With fewer volumes than this, engines are not ranked.
MIN_VOLUMES = 5
RESAMPLES = 5000


@dataclass(frozen=True, kw_only=True)
class GroupPoint:
    """Score of one engine at one support size over the volumes of a group.

    Attributes
    ----------
    group, engine : str
    size : int
    volumes : int
    dice : float
        Mean over volumes.
    spread : float
        Standard deviation over volumes, NaN for one.
    """

    group: str
    engine: str
    size: int
    volumes: int
    dice: float
    spread: float

    @property
    def least(self) -> float:
        """Dice minus one standard deviation, at least 0."""
        return max(0.0, self.dice - (0.0 if np.isnan(self.spread) else self.spread))

    @property
    def most(self) -> float:
        """Dice plus one standard deviation, at most 1."""
        return min(1.0, self.dice + (0.0 if np.isnan(self.spread) else self.spread))


def groups_of(study: StudyResult) -> dict[str, list[VolumeScores]]:
    """Volumes by group, in the order of the manifest; with several groups, a last one holds all volumes."""
    groups: dict[str, list[VolumeScores]] = {}
    for volume in study.volumes:
        groups.setdefault(volume.group, []).append(volume)
    return groups if len(groups) == 1 else {**groups, ALL_VOLUMES: list(study.volumes)}


def sizes_of(volumes: Sequence[VolumeScores]) -> list[int]:
    """Support sizes that all volumes have in common, so that the means at all sizes are over the same volumes."""
    sizes = [{point.size for point in volume.points} for volume in volumes if volume.points]
    return sorted(set.intersection(*sizes)) if sizes else []


def group_points(study: StudyResult) -> list[GroupPoint]:
    """Scores of each group, engine and common support size."""
    return [
        _group_point(group, engine, size, volumes)
        for group, volumes in groups_of(study).items()
        for engine in study.engines
        for size in sizes_of(volumes)
        if _scores(volumes, engine, size)
    ]


def seconds_of(study: StudyResult, engine: str) -> tuple[float, float]:
    """Seconds to the first slice and per further slice: medians over volumes, each at its largest support size."""
    last = [
        max((point for point in volume.points if point.engine == engine), key=lambda point: point.size, default=None)
        for volume in study.volumes
    ]
    largest = [point for point in last if point is not None]
    return median(point.start_seconds for point in largest), median(point.slice_seconds for point in largest)


def findings(study: StudyResult) -> list[Message]:
    """Messages on the best engine with one slice and with several, and on the effect of the support size."""
    points = group_points(study)
    all_volumes = list(groups_of(study))[-1]
    sizes = sizes_of(groups_of(study)[all_volumes])
    if not sizes:
        return [Message("study_without_common_size")]
    found = [_scores_and_lead(study, points, all_volumes, sizes[0])]
    if len(sizes) > 1:
        found += [
            _scores_and_lead(study, points, all_volumes, sizes[-1]),
            _rise_with_size(study, points, all_volumes, sizes),
        ]
        found += _best_engine_by_group(study, points, all_volumes)
    return found


def _scores_and_lead(study: StudyResult, points: Sequence[GroupPoint], group: str, size: int) -> Message:
    ranked = sorted(
        (point for point in points if (point.group, point.size) == (group, size)), key=lambda point: -point.dice
    )
    listed = ", ".join(f"{point.engine} {point.dice:.3f}" for point in ranked)
    data = {"setting": Message("one_shot" if size == 1 else "few_shot"), "painted": painted(size), "scores": listed}
    if len(ranked) == 1:
        return Message("study_scores", **data)
    lead = _significance(study, group, ranked[0].engine, ranked[1].engine, size)
    return Message("study_scores_and_lead", **data, lead=lead)


def _significance(study: StudyResult, group: str, first: str, second: str, size: int) -> Message:
    """Message on the significance of a lead, from a paired bootstrap over volumes."""
    volumes = groups_of(study)[group]
    first_scores, second_scores = _scores(volumes, first, size), _scores(volumes, second, size)
    shared = [name for name in first_scores if name in second_scores]
    if len(shared) < MIN_VOLUMES:
        return Message("study_too_small", count=len(shared), needed=MIN_VOLUMES)
    gains = np.array([first_scores[name] - second_scores[name] for name in shared])
    low, high = confidence_interval_95(lambda drawn: gains[drawn].mean(axis=1), len(gains), RESAMPLES)
    return Message(
        "study_lead_clear" if low > 0 else "study_lead_uncertain",
        engine=first,
        other=second,
        difference=float(gains.mean()),
        low=low,
        high=high,
    )


def _rise_with_size(study: StudyResult, points: Sequence[GroupPoint], group: str, sizes: Sequence[int]) -> Message:
    gains = {
        engine: [
            point.dice
            for size in sizes
            for point in points
            if (point.group, point.engine, point.size) == (group, engine, size)
        ]
        for engine in study.engines
    }
    rising = [engine for engine, dice in gains.items() if all(np.diff(dice) > 0)]
    changes = ", ".join(f"{engine} {dice[-1] - dice[0]:+.3f}" for engine, dice in gains.items() if dice)
    data = {"first": sizes[0], "last": sizes[-1], "changes": changes}
    if rising and len(rising) < len(gains):
        return Message("dice_rises_for_some", **data, engines=", ".join(rising))
    return Message("dice_rises_for_all" if rising else "dice_rises_for_none", **data)


def _best_engine_by_group(study: StudyResult, points: Sequence[GroupPoint], all_volumes: str) -> list[Message]:
    best: dict[str, list[str]] = {}
    for group, volumes in groups_of(study).items():
        sizes = sizes_of(volumes)
        if group == all_volumes or not sizes:
            continue
        group_curve = [point for point in points if (point.group, point.size) == (group, sizes[-1])]
        best.setdefault(max(group_curve, key=lambda point: point.dice).engine, []).append(f"{group} ({len(volumes)})")
    if not best or len(study.engines) == 1:
        return []
    listed = "; ".join(f"{engine}: {', '.join(groups)}" for engine, groups in best.items())
    return [Message("best_by_group", engines=listed)]


def _scores(volumes: Sequence[VolumeScores], engine: str, size: int) -> Mapping[str, float]:
    """Dice by name of the volume."""
    return {
        volume.name: point.dice
        for volume in volumes
        for point in volume.points
        if (point.engine, point.size) == (engine, size)
    }


def _group_point(group: str, engine: str, size: int, volumes: Sequence[VolumeScores]) -> GroupPoint:
    dice = list(_scores(volumes, engine, size).values())
    spread = float(np.std(dice, ddof=1)) if len(dice) > 1 else float("nan")
    return GroupPoint(
        group=group, engine=engine, size=size, volumes=len(dice), dice=float(np.mean(dice)), spread=spread
    )
