"""ReviewRow: a slice as the review shows it, from what is kept of it and what it holds now; all of them in a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..core.expected import ExpectedDice
from .record import PaintRecord
from .review_state import AxisReview, SliceReview, SliceStatus


class Origin(StrEnum):
    """Whose labels a slice holds."""

    NOBODY = "not filled"
    FILLED = "filled"
    CORRECTED = "corrected"  # filled once, then changed by hand: from then on support
    PAINTED = "painted"


@dataclass(frozen=True)
class ReviewRow:
    """One slice.

    Attributes
    ----------
    confidence, disagreement : float or None
        As of the fill that the slice holds, see `review_state.Fill`; None where it holds none.
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
    def own(self) -> bool:
        """Whether it is the user's own work: painted, or corrected since it was filled."""
        return self.origin in (Origin.PAINTED, Origin.CORRECTED)

    @property
    def open(self) -> bool:
        """Whether the slice waits for the user's word."""
        return self.status in (SliceStatus.IN_PROGRESS, SliceStatus.FLAGGED)


@dataclass(frozen=True)
class RefillRequest:
    """A fill of the slices that are not accepted.

    Attributes
    ----------
    slices : range
        From the first to the last slice under review.
    keep : frozenset of int
        Accepted slices: they are support and are never changed.
    """

    slices: range
    keep: frozenset[int]


@dataclass(frozen=True)
class ReviewView:
    """All that there is to show.

    Attributes
    ----------
    axis : int or None
        Array axis of the slices.
    engine : str
        Name of the engine of the last run.
    rows : tuple of ReviewRow
    expected : tuple of (str, ExpectedDice)
        Name of each segment of which the last run expects a Dice, in the segmentation's order.
    """

    axis: int | None = None
    engine: str = ""
    rows: tuple[ReviewRow, ...] = ()
    expected: tuple[tuple[str, ExpectedDice], ...] = ()


def review_rows(review: AxisReview, record: PaintRecord, checksums: Mapping[int, int]) -> tuple[ReviewRow, ...]:
    """All slices from the first to the last one that is filled or painted; none before the first run.

    Parameters
    ----------
    record : of the same axis
    checksums : mapping of int to int
        Of what the slices hold now, where known.
    """
    if not review.slices:
        return ()
    corrected = {*record.corrected(checksums)} - {*record.left_out}
    own = {*record.marked} - {*record.left_out} | corrected
    numbers = {*review.slices, *own}
    return tuple(
        _row(index, review.slices.get(index, SliceReview()), index in own, checksums.get(index))
        for index in range(min(numbers), max(numbers) + 1)
    )


def worst_first(rows: Sequence[ReviewRow]) -> list[int]:
    """Slices that wait for the user's word: the least confident first, of equal ones the one that disagrees most."""
    waiting = [row for row in rows if row.open]
    unknown = 2.0  # after all that are known
    key = {
        row.index: (unknown if row.confidence is None else row.confidence, -(row.disagreement or 0.0), row.index)
        for row in waiting
    }
    return sorted(key, key=lambda index: key[index])


def roll_up(rows: Sequence[ReviewRow]) -> SliceStatus:
    """Status of all slices together."""
    found = {row.status for row in rows}
    if SliceStatus.FLAGGED in found:
        return SliceStatus.FLAGGED
    if found == {SliceStatus.ACCEPTED}:
        return SliceStatus.ACCEPTED
    return SliceStatus.IN_PROGRESS if found else SliceStatus.NOT_STARTED


def _row(index: int, one: SliceReview, own: bool, checksum: int | None) -> ReviewRow:
    fill = one.fill_of(checksum)
    if own:
        origin = Origin.CORRECTED if one.fills else Origin.PAINTED
    else:
        origin = Origin.FILLED if fill is not None else Origin.NOBODY
    status = _status(one, own, origin, checksum)
    if fill is None or origin is not Origin.FILLED:  # the figures are of what the engine had put there
        return ReviewRow(index, origin, status)
    return ReviewRow(index, origin, status, fill.confidence, fill.disagreement, fill.changed)


def _status(one: SliceReview, own: bool, origin: Origin, checksum: int | None) -> SliceStatus:
    if one.status is SliceStatus.FLAGGED:
        return SliceStatus.FLAGGED
    if own:  # what a person painted needs nobody's word
        return SliceStatus.ACCEPTED
    if one.is_accepted(checksum):
        return SliceStatus.ACCEPTED
    return SliceStatus.IN_PROGRESS if origin is Origin.FILLED else SliceStatus.NOT_STARTED
