"""Scores of a study: mean and standard deviation over volumes, by group, and the findings in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from .confidence_interval import confidence_interval_95
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


def findings(study: StudyResult) -> list[str]:
    """Sentences on the best engine with one slice and with several, and on the effect of the support size."""
    points = group_points(study)
    all_volumes = list(groups_of(study))[-1]
    sizes = sizes_of(groups_of(study)[all_volumes])
    if not sizes:
        return ["No support size was possible on all volumes; see the figures of each group."]
    sentences = [_lead(study, points, all_volumes, sizes[0])]
    if len(sizes) > 1:
        sentences += [_lead(study, points, all_volumes, sizes[-1]), _rise(study, points, all_volumes, sizes)]
        sentences += _by_group(study, points, all_volumes)
    return sentences


def _lead(study: StudyResult, points: Sequence[GroupPoint], group: str, size: int) -> str:
    ranked = sorted(
        (point for point in points if (point.group, point.size) == (group, size)), key=lambda point: -point.dice
    )
    listed = ", ".join(f"{point.engine} {point.dice:.3f}" for point in ranked)
    start = "One-shot (one painted slice)" if size == 1 else f"Few-shot ({size} painted slices)"
    if len(ranked) == 1:
        return f"{start}: {listed}."
    first, second = ranked[:2]
    return f"{start}: {listed}. {_significance(study, group, first.engine, second.engine, size)}"


def _significance(study: StudyResult, group: str, first: str, second: str, size: int) -> str:
    """Sentence on the significance of a lead, from a paired bootstrap over volumes."""
    volumes = groups_of(study)[group]
    first_scores, second_scores = _scores(volumes, first, size), _scores(volumes, second, size)
    shared = [name for name in first_scores if name in second_scores]
    if len(shared) < MIN_VOLUMES:
        return f"With {len(shared)} volumes that is no finding yet: {MIN_VOLUMES} or more are needed."
    gains = np.array([first_scores[name] - second_scores[name] for name in shared])
    low, high = confidence_interval_95(lambda drawn: gains[drawn].mean(axis=1), len(gains), RESAMPLES)
    verdict = "is beyond" if low > 0 else "is within"
    return (
        f"The lead of {first} over {second} ({gains.mean():+.3f}, 95 % CI {low:+.3f} to {high:+.3f}) "
        f"{verdict} the variation from volume to volume."
    )


def _rise(study: StudyResult, points: Sequence[GroupPoint], group: str, sizes: Sequence[int]) -> str:
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
    each = (
        "at every step for all engines"
        if len(rising) == len(gains)
        else (f"at every step for {', '.join(rising)} only" if rising else "at every step for no engine")
    )
    return f"From {sizes[0]} to {sizes[-1]} painted slices Dice changes by: {changes}; it rises {each}."


def _by_group(study: StudyResult, points: Sequence[GroupPoint], all_volumes: str) -> list[str]:
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
    return [f"Best with the most painted slices, by group (number of volumes): {listed}."]


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
