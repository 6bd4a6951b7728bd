"""Result of a comparison: scores, a recommendation, and predictions of the held-out slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..core.dice import dice_of_counts
from ..core.errors import Message, code_and_data, message_or_text
from .case import ComparisonCase
from .design import Trial
from .recommendation import Recommendation, recommend
from .scores import EngineScore, engine_score, ranked_engines, score_at, scored_structures
from .trials import TrialResult

TrialResults = dict[tuple[str, Trial], TrialResult]


@dataclass(frozen=True)
class UnscoredEngine:
    """An engine without scores.

    Attributes
    ----------
    engine : str
    reason : str
        One sentence for users of the Python API.
    started : bool
        Whether it failed during a trial.
    code : str
    data : dict or None
        With `code` what a `Message` holds; None in files of version 0.1.
    """

    engine: str
    reason: str
    started: bool
    code: str = ""
    data: dict[str, Any] | None = None

    @classmethod
    def of(cls, engine: str, content: Message | str, started: bool) -> UnscoredEngine:
        """An engine with the reason as a message."""
        return cls(engine, str(content), started, **code_and_data(content))

    @property
    def content(self) -> Message | str:
        """The message; the sentence itself in files of version 0.1."""
        return message_or_text(self.reason, self.code, self.data)

    @property
    def message(self) -> Message:
        """Engine and reason."""
        return Message("engine_and_reason", engine=self.engine, reason=self.content)


@dataclass(frozen=True)
class HeldOutSlice:
    """A held-out slice with the predictions of all engines at the largest support size.

    Attributes
    ----------
    index : int
        Slice index.
    support_index : int
        Position within the labelled slices.
    dice : mapping of engine to float
        Pooled over all scored labels; NaN where truth and prediction hold none.
    masks : mapping of engine to uint16 ndarray [layers, h, w]
    """

    index: int
    support_index: int
    dice: Mapping[str, float]
    masks: Mapping[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Result of a comparison of engines.

    Attributes
    ----------
    labels : tuple of str
        Names of the scored labels, which are those on at least one held-out slice.
    not_scored : tuple of str
        Names of all other labels.
    sizes : tuple of int, ascending
    axis : int
        Array axis of the labelled slices.
    plane : str
        The same in anatomical words.
    held_out : tuple of int
        Slice indices of the held-out slices, from 0.
    folds : int
        Number of folds of held-out slices.
    points : tuple of EngineScore
        One for each engine that finished and each support size.
    unscored : tuple of UnscoredEngine
    recommendation : Recommendation
    warnings : mapping of engine to tuple of str
        Warnings of each engine.
    samples : tuple of HeldOutSlice
        In descending order of the recommended engine's Dice.
    counts : mapping of (engine, size) to int ndarray, shape [draws, held-out slices, scored labels, 3]
        Number of voxels in the truth, in the result, and in both.
    """

    labels: tuple[str, ...]
    not_scored: tuple[str, ...]
    sizes: tuple[int, ...]
    axis: int
    plane: str
    held_out: tuple[int, ...]
    folds: int
    points: tuple[EngineScore, ...]
    unscored: tuple[UnscoredEngine, ...]
    recommendation: Recommendation
    warnings: Mapping[str, tuple[str, ...]]
    samples: tuple[HeldOutSlice, ...]
    counts: Mapping[tuple[str, int], np.ndarray] = field(repr=False)

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that finished, in descending order of Dice at the largest support size."""
        return ranked_engines(self.points, self.sizes[-1])

    def at(self, engine: str, size: int) -> EngineScore:
        """Score of an engine at a support size."""
        return score_at(self.points, engine, size)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; holds no voxels."""
        return {
            "labels": list(self.labels),
            "not_scored": list(self.not_scored),
            "axis": self.axis,
            "plane": self.plane,
            "held_out": list(self.held_out),
            "points": [asdict(point) for point in self.points],
            "absent": [asdict(engine) for engine in self.unscored],
            "recommendation": self.recommendation.to_json(),
            "warnings": {engine: list(messages) for engine, messages in self.warnings.items()},
        }


def summarize(
    case: ComparisonCase,
    trials: Sequence[Trial],
    engines: Sequence[str],
    unscored: Sequence[UnscoredEngine],
    results: TrialResults,
) -> Comparison:
    """Summarize the trials of all engines that finished."""
    support_indices = sorted({support_index for trial in trials for support_index in trial.held_out})
    sizes = sorted({trial.size for trial in trials})
    all_counts = {
        (engine, size): _by_draw([trial for trial in trials if trial.size == size], support_indices, engine, results)
        for engine in engines
        for size in sizes
    }
    scored = scored_structures(all_counts[engines[0], sizes[-1]])
    counts = {key: label_counts[:, :, scored] for key, label_counts in all_counts.items()}
    names = [structure.segment.name for structure in case.structures]
    points = [
        engine_score(
            engine,
            size,
            counts[engine, size],
            [
                (results[engine, trial].start_seconds, results[engine, trial].slice_seconds)
                for trial in trials
                if (trial.size, trial.draw) == (size, 0)
            ],
        )
        for engine in engines
        for size in sizes
    ]
    labels = tuple(names[position] for position in scored)
    largest = {engine: counts[engine, sizes[-1]].sum(axis=0) for engine in engines}
    advice = recommend(points, largest, labels, len(support_indices), len(case.indices), case.to_fill)
    return Comparison(
        labels=labels,
        not_scored=tuple(name for position, name in enumerate(names) if position not in scored),
        sizes=tuple(sizes),
        axis=case.axis.index,
        plane=case.axis.patient_plane(case.volume.geometry),
        held_out=tuple(case.indices[support_index] for support_index in support_indices),
        folds=len({trial.fold for trial in trials}),
        points=tuple(points),
        unscored=tuple(unscored),
        recommendation=advice,
        warnings={engine: _warnings(engine, results) for engine in engines},
        samples=_samples(case, trials, engines, results, scored, advice.engine),
        counts=counts,
    )


def _by_draw(
    trials: Sequence[Trial], support_indices: Sequence[int], engine: str, results: TrialResults
) -> np.ndarray:
    """Counts of one engine and size, int64 [draws, held-out slices, structures, 3]."""
    structures = results[engine, trials[0]].counts.shape[1]
    counts = np.zeros((1 + max(trial.draw for trial in trials), len(support_indices), structures, 3), dtype=np.int64)
    for trial in trials:
        positions = [support_indices.index(index) for index in trial.held_out]
        counts[trial.draw, positions] = results[engine, trial].counts
    return counts


def _warnings(engine: str, results: TrialResults) -> tuple[str, ...]:
    """Warnings in the order of their first occurrence."""
    messages = (message for (name, _), result in results.items() if name == engine for message in result.warnings)
    return tuple(dict.fromkeys(messages))


def _samples(
    case: ComparisonCase,
    trials: Sequence[Trial],
    engines: Sequence[str],
    results: TrialResults,
    scored: Sequence[int],
    recommended: str,
) -> tuple[HeldOutSlice, ...]:
    """Held-out slices of the first draw, from the best to the worst of one engine."""
    largest = max(trial.size for trial in trials)
    samples = []
    for trial in trials:
        if (trial.size, trial.draw) != (largest, 0):
            continue
        for number, support_index in enumerate(trial.held_out):
            by_engine = {engine: results[engine, trial] for engine in engines}
            scores = {
                engine: float(dice_of_counts(result.counts[number, scored].sum(axis=0)))
                for engine, result in by_engine.items()
            }
            masks = {engine: result.masks[:, number] for engine, result in by_engine.items()}
            samples.append(HeldOutSlice(case.indices[support_index], support_index, scores, masks))
    scored_samples = [sample for sample in samples if not np.isnan(sample.dice[recommended])]
    return tuple(sorted(scored_samples, key=lambda sample: -sample.dice[recommended]))
