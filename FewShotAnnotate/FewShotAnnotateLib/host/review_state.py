"""ReviewState: what was found about each slice of a segmentation, and what the user said of it. Plain data, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ..core.expected import ExpectedDice

# Fills of a slice that are remembered, so that undo and redo show the figures of what the slice then holds.
_KNOWN_FILLS = 3


class SliceStatus(StrEnum):
    """How far the review of a slice is."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    ACCEPTED = "accepted"
    FLAGGED = "flagged"


@dataclass(frozen=True)
class Fill:
    """What a run put on a slice.

    Attributes
    ----------
    run : int
        Number of the run, from 1.
    checksum : int
        Of what the segments held on the slice after the run, see `painted.masks_digest`.
    confidence : float
        Dice to expect of the slice, 0..1, see `review.confidence`.
    disagreement : float or None
        1 - Dice between the slice and the shape interpolated from the slices the run learnt from, 0..1; None until
        it is measured.
    changed : int or None
        Voxels that the run added or removed; None until they are counted.
    """

    run: int
    checksum: int
    confidence: float
    disagreement: float | None = None
    changed: int | None = None


@dataclass(frozen=True)
class SliceReview:
    """What is known of one slice.

    Attributes
    ----------
    status : SliceStatus
        What the user said last; in progress if nothing.
    accepted : int or None
        Checksum of what was accepted: the word does not hold for anything else.
    fills : tuple of Fill
        Newest first.
    """

    status: SliceStatus = SliceStatus.IN_PROGRESS
    accepted: int | None = None
    fills: tuple[Fill, ...] = ()

    def fill_of(self, checksum: int | None) -> Fill | None:
        """The fill that the slice holds; the newest if its checksum now is not known."""
        if checksum is None:
            return self.fills[0] if self.fills else None
        return next((fill for fill in self.fills if fill.checksum == checksum), None)

    def is_accepted(self, checksum: int | None) -> bool:
        """Whether what the slice holds, by its checksum now if that is known, is what was accepted."""
        return self.status is SliceStatus.ACCEPTED and (checksum is None or checksum == self.accepted)

    def with_fill(self, fill: Fill) -> SliceReview:
        """The slice once a run has filled it; a flag stays until the user takes it back."""
        status = SliceStatus.FLAGGED if self.status is SliceStatus.FLAGGED else SliceStatus.IN_PROGRESS
        return SliceReview(status, None, (fill, *self.fills)[:_KNOWN_FILLS])

    def with_checksum(self, checksum: int) -> SliceReview:
        """The slice, not touched, once checksums are of other segments."""
        accepted = checksum if self.accepted is not None else None
        return replace(
            self, accepted=accepted, fills=tuple(replace(fill, checksum=checksum) for fill in self.fills[:1])
        )


@dataclass(frozen=True)
class AxisReview:
    """The slices along one axis.

    Attributes
    ----------
    segment_ids : tuple of str
        Segments that the last run filled; the checksums are of these.
    engine : str
        Name of the engine of the last run.
    runs : int
        How many runs there were.
    slices : mapping of int to SliceReview
    expected : mapping of str to ExpectedDice
        Segment id -> what the engine of the last run expects of it.
    """

    segment_ids: tuple[str, ...] = ()
    engine: str = ""
    runs: int = 0
    slices: Mapping[int, SliceReview] = field(default_factory=dict)
    expected: Mapping[str, ExpectedDice] = field(default_factory=dict)

    def with_slices(self, changed: Mapping[int, SliceReview]) -> AxisReview:
        """The review with some slices replaced."""
        return replace(self, slices=dict(sorted({**self.slices, **changed}.items())))

    def with_status(self, indices: Sequence[int], status: SliceStatus) -> AxisReview:
        """The review once the user has said something else than 'accepted' of some slices."""
        known = {index: self.slices.get(index, SliceReview()) for index in indices}
        return self.with_slices({index: replace(one, status=status, accepted=None) for index, one in known.items()})

    def with_accepted(self, checksums: Mapping[int, int]) -> AxisReview:
        """The review once slices, which hold what these checksums say, are accepted."""
        known = {index: self.slices.get(index, SliceReview()) for index in checksums}
        status = SliceStatus.ACCEPTED
        return self.with_slices(
            {index: replace(one, status=status, accepted=checksums[index]) for index, one in known.items()}
        )

    def after_run(
        self, segment_ids: tuple[str, ...], engine: str, fills: Mapping[int, Fill], kept: Mapping[int, int]
    ) -> AxisReview:
        """The review once a run has ended.

        Parameters
        ----------
        fills : mapping of int to Fill
            Of the slices that it filled.
        kept : mapping of int to int
            Slice that it was told to keep -> its checksum.
        """
        same = segment_ids == self.segment_ids
        before = {index: self.slices.get(index, SliceReview()) for index in (*fills, *kept)}
        changed = {}
        for index, one in before.items():
            if index in fills:
                changed[index] = (one if same else replace(one, fills=())).with_fill(fills[index])
            elif not same:
                changed[index] = one.with_checksum(kept[index])
        return replace(self.with_slices(changed), segment_ids=segment_ids, engine=engine, runs=self.runs + 1)

    def with_measured(self, run: int, disagreement: Mapping[int, float], changed: Mapping[int, int]) -> AxisReview:
        """The review with what was measured of a run's slices, as far as it still is their last one."""
        measured = {}
        for index, value in disagreement.items():
            one = self.slices.get(index)
            if one is not None and one.fills and one.fills[0].run == run:
                fill = replace(one.fills[0], disagreement=value, changed=changed.get(index, 0))
                measured[index] = replace(one, fills=(fill, *one.fills[1:]))
        return self.with_slices(measured)


@dataclass(frozen=True)
class ReviewState:
    """The review of one segmentation.

    Attributes
    ----------
    axes : mapping of int to AxisReview
        Array axis -> its slices.
    """

    axes: Mapping[int, AxisReview] = field(default_factory=dict)

    def axis(self, axis: int | None) -> AxisReview:
        """The slices along an axis."""
        return self.axes.get(axis, AxisReview()) if axis is not None else AxisReview()

    def with_axis(self, axis: int, review: AxisReview) -> ReviewState:
        """The state with the slices along an axis replaced."""
        return ReviewState({**self.axes, axis: review})

    def to_json(self) -> dict[str, Any]:
        """Plain dict of plain values; short, as it is written after every word of the user."""
        return {str(axis): _axis_to_json(review) for axis, review in self.axes.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReviewState:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            Something else.
        """
        return cls({int(axis): _axis_from_json(one) for axis, one in data.items()})


def _axis_to_json(review: AxisReview) -> dict[str, Any]:
    return {
        "segment_ids": review.segment_ids,
        "engine": review.engine,
        "runs": review.runs,
        "slices": {index: _slice_to_json(one) for index, one in review.slices.items()},
        "expected": {name: one.to_json() for name, one in review.expected.items()},
    }


def _axis_from_json(data: Mapping[str, Any]) -> AxisReview:
    slices = {int(index): _slice_from_json(one) for index, one in data["slices"].items()}
    expected = {str(name): ExpectedDice.from_json(one) for name, one in data["expected"].items()}
    segment_ids = tuple(str(name) for name in data["segment_ids"])
    return AxisReview(segment_ids, str(data["engine"]), int(data["runs"]), dict(sorted(slices.items())), expected)


def _slice_to_json(one: SliceReview) -> list[Any]:
    fills = [[fill.run, fill.checksum, fill.confidence, fill.disagreement, fill.changed] for fill in one.fills]
    return [one.status, one.accepted, fills]


def _slice_from_json(data: Sequence[Any]) -> SliceReview:
    status, accepted, fills = data
    known = tuple(_fill_from_json(*one) for one in fills)
    return SliceReview(SliceStatus(status), None if accepted is None else int(accepted), known)


def _fill_from_json(run: Any, checksum: Any, confidence: Any, disagreement: Any, changed: Any) -> Fill:
    measured = None if disagreement is None else float(disagreement)
    return Fill(int(run), int(checksum), float(confidence), measured, None if changed is None else int(changed))
