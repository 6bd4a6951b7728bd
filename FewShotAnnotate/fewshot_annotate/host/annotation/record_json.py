"""JSON data of an AnnotationRecord, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.expected_dice import ExpectedDice
from .painted_slices import RemainingLabels
from .record import AnnotationRecord, AxisRecord, Fill, SliceRecord, SliceStatus

_VERSION = 2


def record_to_json(record: AnnotationRecord) -> dict[str, Any]:
    """JSON data of a record; short, because it is written at every change of a status."""
    return {
        "version": _VERSION,
        "axis": record.axis,
        "chosen": dict(record.chosen),
        "axes": [{"axis": axis, **_axis_to_json(axis_record)} for axis, axis_record in record.axes.items()],
    }


def record_from_json(data: Mapping[str, Any]) -> AnnotationRecord:
    """The inverse of `record_to_json`.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError, OverflowError
        Something else.
    """
    axes = {_axis_number(entry["axis"]): axis_from_json(entry) for entry in data["axes"]}
    chosen = {str(name): bool(fill) for name, fill in data["chosen"].items()}
    return AnnotationRecord(_axis_number(data["axis"]), chosen, axes)


def axis_from_json(
    data: Mapping[str, Any], slice_from_json: Callable[[Any], SliceRecord] | None = None
) -> AxisRecord:
    """The record of one axis from its JSON data, whose slices are in the form of this version or of an earlier one.

    Raises as `record_from_json`.
    """
    read_slice = slice_from_json or _slice_from_json
    slices = {int(index): read_slice(entry) for index, entry in data["slices"].items()}
    expected = {str(name): ExpectedDice.from_json(entry) for name, entry in data["expected"].items()}
    segment_ids = tuple(str(name) for name in data["segment_ids"])
    return AxisRecord(
        segment_ids=segment_ids,
        engine=str(data["engine"]),
        runs=int(data["runs"]),
        slices=dict(sorted(slices.items())),
        expected=expected,
        remaining=_remaining_from_json(data.get("remaining")),
    )


def fill_from_json(data: Sequence[Any]) -> Fill:
    """A fill from its JSON data; raises as `record_from_json`."""
    run, checksum, confidence, disagreement, changed = data
    measured = None if disagreement is None else float(disagreement)
    return Fill(int(run), int(checksum), float(confidence), measured, None if changed is None else int(changed))


def _axis_number(value: Any) -> int | None:
    if value not in (None, 0, 1, 2):
        raise ValueError(f"axis {value!r}")
    return value if value is None else int(value)


def _axis_to_json(record: AxisRecord) -> dict[str, Any]:
    remaining = record.remaining
    return {
        **({} if remaining is None else {"remaining": [remaining.segment_ids, dict(remaining.checksums)]}),
        "segment_ids": record.segment_ids,
        "engine": record.engine,
        "runs": record.runs,
        "slices": {index: _slice_to_json(slice_record) for index, slice_record in record.slices.items()},
        "expected": {name: dice.to_json() for name, dice in record.expected.items()},
    }


def _remaining_from_json(data: Any) -> RemainingLabels | None:
    if data is None:
        return None
    segment_ids, checksums = data
    return RemainingLabels(
        tuple(str(name) for name in segment_ids),
        {int(index): int(checksum) for index, checksum in checksums.items()},
    )


def _slice_to_json(record: SliceRecord) -> dict[str, Any]:
    """Only what differs from an empty record."""
    fills = [[fill.run, fill.checksum, fill.confidence, fill.disagreement, fill.changed] for fill in record.fills]
    content: dict[str, Any] = {
        "accepted": record.accepted,
        "labelled": record.labelled,
        "states": record.states,
        "fills": fills,
    }
    if record.status is not SliceStatus.IN_PROGRESS:
        content["status"] = record.status
    return {name: value for name, value in content.items() if value not in (None, (), [])}


def _slice_from_json(data: Mapping[str, Any]) -> SliceRecord:
    labelled, accepted = data.get("labelled"), data.get("accepted")
    return SliceRecord(
        None if labelled is None else bool(labelled),
        SliceStatus(data.get("status", SliceStatus.IN_PROGRESS)),
        None if accepted is None else int(accepted),
        tuple(int(checksum) for checksum in data.get("states", ())),
        tuple(fill_from_json(entry) for entry in data.get("fills", ())),
    )
