"""SegmentationEvents: reports when the chosen segmentation is edited, and when segments of it are hidden or shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.util import VTKObservationMixin

from ..mrml.reading import hidden_segments


class SegmentationEvents:
    """Follows one segmentation at a time.

    Parameters
    ----------
    edited : function
        Called when segments or anything else of the node change.
    visibility_changed : function
        Called when other segments than before are hidden in the views.
    """

    def __init__(self, edited: Callable[[], object], visibility_changed: Callable[[], object]) -> None:
        self._observations: Any = VTKObservationMixin()
        self.node: Any = None
        self._edited = edited
        self._visibility_changed = visibility_changed
        self._hidden: tuple[str, ...] = ()

    def follow(self, node: Any) -> None:
        """Follow a segmentation node from now on; None to follow none."""
        self._observations.removeObservers()
        self.node = node
        if node is None:
            return
        self._hidden = hidden_segments(node)
        self._observations.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._on_edited)
        self._observations.addObserver(node, node.DisplayModifiedEvent, self._on_display_changed)
        for event in (
            slicer.vtkSegmentation.SourceRepresentationModified,
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.SegmentModified,
        ):
            self._observations.addObserver(node.GetSegmentation(), event, self._on_edited)

    def _on_edited(self, caller: Any, event: Any) -> None:
        self._edited()

    def _on_display_changed(self, caller: Any, event: Any) -> None:
        hidden = hidden_segments(self.node)
        if hidden != self._hidden:
            self._hidden = hidden
            self._visibility_changed()
