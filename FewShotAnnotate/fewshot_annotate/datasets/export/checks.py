"""Consistency checks of a data set before it is exported."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ...core.errors import InputError, Message
from ...core.volume import Segment
from .facts import CaseFacts

# A case is an outlier if the logarithm of a volume differs by this many robust standard deviations,
_MAX_DEVIATIONS = 4.0
# which are never taken to be smaller than this: organs of healthy people differ by a factor of 1.2 easily.
_MIN_DEVIATION = 0.2
_MIN_CASES = 5
# Spacing that differs by more than this factor from the median of all cases.
_MAX_SPACING_FACTOR = 2.0
# Share of the cases that must agree before the others are reported.
_MIN_AGREEING_SHARE = 0.8
# If centres are nearer than this along the left-right axis, neither lies to the left of the other.
_MIN_SIDE_MM = 5.0
# With more labels, only those with a side in their name are compared: the number of pairs grows with the square.
_MAX_SIDE_LABELS = 20
_SIDES = re.compile(r"\b(left|right)\b|(?<![a-z])(l|r)(?![a-z])", re.IGNORECASE)


def require_consistent(segments: Sequence[Segment], cases: Sequence[CaseFacts]) -> None:
    """Raise `InputError` if a segment is in no case."""
    for index, segment in enumerate(segments):
        if not any(case.millilitres[index] for case in cases):
            raise InputError("dataset_label_nowhere", segment=segment.name)


def findings(segments: Sequence[Segment], cases: Sequence[CaseFacts]) -> list[Message]:
    """Messages about what a person should check; empty if nothing is conspicuous."""
    return [
        *_missing_labels(segments, cases),
        *_spacing_outliers(cases),
        *_volume_outliers(segments, cases),
        *_swapped_sides(segments, cases),
    ]


def _missing_labels(segments: Sequence[Segment], cases: Sequence[CaseFacts]) -> Iterator[Message]:
    for index, segment in enumerate(segments):
        without = [case.name for case in cases if not case.millilitres[index]]
        if without and len(without) <= (1 - _MIN_AGREEING_SHARE) * len(cases):
            yield Message("dataset_label_missing", segment=segment.name, cases=", ".join(without))


def _spacing_outliers(cases: Sequence[CaseFacts]) -> Iterator[Message]:
    spacings = np.sort([case.geometry.spacing for case in cases], axis=1)
    typical = np.median(spacings, axis=0)
    for case, spacing in zip(cases, spacings, strict=True):
        factor = float(np.exp(np.abs(np.log(spacing / typical)).max()))
        if factor > _MAX_SPACING_FACTOR:
            text = " x ".join(f"{size:.3g}" for size in case.geometry.spacing)
            yield Message(
                "dataset_spacing", case=case.name, spacing=text, typical=" x ".join(f"{size:.3g}" for size in typical)
            )


def _volume_outliers(segments: Sequence[Segment], cases: Sequence[CaseFacts]) -> Iterator[Message]:
    for index, segment in enumerate(segments):
        shown = [case for case in cases if case.millilitres[index]]
        if len(shown) < _MIN_CASES:
            continue
        logs = np.log([case.millilitres[index] for case in shown])
        middle = float(np.median(logs))
        deviation = max(1.4826 * float(np.median(np.abs(logs - middle))), _MIN_DEVIATION)
        for case, value in zip(shown, logs, strict=True):
            if abs(value - middle) > _MAX_DEVIATIONS * deviation:
                yield Message(
                    "dataset_volume",
                    case=case.name,
                    segment=segment.name,
                    found=f"{np.exp(value):.3g}",
                    typical=f"{np.exp(middle):.3g}",
                )


def _swapped_sides(segments: Sequence[Segment], cases: Sequence[CaseFacts]) -> Iterator[Message]:
    """Cases in which left and right of two segments are swapped, compared with their names or with most cases."""
    reported = set()
    for left_number, right_number in _named_pairs(segments):
        for case in cases:
            side = _side(case, left_number, right_number)
            if side and side < 0 and case.name not in reported:
                reported.add(case.name)
                names = {"first": segments[left_number].name, "second": segments[right_number].name}
                yield Message("dataset_sides_named", case=case.name, **names)
    if len(segments) > _MAX_SIDE_LABELS:
        return
    for number in range(len(segments)):
        for other in range(number + 1, len(segments)):
            sides = [(case, _side(case, number, other)) for case in cases]
            sides = [(case, side) for case, side in sides if side]
            count = sum(side > 0 for _, side in sides)
            if len(sides) < _MIN_CASES or max(count, len(sides) - count) < _MIN_AGREEING_SHARE * len(sides):
                continue
            usual = 1 if count > len(sides) / 2 else -1
            for case, side in sides:
                if side != usual and case.name not in reported:
                    reported.add(case.name)
                    names = {"first": segments[number].name, "second": segments[other].name}
                    yield Message("dataset_sides_differ", case=case.name, **names)


def _side(case: CaseFacts, number: int, other: int) -> int:
    """1 if a segment lies further left than another one, -1 if further right, 0 for neither."""
    first, second = case.centres[number], case.centres[other]
    if first is None or second is None or abs(first[0] - second[0]) < _MIN_SIDE_MM:
        return 0
    return 1 if first[0] > second[0] else -1


def _named_pairs(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    """Indices of the left and the right segment of pairs whose names differ in the side alone."""
    sides: dict[str, dict[str, int]] = defaultdict(dict)
    for index, segment in enumerate(segments):
        match = _SIDES.search(segment.name)
        if match:
            sides[_SIDES.sub("", segment.name).casefold()][match[0][0].casefold()] = index
    return [(pair["l"], pair["r"]) for pair in sides.values() if len(pair) == 2]
