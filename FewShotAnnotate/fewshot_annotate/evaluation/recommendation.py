"""Recommendation of an engine from the scores of a comparison, with its reasons in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .scores import DiceDifference, EngineScore, dice_difference

# Minimum number of held-out slices for a recommendation by Dice, and of labelled slices that gives as many.
MIN_HELD_OUT = 5
MIN_LABELLED = MIN_HELD_OUT + 2
# Differences in Dice below this are irrelevant in practice, because every slice is reviewed.
NEGLIGIBLE_DIFFERENCE = 0.005
# A lead that may be chance is not worth more than this many times the time and this much more of it, in seconds.
COSTLY_RATIO = 10
COSTLY_SECONDS = 300
# Below this Dice, correcting a result takes about as long as painting it.
LOW_DICE = 0.7
# A label whose Dice is this far below the mean is named.
WEAK_LABEL_MARGIN = 0.05
# If Dice rises by this from the second largest size to the largest, more slices are expected to help.
RISING_MARGIN = 0.01


class Evidence(StrEnum):
    """Strength of the evidence for a recommendation."""

    CLEAR = "clear"
    PROBABLE = "probable"
    EQUAL = "equal"
    TOO_LITTLE = "too little"
    ONE_ENGINE = "one engine"


@dataclass(frozen=True)
class Recommendation:
    """The recommended engine.

    Attributes
    ----------
    engine : str
    evidence : Evidence
    size : int
        Support size at which the engines are compared.
    differences : mapping of str to DiceDifference
        Dice of the best engine minus that of each other engine.
    reasons : tuple of str
        Sentences, in descending order of importance.
    """

    engine: str
    evidence: Evidence
    size: int
    differences: Mapping[str, DiceDifference]
    reasons: tuple[str, ...]


def recommend(
    points: Sequence[EngineScore],
    counts: Mapping[str, np.ndarray],
    labels: Sequence[str],
    held_out: int,
    to_fill: int,
) -> Recommendation:
    """Recommend the engine of best mean Dice at the largest support size, or a quicker one that is nearly as good.

    A quicker engine is recommended if its Dice is practically the same, or if the lead of the best may be chance and
    would cost much more time.

    Parameters
    ----------
    points : sequence of EngineScore
        Scores of the engines that finished.
    counts : mapping of engine to int ndarray, shape [slices, labels, 3]
        Voxel counts at the largest size, summed over draws.
    labels : sequence of str
        Names of the scored labels.
    held_out : int
        Number of held-out slices.
    to_fill : int
        Number of slices that the user wants to fill.
    """
    size = max(point.size for point in points)
    ranked = sorted((point for point in points if point.size == size), key=lambda point: -point.dice)
    best = ranked[0]
    differences = {point.engine: dice_difference(counts[best.engine], counts[point.engine]) for point in ranked[1:]}
    seconds = {point.engine: point.fill_seconds(to_fill) for point in ranked}
    quicker = [point for point in ranked[1:] if seconds[point.engine] < seconds[best.engine]]
    equals = [best, *(point for point in quicker if _practically_equal(differences[point.engine]))]
    cheaper = [
        point
        for point in quicker
        if not differences[point.engine].significant and _costly(seconds[best.engine], seconds[point.engine])
    ]
    chosen = min(equals, key=lambda point: seconds[point.engine])
    if chosen is best and cheaper:
        chosen = cheaper[0]
    if len(ranked) == 1:
        evidence, sentences = Evidence.ONE_ENGINE, [_alone(best)]
    elif held_out < MIN_HELD_OUT:
        chosen = best
        evidence, sentences = Evidence.TOO_LITTLE, [_too_little(ranked, held_out)]
    elif chosen is not best:
        evidence, sentences = Evidence.EQUAL, [_quicker(chosen, best, differences[chosen.engine], to_fill)]
    elif differences[ranked[1].engine].significant and not _practically_equal(differences[ranked[1].engine]):
        evidence, sentences = Evidence.CLEAR, [_clear(ranked, differences)]
    else:
        evidence, sentences = Evidence.PROBABLE, [_probable(ranked, differences, to_fill)]
    if to_fill:
        sentences.append(
            f"Filling the {to_fill} slices between yours should take {duration(chosen.fill_seconds(to_fill))}."
        )
    sentences += _notes(chosen, points, labels)
    return Recommendation(chosen.engine, evidence, size, differences, tuple(sentences))


def duration(seconds: float) -> str:
    """A duration in words, rounded to two digits."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 90:
        return f"about {_two_digits(seconds)} seconds"
    if seconds < 5400:
        return f"about {_two_digits(seconds / 60)} minutes"
    return f"about {_two_digits(seconds / 3600)} hours"


def painted(size: int) -> str:
    """A number of painted slices in words."""
    return "one painted slice" if size == 1 else f"{size} painted slices"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _practically_equal(difference: DiceDifference) -> bool:
    return abs(difference.dice) < NEGLIGIBLE_DIFFERENCE


def _costly(slow: float, quick: float) -> bool:
    return slow - quick > COSTLY_SECONDS and slow > COSTLY_RATIO * quick


def _alone(best: EngineScore) -> str:
    return (
        f"With {painted(best.size)} {best.engine} reached a mean Dice of {best.dice:.3f} on hidden slices. "
        "No other engine finished, so there is nothing to compare it with."
    )


def _too_little(ranked: Sequence[EngineScore], held_out: int) -> str:
    first, second = ranked[:2]
    slices = "slice" if held_out == 1 else "slices"
    return (
        f"There is too little evidence to prefer an engine: on the {held_out} {slices} that could be hidden, "
        f"{first.engine} was ahead of {second.engine} ({first.dice:.3f} against {second.dice:.3f}), which may be "
        f"chance. Paint at least {MIN_LABELLED} slices and compare again."
    )


def _clear(ranked: Sequence[EngineScore], differences: Mapping[str, DiceDifference]) -> str:
    first, second = ranked[:2]
    difference = differences[second.engine]
    return (
        f"With {painted(first.size)} {first.engine} reached a mean Dice of {first.dice:.3f} on hidden slices, "
        f"{difference.dice:.3f} more than the next best, {second.engine}. The lead is beyond the variation from "
        f"slice to slice (95 % CI {difference.low:.3f} to {difference.high:.3f})."
    )


def _probable(ranked: Sequence[EngineScore], differences: Mapping[str, DiceDifference], to_fill: int) -> str:
    first, second = ranked[:2]
    difference = differences[second.engine]
    better = "probably better" if difference.dice >= NEGLIGIBLE_DIFFERENCE else "as good"
    return (
        f"With {painted(first.size)} {first.engine} reached a mean Dice of {first.dice:.3f} on hidden slices and is "
        f"{better}: {difference.dice:+.3f} against {second.engine} ({_interval(difference)}). "
        f"{_time(first, second, to_fill)}"
    )


def _quicker(chosen: EngineScore, best: EngineScore, lead: DiceDifference, to_fill: int) -> str:
    equal = _practically_equal(lead)
    reason = "too little to matter" if equal else "a lead that may be chance and costs much more time"
    return (
        f"With {painted(chosen.size)} {chosen.engine} reached a mean Dice of {chosen.dice:.3f} on hidden slices. "
        f"{best.engine} had {lead.dice:+.3f} ({_interval(lead)}), {reason}. {_time(chosen, best, to_fill)}"
    )


def _interval(difference: DiceDifference) -> str:
    return f"95 % CI {difference.low:.3f} to {difference.high:.3f}"


def _time(chosen: EngineScore, other: EngineScore, to_fill: int) -> str:
    chosen_time, other_time = (duration(point.fill_seconds(max(1, to_fill))) for point in (chosen, other))
    return f"{chosen.engine} takes {chosen_time}, {other.engine} {other_time}."


def _notes(chosen: EngineScore, points: Sequence[EngineScore], labels: Sequence[str]) -> list[str]:
    notes = []
    if chosen.dice < LOW_DICE:
        notes.append(f"A mean Dice of {chosen.dice:.2f} is low: expect to correct much, or paint more slices first.")
    curve = sorted((point for point in points if point.engine == chosen.engine), key=lambda point: point.size)
    if len(curve) > 1 and curve[-1].dice - curve[-2].dice >= RISING_MARGIN:
        gain = curve[-1].dice - curve[-2].dice
        notes.append(
            f"More slices should still help: from {curve[-2].size} to {curve[-1].size} its Dice rose by {gain:.3f}."
        )
    smallest = min(point.size for point in points)
    ahead = max((point for point in points if point.size == smallest), key=lambda point: point.dice)
    if smallest < chosen.size and ahead.engine != chosen.engine and ahead.dice - curve[0].dice >= RISING_MARGIN:
        notes.append(
            f"With {painted(smallest)} {ahead.engine} was ahead ({ahead.dice:.3f} against {curve[0].dice:.3f})."
        )
    worst = int(np.nanargmin(chosen.by_label))
    if chosen.dice - chosen.by_label[worst] >= WEAK_LABEL_MARGIN:
        notes.append(f"Its weakest label is {labels[worst]} (Dice {chosen.by_label[worst]:.2f}): check it first.")
    return notes
