"""RunEditor: the Segment Editor from which a run was started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunEditor:
    """Its undo history takes the run's one undo step, and its masking and overwrite mode count.

    Attributes
    ----------
    save_undo : function
        `save_undo(segmentation_node)` saves its state for undo, as the Segment Editor widget does.
    node : function
        Gives its vtkMRMLSegmentEditorNode.
    """

    save_undo: Callable[[Any], object]
    node: Callable[[], Any]
