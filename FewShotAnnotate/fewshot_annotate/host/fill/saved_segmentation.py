"""Segmentations as they were before a commit, to be restored if it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer

from ..annotation.record_store import RECORD_ATTRIBUTE
from ..mrml.node_types import SegmentationNode, VtkSegmentation
from ..mrml.reading import BINARY_LABELMAP, CLOSED_SURFACE


class SavedSegmentation(ABC):
    """A segmentation node's segments and record as they are now."""

    def __init__(self, node: SegmentationNode) -> None:
        self._node = node
        self._record = node.GetAttribute(RECORD_ATTRIBUTE)

    def restore(self) -> None:
        """Restore the segments and the record."""
        modifying = self._node.StartModify()
        try:
            self._restore_segments(self._node.GetSegmentation())
            if self._record is None:
                self._node.RemoveAttribute(RECORD_ATTRIBUTE)
            else:
                self._node.SetAttribute(RECORD_ATTRIBUTE, self._record)
        finally:
            self._node.EndModify(modifying)

    @abstractmethod
    def _restore_segments(self, segmentation: VtkSegmentation) -> None: ...


class CopiedSegmentation(SavedSegmentation):
    """All voxels and surfaces are copied: before a change that writes into them, as Slicer's editor logic does."""

    def __init__(self, node: SegmentationNode) -> None:
        super().__init__(node)
        self._surface = node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        self._history = slicer.vtkSegmentationHistory()
        self._history.SetSegmentation(node.GetSegmentation())
        self._history.SaveState()

    def _restore_segments(self, segmentation: VtkSegmentation) -> None:
        self._history.RestorePreviousState()
        if self._surface and not segmentation.ContainsRepresentation(CLOSED_SURFACE):
            segmentation.CreateRepresentation(CLOSED_SURFACE)


class ReferencedSegmentation(SavedSegmentation):
    """No voxel is copied: before a change that gives segments other labelmaps and surfaces, and alters none."""

    def __init__(self, node: SegmentationNode) -> None:
        super().__init__(node)
        self._segments: dict[str, tuple[Any, dict[str, Any]]] = {}
        segmentation = node.GetSegmentation()
        for segment_id in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segment_id)
            metadata = slicer.vtkSegment()
            metadata.DeepCopyMetadata(segment)
            representations = {name: segment.GetRepresentation(name) for name in (BINARY_LABELMAP, CLOSED_SURFACE)}
            self._segments[segment_id] = (metadata, representations)

    def _restore_segments(self, segmentation: VtkSegmentation) -> None:
        for segment_id, (metadata, representations) in self._segments.items():
            segment = segmentation.GetSegment(segment_id)
            segment.DeepCopyMetadata(metadata)
            for name, representation in representations.items():
                if representation is None:
                    segment.RemoveRepresentation(name)
                else:
                    segment.AddRepresentation(name, representation)
            announce_voxels(segmentation, segment_id)
        segmentation.InvokeEvent(segmentation.ContainedRepresentationNamesModified)


@contextmanager
def all_or_nothing(saved: SavedSegmentation) -> Iterator[None]:
    """Restore a segmentation if the block raises."""
    try:
        yield
    except BaseException:
        saved.restore()
        raise


def announce_voxels(segmentation: VtkSegmentation, segment_id: str) -> None:
    """Send the events of Slicer's editor logic after it has written voxels of a segment."""
    for event in (segmentation.SourceRepresentationModified, segmentation.RepresentationModified):
        segmentation.InvokeEvent(event, segment_id)
