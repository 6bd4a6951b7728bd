"""FillUndo: undoes the last fill, as long as nothing was painted since."""

from __future__ import annotations

from typing import Any

import slicer

from ..mrml.node_types import SegmentationNode
from ..mrml.reading import labels_version


class FillUndo:
    """Knows whether the last step that the panel's Segment Editor can undo is a fill.

    Parameters
    ----------
    editor : qMRMLSegmentEditorWidget
    """

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self._saved_id = ""
        self._filled: tuple[str, tuple[object, ...]] | None = None

    def state_saved(self, segmentation_node: SegmentationNode) -> None:
        """The editor saved the state of a segmentation, which a run is about to change."""
        self._saved_id, self._filled = segmentation_node.GetID(), None

    def committed(self, *_outcome: object) -> None:
        """The run changed it."""
        node = slicer.mrmlScene.GetNodeByID(self._saved_id) if self._saved_id else None
        self._saved_id = ""
        self._filled = (node.GetID(), labels_version(node)) if node is not None else None

    @property
    def available(self) -> bool:
        """Whether an undo would remove the fill alone."""
        node = self._editor.segmentationNode()
        return node is not None and self._filled is not None and self._filled == (node.GetID(), labels_version(node))

    def undo(self) -> None:
        """Undo the fill."""
        if self.available:
            self._filled = None
            self._editor.undo()
