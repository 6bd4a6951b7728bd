"""PaintRecord: what the voxels alone do not tell about the painted slices, kept on the segmentation node.

After a fill every slice holds labels, so which of them a person painted has to be remembered; likewise slices marked
as labelled though empty, slices left out, and the segments chosen to be filled. It is saved with the scene.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .painted import SegmentExtent, painted_axis, painted_slices

RECORD_ATTRIBUTE = "FewShotAnnotate.PaintedSlices"
# States of a slice that are known not to be painted by hand; undo and redo go back and forth between them.
_KNOWN_STATES = 6


@dataclass(frozen=True)
class PaintRecord:
    """What the user said, and what earlier runs used.

    Attributes
    ----------
    axis : int or None
        Array axis chosen by the user or used by an earlier run; None: found from the voxels.
    marked : tuple of int
        Slices that count as painted whatever they hold.
    left_out : tuple of int
        Slices that do not count although they hold labels.
    chosen : dict
        Segment id -> whether to fill it, where the user or an earlier run decided.
    filled : dict
        Slice -> checksums of what the filled segments held after and before earlier runs, newest first. Any other
        checksum means that someone corrected the slice since; see `slice_digests`.
    filled_ids : tuple of str
        The segments of these checksums, in their order.
    """

    axis: int | None = None
    marked: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    chosen: Mapping[str, bool] = field(default_factory=dict)
    filled: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    filled_ids: tuple[str, ...] = ()

    @classmethod
    def of_node(cls, node: Any) -> PaintRecord:
        """The record kept on a segmentation node; an empty one if there is none or it cannot be read."""
        try:
            data = json.loads(node.GetAttribute(RECORD_ATTRIBUTE) or "{}")
            axis = data.get("axis")
            return cls(
                int(axis) if axis in (0, 1, 2) else None,
                tuple(sorted({int(index) for index in data.get("marked", ())})),
                tuple(sorted({int(index) for index in data.get("left_out", ())})),
                {str(name): bool(fill) for name, fill in data.get("chosen", {}).items()},
                {int(index): tuple(map(int, known)) for index, known in data.get("filled", {}).items()},
                tuple(str(name) for name in data.get("filled_ids", ())),
            )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()

    def keep(self, node: Any) -> None:
        """Keep the record on a segmentation node."""
        text = json.dumps(asdict(self))
        if node.GetAttribute(RECORD_ATTRIBUTE) != text:
            node.SetAttribute(RECORD_ATTRIBUTE, text)

    def with_axis(self, axis: int | None) -> PaintRecord:
        """The record for another axis; slice numbers of the old one mean nothing there."""
        return self if axis == self.axis else PaintRecord(axis, chosen=self.chosen)

    def with_slice(self, index: int, used: bool) -> PaintRecord:
        """The record with a slice counted as painted or not."""
        marked, left_out = set(self.marked) - {index}, set(self.left_out) - {index}
        (marked if used else left_out).add(index)
        return replace(self, marked=tuple(sorted(marked)), left_out=tuple(sorted(left_out)))

    def with_segment(self, segment_id: str, fill: bool) -> PaintRecord:
        """The record with a segment chosen or not."""
        return replace(self, chosen={**self.chosen, segment_id: fill})

    def after_run(
        self,
        axis: int,
        labelled: Sequence[int],
        segment_ids: Sequence[str],
        filled: Mapping[int, tuple[int, ...]] | None = None,
    ) -> PaintRecord:
        """The record once a run has filled the slices between.

        Parameters
        ----------
        axis, labelled, segment_ids : what the run worked with
        filled : slice -> checksums after and before the run; one alone of a slice that it kept
        """
        same = self.axis == axis
        marked = {*labelled, *(self.marked if same else ())}
        earlier = self.filled if same and self.filled_ids == tuple(segment_ids) else {}
        known = dict(earlier)
        for index, pair in (filled or {}).items():
            known[index] = tuple(dict.fromkeys((*pair, *earlier.get(index, ()))))[:_KNOWN_STATES]
        known = {index: digests for index, digests in known.items() if index not in marked}
        chosen = {**self.chosen, **dict.fromkeys(segment_ids, True)}
        left_out = tuple(index for index in self.left_out if same and index not in labelled)
        return PaintRecord(axis, tuple(sorted(marked)), left_out, chosen, known, tuple(segment_ids))

    def corrected(self, digests: Mapping[int, int]) -> list[int]:
        """Filled slices that someone changed since, from their checksums now."""
        return [index for index, digest in digests.items() if digest not in self.filled.get(index, (digest,))]


@dataclass(frozen=True)
class Selection:
    """What the next run would use.

    Attributes
    ----------
    axis : int or None
        None: nothing is painted slice by slice yet.
    segment_ids : tuple of str
        Segments to fill.
    slices : dict
        Slice -> segments painted there, ascending; the slices left out are among them.
    labelled : tuple of int
        The slices that count.
    """

    axis: int | None = None
    segment_ids: tuple[str, ...] = ()
    slices: Mapping[int, Sequence[str]] = field(default_factory=dict)
    labelled: tuple[int, ...] = ()


def select(
    extents: Mapping[str, SegmentExtent],
    record: PaintRecord,
    shape: Sequence[int],
    locked: Sequence[str] = (),
    digests: Mapping[int, int] | None = None,
) -> Selection:
    """Combine what the voxels show with what the record says. The user's word counts.

    Parameters
    ----------
    extents : segment id -> SegmentExtent
    record : PaintRecord
    shape : size of the grid (k, j, i); a record may name slices that a grid of another size had
    locked : segments never filled
    digests : checksums now of the slices that an earlier run filled
    """
    free = {name: extent for name, extent in extents.items() if name not in locked}
    axis = record.axis if record.axis is not None else painted_axis(free)
    if axis is None:
        return Selection()
    sparse = [name for name, extent in free.items() if extent.painted_axis == axis]
    segment_ids = tuple(name for name in free if record.chosen.get(name, name in sparse))
    # A segment that is complete says nothing about which slices were painted: all of its slices hold voxels.
    found = painted_slices(free, [name for name in segment_ids if name in sparse], axis)
    on_all = painted_slices(free, segment_ids, axis)
    named = {*found, *record.marked, *record.left_out, *record.corrected(digests or {})}
    numbers = sorted(index for index in named if 0 <= index < shape[axis])
    slices = {index: on_all.get(index, []) for index in numbers}
    labelled = tuple(index for index in numbers if index not in record.left_out)
    return Selection(axis, segment_ids, slices, labelled)
