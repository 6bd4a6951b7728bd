"""AnnotationRecord: all that is stored of the slices of a segmentation, as plain data.

It holds what cannot be found from the voxels: which slices the user counts as labelled or leaves out, what runs
filled, and what the user accepted or flagged. Voxels are compared with it by checksum, because undo and redo change
them without notice; `snapshot` is the one place that does so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ...core.expected_dice import ExpectedDice
from .painted_slices import RemainingLabels

# Number of fills of a slice that are stored, so that undo and redo show the values of the restored voxels.
_MAX_FILLS = 3
# Number of checksums stored of a filled slice; undo and redo switch between these states.
_MAX_STATES = 6
# Decimals of stored confidence and disagreement, finer than their accuracy and short in the scene file.
DECIMALS = 4


class SliceStatus(StrEnum):
    """Review status of a slice."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    ACCEPTED = "accepted"
    FLAGGED = "flagged"


@dataclass(frozen=True)
class Fill:
    """One fill of a slice.

    Attributes
    ----------
    run : int
        Number of the run, from 1.
    checksum : int
        Of the segments' voxels on the slice after the run, see `painted_slices.masks_digest`.
    confidence : float
        Confidence of the slice, 0..1, see `guidance.confidence`.
    disagreement : float or None
        1 - Dice between the slice and the shape interpolated from the labelled slices of the run, 0..1; None until
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
class SliceRecord:
    """What is stored of one slice.

    Attributes
    ----------
    labelled : bool or None
        Whether it counts as labelled, whatever it holds; None: found from the voxels.
    status : SliceStatus
        Last status set by the user; `IN_PROGRESS` if none was set.
    accepted : int or None
        Checksum of the accepted voxels; the acceptance does not hold for other voxels.
    states : tuple of int
        Checksums of its voxels after and before earlier runs, newest first. Any other checksum means that
        the user has corrected the slice since then.
    fills : tuple of Fill
        Newest first.
    """

    labelled: bool | None = None
    status: SliceStatus = SliceStatus.IN_PROGRESS
    accepted: int | None = None
    states: tuple[int, ...] = ()
    fills: tuple[Fill, ...] = ()

    def is_corrected(self, checksum: int | None) -> bool:
        """Whether a filled slice with this present checksum has been changed by hand since the fill."""
        return self.labelled is None and bool(self.states) and checksum not in (None, *self.states)

    def is_accepted(self, checksum: int | None) -> bool:
        """Whether the present voxels of the slice, by their checksum if that is known, are those accepted."""
        return self.status is SliceStatus.ACCEPTED and (checksum is None or checksum == self.accepted)

    def fill_of(self, checksum: int | None) -> Fill | None:
        """The fill whose voxels the slice holds; the newest if its present checksum is unknown."""
        if checksum is None:
            return self.fills[0] if self.fills else None
        return next((fill for fill in self.fills if fill.checksum == checksum), None)

    def with_fill(self, fill: Fill) -> SliceRecord:
        """The record after a run has filled the slice; a flag stays until the user resets it."""
        status = SliceStatus.FLAGGED if self.status is SliceStatus.FLAGGED else SliceStatus.IN_PROGRESS
        return replace(self, status=status, accepted=None, fills=(fill, *self.fills)[:_MAX_FILLS])

    def with_states(self, *newest: int) -> SliceRecord:
        """The record with the newest states before the others."""
        return replace(self, states=tuple(dict.fromkeys((*newest, *self.states)))[:_MAX_STATES])

    def with_checksum(self, checksum: int) -> SliceRecord:
        """The record with the checksum of the same voxels for another choice of segments."""
        fills = tuple(replace(fill, checksum=checksum) for fill in self.fills[:1])
        return replace(self, accepted=checksum if self.accepted is not None else None, fills=fills)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is stored of the effect of a run on the slices.

    Attributes
    ----------
    axis : int
    labelled : collection of int
        Slices that count as labelled from now on.
    segment_ids : tuple of str
        Segments that the run filled; the checksums are of these.
    engine : str
    states : mapping of int to tuple of int
        Slice -> its checksums after and before the run.
    kept : mapping of int to int
        Slice that the run had to keep -> its checksum.
    confidence : mapping of int to float
        Filled slice -> its confidence, 0..1, see `guidance.confidence`.
    expected : mapping of str to ExpectedDice
        Segment id -> its expected Dice.
    """

    axis: int
    labelled: Collection[int]
    segment_ids: tuple[str, ...]
    engine: str = ""
    states: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    kept: Mapping[int, int] = field(default_factory=dict)
    confidence: Mapping[int, float] = field(default_factory=dict)
    expected: Mapping[str, ExpectedDice] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AxisRecord:
    """What is stored of the slices along one axis.

    Attributes
    ----------
    segment_ids : tuple of str
        Segments that the last run filled; all checksums are of these, in their order.
    engine : str
        Name of the engine of the last run.
    runs : int
        How many runs there were.
    slices : mapping of int to SliceRecord, ascending
    expected : mapping of str to ExpectedDice
        Segment id -> expected Dice of the last run.
    remaining : RemainingLabels or None
        None unless one of the segments was removed since the last run.
    """

    segment_ids: tuple[str, ...] = ()
    engine: str = ""
    runs: int = 0
    slices: Mapping[int, SliceRecord] = field(default_factory=dict)
    expected: Mapping[str, ExpectedDice] = field(default_factory=dict)
    remaining: RemainingLabels | None = None

    @property
    def labelled(self) -> tuple[int, ...]:
        """Slices that count as labelled whatever they hold."""
        return tuple(index for index, record in self.slices.items() if record.labelled is True)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Slices that do not count as labelled although they hold labels."""
        return tuple(index for index, record in self.slices.items() if record.labelled is False)

    @property
    def filled(self) -> tuple[int, ...]:
        """Slices whose states after and before runs are stored."""
        return tuple(index for index, record in self.slices.items() if record.states)

    @property
    def accepted(self) -> dict[int, int]:
        """Accepted slice -> checksum of its accepted voxels."""
        return {index: record.accepted for index, record in self.slices.items() if record.accepted is not None}

    @property
    def reviewed(self) -> tuple[int, ...]:
        """Slices that a run filled or to which the user gave a status."""
        return tuple(
            index
            for index, record in self.slices.items()
            if record.fills or record.status is not SliceStatus.IN_PROGRESS
        )

    def corrected(self, checksums: Mapping[int, int]) -> tuple[int, ...]:
        """Filled slices that have been changed by hand since the fill, given slice -> present checksum."""
        return tuple(index for index, record in self.slices.items() if record.is_corrected(checksums.get(index)))

    def holds_last_run(self, checksums: Mapping[int, int]) -> bool:
        """Whether any slice still holds what the last run filled, given slice -> present checksum."""
        fills = (record.fill_of(checksums.get(index)) for index, record in self.slices.items())
        return any(fill is not None and fill.run == self.runs for fill in fills)

    def at(self, index: int) -> SliceRecord:
        """The record of a slice; an empty one if nothing is stored of it."""
        return self.slices.get(index, SliceRecord())

    def with_slices(self, changed: Mapping[int, SliceRecord]) -> AxisRecord:
        """The record with some slices replaced."""
        together = {**self.slices, **changed}
        return replace(
            self, slices={index: record for index, record in sorted(together.items()) if record != SliceRecord()}
        )

    def with_labelled(self, index: int, labelled: bool) -> AxisRecord:
        """The record with a slice that counts as labelled or not."""
        return self.with_slices({index: replace(self.at(index), labelled=labelled)})

    def with_status(self, indices: Sequence[int], status: SliceStatus) -> AxisRecord:
        """The record with another status than 'accepted' set for some slices."""
        return self.with_slices({index: replace(self.at(index), status=status, accepted=None) for index in indices})

    def with_accepted(self, checksums: Mapping[int, int]) -> AxisRecord:
        """The record with slices accepted: slice -> checksum of its accepted voxels."""
        status = SliceStatus.ACCEPTED
        return self.with_slices(
            {
                index: replace(self.at(index), status=status, accepted=checksum)
                for index, checksum in checksums.items()
            }
        )

    def with_measured(self, run: int, disagreement: Mapping[int, float], changed: Mapping[int, int]) -> AxisRecord:
        """The record with measurements added to the slices of which this run is the newest fill."""
        measured = {}
        for index, value in disagreement.items():
            record = self.at(index)
            if record.fills and record.fills[0].run == run:
                value = round(value, DECIMALS)
                fill = replace(record.fills[0], disagreement=value, changed=changed.get(index, 0))
                measured[index] = replace(record, fills=(fill, *record.fills[1:]))
        return self.with_slices(measured)

    def after_run(self, run: RunRecord) -> AxisRecord:
        """The record after a run along this axis."""
        same = run.segment_ids == self.segment_ids
        labelled = {*run.labelled, *self.labelled}
        changed = {}
        for index in {*self.slices, *labelled, *run.states, *run.kept}:
            # Checksums of other segments would make every slice look corrected.
            record = self.at(index) if same else replace(self.at(index), states=())
            if index in run.confidence:
                fill = Fill(self.runs + 1, run.states[index][0], round(run.confidence[index], DECIMALS))
                record = (record if same else replace(record, fills=())).with_fill(fill)
            elif index in run.kept and not same:
                record = record.with_checksum(run.kept[index])
            if index in labelled:
                record = replace(record, labelled=True, states=())
            elif index in run.states:
                record = record.with_states(*run.states[index])
            elif index in run.kept:
                record = record.with_states(run.kept[index])
            changed[index] = record
        last = replace(self, segment_ids=run.segment_ids, engine=run.engine, expected=run.expected, remaining=None)
        return replace(last, runs=self.runs + 1).with_slices(changed)

    def after_another_run(self) -> AxisRecord:
        """The record after a run along another axis, which may have changed every slice of this one."""
        return self.with_slices(
            {index: replace(record, labelled=None, states=()) for index, record in self.slices.items()}
        )


@dataclass(frozen=True)
class AnnotationRecord:
    """The record of one segmentation.

    Attributes
    ----------
    axis : int or None
        Array axis chosen by the user or used by the last run; None: found from the voxels.
    chosen : mapping of str to bool
        Segment id -> whether to fill it, where the user or an earlier run decided.
    axes : mapping of (int or None) to AxisRecord
        Array axis -> its slices; None: those that the user marked while the axis was found from the voxels.
    """

    axis: int | None = None
    chosen: Mapping[str, bool] = field(default_factory=dict)
    axes: Mapping[int | None, AxisRecord] = field(default_factory=dict)

    @property
    def present(self) -> AxisRecord:
        """The slices along the present axis."""
        return self.along(self.axis)

    def along(self, axis: int | None) -> AxisRecord:
        """The slices along an axis."""
        return self.axes.get(axis, AxisRecord())

    def with_axis(self, axis: int | None) -> AnnotationRecord:
        """The record for another axis; the slices along the old one are kept for when it is chosen again."""
        return self if axis == self.axis else replace(self, axis=axis)

    def with_along(self, axis: int | None, slices: AxisRecord) -> AnnotationRecord:
        """The record with the slices along an axis replaced."""
        axes = {**self.axes, axis: slices}
        return replace(
            self, axes={number: axis_record for number, axis_record in axes.items() if axis_record != AxisRecord()}
        )

    def with_slice(self, index: int, labelled: bool) -> AnnotationRecord:
        """The record with a slice along the present axis that counts as labelled or not."""
        return self.with_along(self.axis, self.present.with_labelled(index, labelled))

    def with_segment(self, segment_id: str, fill: bool) -> AnnotationRecord:
        """The record with a segment chosen or not."""
        return replace(self, chosen={**self.chosen, segment_id: fill})

    def after_run(self, run: RunRecord) -> AnnotationRecord:
        """The record once a run has filled slices."""
        axes: dict[int | None, AxisRecord] = {
            axis: axis_record.after_another_run()
            for axis, axis_record in self.axes.items()
            if axis not in (None, run.axis)
        }
        axes[run.axis] = self.along(run.axis).after_run(run)
        return AnnotationRecord(run.axis, {**self.chosen, **dict.fromkeys(run.segment_ids, True)}, axes)
