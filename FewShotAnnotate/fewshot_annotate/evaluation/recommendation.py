"""Recommendation of an engine from the scores of a comparison, with its reasons as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from ..core.errors import Message
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
    POSSIBLE = "possible"
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
    reasons : tuple of Message
        In descending order of importance; `str` of each is an English sentence.
    """

    engine: str
    evidence: Evidence
    size: int
    differences: Mapping[str, DiceDifference]
    reasons: tuple[Message, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file: the reasons in English, and as codes with data for other languages."""
        return {
            **asdict(replace(self, reasons=())),
            "reasons": [str(reason) for reason in self.reasons],
            "reason_data": [reason.to_json() for reason in self.reasons],
        }


def recommend(
    points: Sequence[EngineScore],
    counts: Mapping[str, np.ndarray],
    labels: Sequence[str],
    held_out: int,
    labelled: int,
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
    held_out, labelled : int
        Number of held-out slices, and of all labelled ones.
    to_fill : int
        Number of slices that the user wants to fill.
    """
    size = max(point.size for point in points)
    ranked = sorted((point for point in points if point.size == size), key=lambda point: -point.dice)
    best = ranked[0]
    differences = {point.engine: dice_difference(counts[best.engine], counts[point.engine]) for point in ranked[1:]}
    chosen = _best_or_quicker(ranked, differences, to_fill)
    if len(ranked) == 1:
        evidence, reasons = Evidence.ONE_ENGINE, [_reason_for_only_engine(best)]
    elif held_out < MIN_HELD_OUT:
        chosen = best
        evidence, reasons = Evidence.TOO_LITTLE, [_reason_for_too_few_slices(ranked, held_out, labelled)]
    elif chosen is not best:
        evidence, reasons = (
            Evidence.EQUAL,
            [_reason_for_quicker_engine(chosen, best, differences[chosen.engine], to_fill)],
        )
    elif differences[ranked[1].engine].significant and not _practically_equal(differences[ranked[1].engine]):
        evidence, reasons = Evidence.CLEAR, [_reason_for_clear_lead(ranked, differences)]
    else:
        evidence, reasons = _reason_for_uncertain_lead(ranked, differences[ranked[1].engine], to_fill)
    if to_fill:
        time = duration_message(chosen.fill_seconds(to_fill))
        reasons.append(
            Message(
                "recommended_duration_of_one" if to_fill == 1 else "recommended_duration", count=to_fill, time=time
            )
        )
    reasons += _notes(chosen, points, labels)
    return Recommendation(chosen.engine, evidence, size, differences, tuple(reasons))


def _best_or_quicker(
    ranked: Sequence[EngineScore], differences: Mapping[str, DiceDifference], to_fill: int
) -> EngineScore:
    """The engine of best Dice, or a quicker one whose Dice is practically the same or whose lag may be chance."""
    best = ranked[0]
    seconds = {point.engine: point.fill_seconds(to_fill) for point in ranked}
    quicker = [point for point in ranked[1:] if seconds[point.engine] < seconds[best.engine]]
    equals = [best, *(point for point in quicker if _practically_equal(differences[point.engine]))]
    quickest = min(equals, key=lambda point: seconds[point.engine])
    if quickest is not best:
        return quickest
    perhaps_as_good = (
        point
        for point in quicker
        if not differences[point.engine].significant
        and _takes_much_longer(seconds[best.engine], seconds[point.engine])
    )
    return next(perhaps_as_good, best)


def duration(seconds: float) -> str:
    """A duration in English words, rounded to two digits."""
    return str(duration_message(seconds))


def duration_message(seconds: float) -> Message:
    """A duration, rounded to two digits."""
    if seconds < 1.5:
        return Message("about_one_second")
    if seconds < 90:
        return Message("about_seconds", number=_two_digits(seconds))
    if seconds < 5400:
        return Message("about_minutes", number=_two_digits(seconds / 60))
    return Message("about_hours", number=_two_digits(seconds / 3600))


def painted(size: int) -> Message:
    """A number of painted slices in words."""
    return Message("one_painted_slice") if size == 1 else Message("painted_slices", count=size)


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


def _practically_equal(difference: DiceDifference) -> bool:
    return abs(difference.dice) < NEGLIGIBLE_DIFFERENCE


def _takes_much_longer(slow: float, quick: float) -> bool:
    """Whether the slower of two durations, in seconds, costs much more time."""
    return slow - quick > COSTLY_SECONDS and slow > COSTLY_RATIO * quick


def _reason_for_only_engine(best: EngineScore) -> Message:
    return Message("recommended_alone", painted=painted(best.size), engine=best.engine, dice=best.dice)


def _reason_for_too_few_slices(ranked: Sequence[EngineScore], held_out: int, labelled: int) -> Message:
    """What to do for more evidence: hold out more of the labelled slices, or paint more where these are too few."""
    first, second = ranked[:2]
    lead = {"engine": first.engine, "dice": first.dice, "other": second.engine, "other_dice": second.dice}
    if labelled >= MIN_LABELLED:
        return Message("evidence_of_few_held_out", count=held_out, **lead, needed=MIN_HELD_OUT)
    return Message(
        "evidence_of_one_slice" if held_out == 1 else "evidence_of_few_slices",
        count=held_out,
        **lead,
        needed=MIN_LABELLED,
    )


def _reason_for_clear_lead(ranked: Sequence[EngineScore], differences: Mapping[str, DiceDifference]) -> Message:
    first, second = ranked[:2]
    difference = differences[second.engine]
    return Message(
        "recommended_clearly",
        painted=painted(first.size),
        engine=first.engine,
        dice=first.dice,
        other=second.engine,
        difference=difference.dice,
        low=difference.low,
        high=difference.high,
    )


def _reason_for_uncertain_lead(
    ranked: Sequence[EngineScore], lead: DiceDifference, to_fill: int
) -> tuple[Evidence, list[Message]]:
    """Evidence and reason where the lead over the next best may be chance."""
    against = _comparison_data(ranked[0], ranked[1], lead, to_fill)
    if _practically_equal(lead):
        return Evidence.PROBABLE, [Message("recommended_as_good", **against)]
    if lead.likely:
        return Evidence.PROBABLE, [Message("recommended_probably", **against)]
    return Evidence.POSSIBLE, [Message("recommended_possibly", **against)]


def _reason_for_quicker_engine(chosen: EngineScore, best: EngineScore, lead: DiceDifference, to_fill: int) -> Message:
    return Message(
        "recommended_quicker_and_equal" if _practically_equal(lead) else "recommended_much_quicker",
        **_comparison_data(chosen, best, lead, to_fill),
    )


def _comparison_data(
    chosen: EngineScore, other: EngineScore, difference: DiceDifference, to_fill: int
) -> dict[str, Any]:
    """Data of a reason that compares an engine with another one, in Dice and time."""
    time, other_time = (duration_message(point.fill_seconds(max(1, to_fill))) for point in (chosen, other))
    return {
        "painted": painted(chosen.size),
        "engine": chosen.engine,
        "dice": chosen.dice,
        "other": other.engine,
        "difference": difference.dice,
        "low": difference.low,
        "high": difference.high,
        "time": time,
        "other_time": other_time,
    }


def _notes(chosen: EngineScore, points: Sequence[EngineScore], labels: Sequence[str]) -> list[Message]:
    notes = []
    if chosen.dice < LOW_DICE:
        notes.append(Message("recommended_dice_low", dice=chosen.dice))
    curve = sorted((point for point in points if point.engine == chosen.engine), key=lambda point: point.size)
    if len(curve) > 1 and curve[-1].dice - curve[-2].dice >= RISING_MARGIN:
        gain = curve[-1].dice - curve[-2].dice
        notes.append(Message("more_slices_help", first=curve[-2].size, last=curve[-1].size, difference=gain))
    smallest = min(point.size for point in points)
    ahead = max((point for point in points if point.size == smallest), key=lambda point: point.dice)
    if smallest < chosen.size and ahead.engine != chosen.engine and ahead.dice - curve[0].dice >= RISING_MARGIN:
        notes.append(
            Message(
                "ahead_with_few_slices",
                painted=painted(smallest),
                engine=ahead.engine,
                dice=ahead.dice,
                other_dice=curve[0].dice,
            )
        )
    worst = int(np.nanargmin(chosen.by_label))
    if chosen.dice - chosen.by_label[worst] >= WEAK_LABEL_MARGIN:
        notes.append(Message("weakest_label", label=labels[worst], dice=chosen.by_label[worst]))
    return notes
