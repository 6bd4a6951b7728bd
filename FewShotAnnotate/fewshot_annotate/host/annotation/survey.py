"""Survey: which slices are painted, computed in a background thread once painting has paused."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from ...core.errors import InputError
from ...core.slice_axis import SliceAxis
from ..diagnostics.unexpected_errors import as_input_error
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import SegmentationGrid
from ..mrml.grid_reader import GridReader, grid_version
from ..tasks import BackgroundTasks
from .painted_slices import RemainingLabels, SegmentExtent, segment_extents, slice_digests
from .record import AnnotationRecord
from .record_store import read_record

# Painting changes the segmentation many times a second; it is read after a pause of this length.
PAUSE_SECONDS = 0.4


@dataclass(frozen=True, kw_only=True)
class SurveyResult:
    """What was found in the voxels.

    Attributes
    ----------
    grid : SegmentationGrid or None
    extents : mapping of str to SegmentExtent
        By segment id.
    axis : int or None
        Axis of the slices with checksums.
    segment_ids : tuple of str
        Segments of the checksums.
    checksums : mapping of int to int
        Slice that an earlier run filled -> checksum of its present voxels. Once a segment of the run was removed,
        only slices changed by hand since then, see `RemainingLabels`.
    remaining : RemainingLabels or None
        To be stored in the record.
    error : InputError or None
        Why the segmentation cannot be read.
    """

    grid: SegmentationGrid | None = None
    extents: Mapping[str, SegmentExtent] = field(default_factory=dict)
    axis: int | None = None
    segment_ids: tuple[str, ...] = ()
    checksums: Mapping[int, int] = field(default_factory=dict)
    remaining: RemainingLabels | None = None
    error: InputError | None = None

    def checksums_for(self, record: AnnotationRecord) -> Mapping[int, int]:
        """The checksums, if they are of the axis and the segments of the record; none otherwise."""
        same = (self.axis, self.segment_ids) == (record.axis, record.present.segment_ids)
        return self.checksums if same else {}

    def with_checksums(self, axis: int, segment_ids: tuple[str, ...], checksums: Mapping[int, int]) -> SurveyResult:
        """The result with the checksums of slices that a run has written since."""
        same = (self.axis, self.segment_ids) == (axis, segment_ids)
        merged = {**self.checksums, **checksums} if same else dict(checksums)
        return replace(self, axis=axis, segment_ids=segment_ids, checksums=merged, remaining=None)


class Survey:
    """Extents of a segmentation's segments, updated in the background.

    Parameters
    ----------
    grids : GridReader

    Attributes
    ----------
    result : SurveyResult
        Of the last finished survey.
    """

    def __init__(self, grids: GridReader | None = None) -> None:
        self.result = SurveyResult()
        self._grids = grids or GridReader()
        self._tasks = BackgroundTasks("Survey")
        self._due_at: float | None = None
        self._version: tuple[object, ...] | None = None  # of the node when the last survey began

    @property
    def grid(self) -> SegmentationGrid | None:
        """Voxels that the last finished survey read."""
        return self.result.grid

    @property
    def extents(self) -> Mapping[str, SegmentExtent]:
        """Segment id -> SegmentExtent, from the last finished survey."""
        return self.result.extents

    @property
    def error(self) -> InputError | None:
        """Why the segmentation cannot be read."""
        return self.result.error

    @property
    def busy(self) -> bool:
        """Whether a survey is due or pending."""
        return self._tasks.has_pending_results or self._due_at is not None

    def request(self, pause: float = PAUSE_SECONDS) -> None:
        """Survey again after `pause` seconds without another request."""
        self._due_at = time.monotonic() + pause

    def reset(self) -> None:
        """Clear all results, for another segmentation."""
        self._tasks.cancel()
        self._grids.clear()
        self.result, self._due_at, self._version = SurveyResult(), None, None

    def poll(self, nodes: ChosenNodes) -> bool:
        """Start or finish a survey; True if there may be something new to show. Takes milliseconds."""
        try:
            return self._step(nodes)
        except Exception as error:
            self.reset()
            self.result = SurveyResult(error=as_input_error(error))
            return True

    def _step(self, nodes: ChosenNodes) -> bool:
        if self._tasks.poll():
            return True
        if self._tasks.has_pending_results or self._due_at is None or time.monotonic() < self._due_at:
            return False
        self._due_at = None
        if not nodes.complete:
            return False
        record = read_record(nodes.segmentation)
        version = (*grid_version(nodes), record.axis, record.present.segment_ids, record.present.filled)
        if version == self._version:  # something else of the node has changed, such as its transform
            return True
        grid = self._grids.read(nodes)
        self._version = version
        names = nodes.segmentation.GetSegmentation().GetSegmentIDs()
        self._tasks.start(partial(survey_segmentation, grid, record, names, self.result), self._finish)
        return False

    def add_checksums(self, axis: int, segment_ids: tuple[str, ...], checksums: Mapping[int, int]) -> None:
        """Add the checksums of slices that a run has just written; they hold until the next survey."""
        self.result = self.result.with_checksums(axis, segment_ids, checksums)

    def close(self) -> None:
        """Release the thread."""
        self.reset()
        self._tasks.close()

    def _finish(self, result: SurveyResult) -> None:
        self.result = result


def survey_segmentation(
    grid: SegmentationGrid, record: AnnotationRecord, segment_ids: Collection[str], before: SurveyResult | None = None
) -> SurveyResult:
    """Extents of all segments, and present checksums of the slices that an earlier run filled; touches no node.

    Parameters
    ----------
    grid : SegmentationGrid
    record : AnnotationRecord
    segment_ids : collection of str
        Segments of the segmentation.
    before : SurveyResult, optional
        The result before this one.
    """
    present, remaining = record.present, None
    checksums: dict[int, int] = {}
    if record.axis is not None:
        axis = SliceAxis(record.axis)
        left = tuple(name for name in present.segment_ids if name in segment_ids)
        filled = [index for index in present.filled if 0 <= index < axis.count(grid.geometry)]
        checksums = slice_digests(grid, left, axis, filled)
        if left != present.segment_ids:  # every slice would look corrected
            remaining = present.remaining
            if remaining is None or remaining.segment_ids != left:
                corrected = present.corrected(before.checksums_for(record) if before is not None else {})
                unchanged = {index: value for index, value in checksums.items() if index not in corrected}
                remaining = RemainingLabels(left, unchanged)
            checksums = remaining.changed(checksums)
    return SurveyResult(
        grid=grid,
        extents=segment_extents(grid),
        axis=record.axis,
        segment_ids=present.segment_ids,
        checksums=checksums,
        remaining=remaining,
    )
