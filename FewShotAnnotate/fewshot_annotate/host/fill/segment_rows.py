"""SegmentRow: state of each segment before a fill, and the sentence on those that the fill would leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..i18n import tr as _
from ..mrml.node_types import SegmentationNode
from ..mrml.reading import hidden_segments, is_locked

if TYPE_CHECKING:
    from ..annotation.snapshot import AnnotationSnapshot
    from ..annotation.survey import Survey

# Segments that are named for one reason; of more, only the first is.
_MAX_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class SegmentRow:
    """One segment.

    Attributes
    ----------
    id, name : str
    filled : bool
        Whether a fill would fill it.
    locked, hidden : bool
        Locked and hidden segments are not filled; a fill never changes a locked one.
    painted : int
        Labelled slices with voxels of it.
    complete : bool
        Whether it has voxels, but was not painted slice by slice.
    dice : float or None
        Expected Dice of the last fill.
    millilitres : float
        Volume.
    """

    id: str
    name: str
    filled: bool
    locked: bool
    hidden: bool
    painted: int
    complete: bool
    dice: float | None
    millilitres: float


def segment_rows(node: SegmentationNode, snapshot: AnnotationSnapshot, survey: Survey) -> list[SegmentRow]:
    """All segments of a segmentation, in its order."""
    if node is None:
        return []
    selection, segmentation, extents = snapshot.selection, node.GetSegmentation(), survey.extents
    axis, labelled, hidden = selection.axis or 0, set(selection.labelled), hidden_segments(node)
    # By segment id, as segments may share a name; of a run that was undone, the review shows nothing.
    dice = snapshot.record.present.expected if snapshot.review.expected else {}
    voxel = survey.grid.geometry.voxel_ml if survey.grid is not None else 0.0
    rows = []
    for name in segmentation.GetSegmentIDs():
        segment, extent = segmentation.GetSegment(name), extents.get(name)
        slices = extent.slices[axis] if extent is not None else ()
        expected = dice.get(name)
        rows.append(
            SegmentRow(
                id=name,
                name=segment.GetName(),
                filled=name in selection.segment_ids,
                locked=is_locked(segment),
                hidden=name in hidden,
                painted=len(labelled.intersection(slices)),
                complete=bool(slices) and extent is not None and extent.painted_axis is None,
                dice=expected.dice if expected is not None else None,
                millilitres=sum(extent.voxels[0]) * voxel if extent is not None else 0.0,
            )
        )
    return rows


def left_out_text(rows: Sequence[SegmentRow]) -> str:
    """Which segments a fill would leave as they are, and why; empty if there are none."""
    names: dict[str, list[str]] = {}
    for row in rows:
        reason = _reason(row)
        if reason:
            names.setdefault(reason, []).append(row.name)
    phrases = [f"{_named(names[reason])} ({reason})" for reason in names]
    return _("Fill leaves out: {segments}.").format(segments=", ".join(phrases)) if phrases else ""


def _reason(row: SegmentRow) -> str:
    if row.locked:
        return _("locked")
    if row.hidden:
        return _("hidden")
    if row.filled:
        return "" if row.painted else _("not on a labelled slice")
    return _("not ticked") if row.painted or row.complete else _("nothing painted")


def _named(names: Sequence[str]) -> str:
    if len(names) <= _MAX_NAMED:
        return ", ".join(names)
    return _("{name} and {count} more").format(name=names[0], count=len(names) - 1)
