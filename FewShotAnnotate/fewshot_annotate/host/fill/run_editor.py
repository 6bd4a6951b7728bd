"""RunEditor: the Segment Editor from which a run was started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunEditor:
    """The editor that saves the single undo step of a run, and whose masking and overwrite mode apply.

    Attributes
    ----------
    save_undo : function
        `save_undo(segmentation_node)` saves the state of the node for undo, as the Segment Editor widget does.
    node : function
        Returns the vtkMRMLSegmentEditorNode.
    """

    save_undo: Callable[[Any], object]
    node: Callable[[], Any]
