"""Slicer's own status of segments, set to the roll-up of the slices under review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from .review_state import SliceStatus


def set_segment_status(segmentation_node: Any, segment_ids: Sequence[str], status: SliceStatus) -> None:
    """Set the status that Slicer's own segments table shows, of those of the segments that are there."""
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
