"""AnnotationSnapshot: what is known of each slice now, from the stored record and the voxels as they were read last.

Here alone the checksums of the voxels are compared with those of the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .painted_slices import SegmentExtent, painted_axis, painted_slices
from .record import AnnotationRecord
from .review_rows import ReviewView, review_rows


@dataclass(frozen=True)
class Selection:
    """Segments and slices that the next run would use.

    Attributes
    ----------
    axis : int or None
        None: nothing is painted slice by slice yet.
    segment_ids : tuple of str
        Segments to fill.
    slices : dict
        Slice -> segments painted there, ascending; the slices left out are among them.
    labelled : tuple of int
        The labelled slices.
    """

    axis: int | None = None
    segment_ids: tuple[str, ...] = ()
    slices: Mapping[int, Sequence[str]] = field(default_factory=dict)
    labelled: tuple[int, ...] = ()


@dataclass(frozen=True)
class AnnotationSnapshot:
    """What is known of the slices of a segmentation.

    Attributes
    ----------
    record : AnnotationRecord
    selection : Selection
        What a fill would use.
    review : ReviewView
        The slices under review along the record's axis.
    """

    record: AnnotationRecord = field(default_factory=AnnotationRecord)
    selection: Selection = field(default_factory=Selection)
    review: ReviewView = field(default_factory=ReviewView)


def select(
    extents: Mapping[str, SegmentExtent],
    record: AnnotationRecord,
    shape: Sequence[int],
    left_out: Sequence[str] = (),
    checksums: Mapping[int, int] | None = None,
) -> Selection:
    """Combine the painted slices found from the voxels with the record, which has precedence.

    Parameters
    ----------
    extents : mapping of str to SegmentExtent
        By segment id.
    record : AnnotationRecord
    shape : (int, int, int)
        Size of the grid (k, j, i); a record may name slices that a grid of another size had.
    left_out : sequence of str
        Ids of locked and hidden segments, which are not filled.
    checksums : mapping of int to int, optional
        Slice that an earlier run filled -> checksum of its present voxels.
    """
    free = {name: extent for name, extent in extents.items() if name not in left_out}
    axis = record.axis if record.axis is not None else painted_axis(free)
    if axis is None:
        return Selection()
    present = record.present
    sparse = [name for name, extent in free.items() if extent.painted_axis == axis]
    segment_ids = tuple(name for name in free if record.chosen.get(name, name in sparse))
    # A complete segment has voxels on all of its slices, so it does not show which were painted.
    painted = painted_slices(free, [name for name in segment_ids if name in sparse], axis)
    on_all = painted_slices(free, segment_ids, axis)
    # After a run that was stopped early, segments still look painted slice by slice; what it filled is not painted.
    filled, of_run = set(present.filled), set(present.segment_ids)
    by_hand = {index for index, names in painted.items() if index not in filled or not of_run.issuperset(names)}
    named = {*by_hand, *present.labelled, *present.left_out, *present.corrected(checksums or {})}
    numbers = sorted(index for index in named if 0 <= index < shape[axis])
    slices = {index: on_all.get(index, []) for index in numbers}
    labelled = tuple(index for index in numbers if present.at(index).labelled is not False)
    return Selection(axis, segment_ids, slices, labelled)


def review_view(record: AnnotationRecord, checksums: Mapping[int, int], names: Mapping[str, str]) -> ReviewView:
    """What is shown of a review.

    Parameters
    ----------
    record : AnnotationRecord
    checksums : mapping of int to int
        Slice -> checksum of its present voxels, where known.
    names : mapping of str to str
        Segment id -> name, of the segments that exist.
    """
    present = record.present if record.axis is not None else AnnotationRecord().present
    view = ReviewView(record.axis, present.engine, review_rows(present, checksums))
    if not view.has_filled:
        return view
    expected = tuple((name, present.expected[key]) for key, name in names.items() if key in present.expected)
    return replace(view, expected=expected)
