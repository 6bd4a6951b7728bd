"""What a comparison found, as plain data: figures, a recommendation, and held-out slices to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .case import Case
from .design import Trial
from .recommend import Recommendation, recommend
from .scores import Point, dice, point, scored_structures
from .trial import Outcome

Outcomes = dict[tuple[str, Trial], Outcome]


@dataclass(frozen=True)
class Absent:
    """An engine that gave no figures, and why in one line; `started` if it failed on the way."""

    engine: str
    reason: str
    started: bool


@dataclass(frozen=True)
class Sample:
    """A held-out slice as the engines filled it at the largest support size.

    Attributes
    ----------
    index : int
        The slice.
    row : int
        Its number among the labelled slices.
    dice : mapping of engine to float
        Over all scored labels pooled; NaN where neither side shows any.
    masks : mapping of engine to uint16 ndarray [layers, h, w]
    """

    index: int
    row: int
    dice: Mapping[str, float]
    masks: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    labels : tuple of str
        Names of the scored labels: those that a held-out slice shows.
    not_scored : tuple of str
        Names of the others.
    sizes : tuple of int, ascending
    held_out : tuple of int
        Slices that were held out.
    folds : int
        Parts that they were held out in.
    points : tuple of Point
        One for each engine that finished, and size.
    absent : tuple of Absent
    recommendation : Recommendation
    warnings : mapping of engine to tuple of str
        What it warned of.
    samples : tuple of Sample
        From the best slice of the recommended engine to its worst.
    counts : mapping of (engine, size) to int ndarray, shape [draws, held-out slices, scored labels, 3]
        Voxels in the truth, in the result, in both.
    """

    labels: tuple[str, ...]
    not_scored: tuple[str, ...]
    sizes: tuple[int, ...]
    held_out: tuple[int, ...]
    folds: int
    points: tuple[Point, ...]
    absent: tuple[Absent, ...]
    recommendation: Recommendation
    warnings: Mapping[str, tuple[str, ...]]
    samples: tuple[Sample, ...]
    counts: Mapping[tuple[str, int], np.ndarray]

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that finished, best first at the largest size."""
        ranked = sorted((one for one in self.points if one.size == self.sizes[-1]), key=lambda one: -one.dice)
        return tuple(one.engine for one in ranked)

    def at(self, engine: str, size: int) -> Point:
        """The point of an engine at a size."""
        return next(one for one in self.points if (one.engine, one.size) == (engine, size))

    def to_json(self) -> dict[str, Any]:
        """Plain data, without voxels."""
        return {
            "labels": list(self.labels),
            "not_scored": list(self.not_scored),
            "held_out": list(self.held_out),
            "points": [asdict(one) for one in self.points],
            "absent": [asdict(one) for one in self.absent],
            "recommendation": asdict(self.recommendation),
            "warnings": {engine: list(told) for engine, told in self.warnings.items()},
        }


def sum_up(
    case: Case, trials: Sequence[Trial], engines: Sequence[str], absent: Sequence[Absent], outcomes: Outcomes
) -> Comparison:
    """Sum up the outcomes of all trials of the engines that finished."""
    rows = sorted({row for trial in trials for row in trial.held_out})
    sizes = sorted({trial.size for trial in trials})
    whole = {
        (engine, size): _by_draw([trial for trial in trials if trial.size == size], rows, engine, outcomes)
        for engine in engines
        for size in sizes
    }
    scored = scored_structures(whole[engines[0], sizes[-1]])
    counts = {key: part[:, :, scored] for key, part in whole.items()}
    names = [structure.segment.name for structure in case.structures]
    points = [
        point(
            engine,
            size,
            counts[engine, size],
            [
                (outcomes[engine, trial].start_seconds, outcomes[engine, trial].slice_seconds)
                for trial in trials
                if (trial.size, trial.draw) == (size, 0)
            ],
        )
        for engine in engines
        for size in sizes
    ]
    labels = tuple(names[place] for place in scored)
    largest = {engine: counts[engine, sizes[-1]].sum(axis=0) for engine in engines}
    advice = recommend(points, largest, labels, len(rows), case.to_fill)
    return Comparison(
        labels,
        tuple(name for place, name in enumerate(names) if place not in scored),
        tuple(sizes),
        tuple(case.indices[row] for row in rows),
        len({trial.fold for trial in trials}),
        tuple(points),
        tuple(absent),
        advice,
        {engine: _warnings(engine, outcomes) for engine in engines},
        _samples(case, trials, engines, outcomes, scored, advice.engine),
        counts,
    )


def _by_draw(trials: Sequence[Trial], rows: Sequence[int], engine: str, outcomes: Outcomes) -> np.ndarray:
    """Counts of one engine and size, int64 [draws, held-out slices, structures, 3]."""
    structures = outcomes[engine, trials[0]].counts.shape[1]
    whole = np.zeros((1 + max(trial.draw for trial in trials), len(rows), structures, 3), dtype=np.int64)
    for trial in trials:
        whole[trial.draw, [rows.index(row) for row in trial.held_out]] = outcomes[engine, trial].counts
    return whole


def _warnings(engine: str, outcomes: Outcomes) -> tuple[str, ...]:
    """Each sentence once, in the order in which they came."""
    told = (message for (name, _), one in outcomes.items() if name == engine for message in one.warnings)
    return tuple(dict.fromkeys(told))


def _samples(
    case: Case,
    trials: Sequence[Trial],
    engines: Sequence[str],
    outcomes: Outcomes,
    scored: Sequence[int],
    judged: str,
) -> tuple[Sample, ...]:
    """Held-out slices of the first draw, from the best to the worst of one engine."""
    largest = max(trial.size for trial in trials)
    samples = []
    for trial in trials:
        if (trial.size, trial.draw) != (largest, 0):
            continue
        for number, row in enumerate(trial.held_out):
            found = {engine: outcomes[engine, trial] for engine in engines}
            scores = {engine: float(dice(one.counts[number, scored].sum(axis=0))) for engine, one in found.items()}
            masks = {engine: one.masks[:, number] for engine, one in found.items()}
            samples.append(Sample(case.indices[row], row, scores, masks))
    told = [sample for sample in samples if not np.isnan(sample.dice[judged])]
    return tuple(sorted(told, key=lambda sample: -sample.dice[judged]))
