"""Status of segments in Slicer's segments table, set from the review of the slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from .record import SliceStatus


def set_segment_status(segmentation_node: Any, segment_ids: Sequence[str], status: SliceStatus) -> None:
    """Set the status of segments in Slicer's segments table; missing segments are skipped."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    value = {
        SliceStatus.NOT_STARTED: logic.NotStarted,
        SliceStatus.IN_PROGRESS: logic.InProgress,
        SliceStatus.ACCEPTED: logic.Completed,
        SliceStatus.FLAGGED: logic.Flagged,
    }[status]
    for name in segment_ids:
        segment = segmentation_node.GetSegmentation().GetSegment(name)
        if segment is not None and logic.GetSegmentStatus(segment) != value:
            logic.SetSegmentStatus(segment, value)
