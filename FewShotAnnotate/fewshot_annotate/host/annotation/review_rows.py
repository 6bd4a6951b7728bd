"""ReviewRow: a slice in the review, from its stored review and its present voxels; ReviewView: all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ...core.expected_dice import ExpectedDice
from .record import AxisRecord, SliceRecord, SliceStatus


class Origin(StrEnum):
    """Where the labels of a slice come from."""

    UNFILLED = "not filled"
    FILLED = "filled"
    CORRECTED = "corrected"  # filled, then changed by hand; support from then on
    PAINTED = "painted"


@dataclass(frozen=True, kw_only=True)
class ReviewRow:
    """One slice.

    Attributes
    ----------
    index : int
        Slice index.
    origin : Origin
    status : SliceStatus
    confidence, disagreement : float or None
        As of the fill that the slice holds, see `record.Fill`; None where it holds none.
    changed : int or None
        Voxels that this fill added or removed.
    """

    index: int
    origin: Origin
    status: SliceStatus
    confidence: float | None = None
    disagreement: float | None = None
    changed: int | None = None

    @property
    def manual(self) -> bool:
        """Whether the user painted the slice, or corrected it after a fill."""
        return self.origin in (Origin.PAINTED, Origin.CORRECTED)

    @property
    def needs_review(self) -> bool:
        """Whether the slice is filled and neither accepted nor corrected, or is flagged."""
        return self.status in (SliceStatus.IN_PROGRESS, SliceStatus.FLAGGED)


@dataclass(frozen=True)
class RefillRequest:
    """A fill of the slices that are not accepted.

    Attributes
    ----------
    slices : range
        From the first to the last slice under review.
    keep : frozenset of int
        Accepted slices, which are support and are not changed.
    """

    slices: range
    keep: frozenset[int]


@dataclass(frozen=True)
class ReviewView:
    """Everything that the panel shows of a review.

    Attributes
    ----------
    axis : int or None
        Array axis of the slices.
    engine : str
        Name of the engine of the last run.
    rows : tuple of ReviewRow
    expected : tuple of (str, ExpectedDice)
        Name and expected Dice of each segment of the last run, in the segmentation's order; empty after its undo.
    """

    axis: int | None = None
    engine: str = ""
    rows: tuple[ReviewRow, ...] = ()
    expected: tuple[tuple[str, ExpectedDice], ...] = ()

    @property
    def filled(self) -> int:
        """How many slices hold the labels of a run."""
        return sum(row.origin is Origin.FILLED for row in self.rows)

    @property
    def accepted(self) -> frozenset[int]:
        """Accepted slices, which a fill must not change; painted and corrected slices are never changed anyway."""
        rows = self.rows
        return frozenset(row.index for row in rows if row.status is SliceStatus.ACCEPTED and not row.manual)

    @property
    def has_unfilled(self) -> bool:
        """Whether a slice was neither painted nor filled, such as those that a stopped run did not reach."""
        return any(row.origin is Origin.UNFILLED for row in self.rows)

    @property
    def has_filled(self) -> bool:
        """Whether a slice was filled, perhaps corrected since, and that was not undone."""
        return any(row.origin in (Origin.FILLED, Origin.CORRECTED) for row in self.rows)


def review_rows(slices: AxisRecord, checksums: Mapping[int, int]) -> tuple[ReviewRow, ...]:
    """Rows for the slices from the first to the last filled or painted one; none before the first run.

    Parameters
    ----------
    slices : AxisRecord
    checksums : mapping of int to int
        Slice -> checksum of its present voxels, where known.
    """
    reviewed = slices.reviewed
    if not reviewed:
        return ()
    by_hand = {*slices.labelled, *slices.corrected(checksums)}
    numbers = {*reviewed, *by_hand}
    return tuple(
        _row(index, slices.at(index), index in by_hand, checksums.get(index))
        for index in range(min(numbers), max(numbers) + 1)
    )


def worst_first(rows: Sequence[ReviewRow]) -> list[int]:
    """Slices that need review, by ascending confidence, then by descending disagreement."""
    waiting = [row for row in rows if row.needs_review]
    unknown = 2.0  # sorted last
    key = {
        row.index: (unknown if row.confidence is None else row.confidence, -(row.disagreement or 0.0), row.index)
        for row in waiting
    }
    return sorted(key, key=lambda index: key[index])


def combined_status(rows: Sequence[ReviewRow]) -> SliceStatus:
    """Status of all slices together."""
    statuses = {row.status for row in rows}
    if SliceStatus.FLAGGED in statuses:
        return SliceStatus.FLAGGED
    if statuses == {SliceStatus.ACCEPTED}:
        return SliceStatus.ACCEPTED
    return SliceStatus.IN_PROGRESS if statuses else SliceStatus.NOT_STARTED


def _row(index: int, record: SliceRecord, by_hand: bool, checksum: int | None) -> ReviewRow:
    fill = record.fill_of(checksum)
    if by_hand:
        origin = Origin.CORRECTED if record.fills else Origin.PAINTED
    else:
        origin = Origin.FILLED if fill is not None else Origin.UNFILLED
    status = _status(record, by_hand, origin, checksum)
    if fill is None or origin is not Origin.FILLED:  # the values describe the engine's labels
        return ReviewRow(index=index, origin=origin, status=status)
    return ReviewRow(
        index=index,
        origin=origin,
        status=status,
        confidence=fill.confidence,
        disagreement=fill.disagreement,
        changed=fill.changed,
    )


def _status(record: SliceRecord, by_hand: bool, origin: Origin, checksum: int | None) -> SliceStatus:
    if record.status is SliceStatus.FLAGGED:
        return SliceStatus.FLAGGED
    if by_hand:  # painted slices need no review
        return SliceStatus.ACCEPTED
    if record.is_accepted(checksum):
        return SliceStatus.ACCEPTED
    return SliceStatus.IN_PROGRESS if origin is Origin.FILLED else SliceStatus.NOT_STARTED
