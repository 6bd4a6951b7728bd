"""Step: what the numbered steps of the panel share: the widgets, the logic, and what is chosen now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..annotation.record import AnnotationRecord
from ..annotation.snapshot import Selection
from ..fill.messages import is_idle, why_busy
from ..messages import Refusal
from ..mrml.chosen_nodes import ChosenNodes
from .widgets import Controls


class Step:
    """Base of the numbered steps.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel by name.
    logic : FewShotAnnotateLogic
    parameters : function
        Returns the wrapped parameter node, None while there is no scene.
    repaint : function
        Shows all steps again, after a change that other steps show too.
    """

    def __init__(self, ui: Any, logic: Any, parameters: Callable[[], Any], repaint: Callable[[], None]) -> None:
        self.ui = ui
        self.logic = logic
        self.parameters = parameters
        self.repaint = repaint
        self._own_tool_tips: dict[str, str] = {}
        self._controls = Controls()

    @property
    def nodes(self) -> ChosenNodes:
        """The nodes that are chosen."""
        chosen: ChosenNodes = self.logic.chosenNodes()
        return chosen

    @property
    def volume(self) -> Any:
        """The volume node that is chosen, or None."""
        return self.nodes.volume

    @property
    def segmentation(self) -> Any:
        """The segmentation node that is chosen, or None."""
        return self.nodes.segmentation

    @property
    def selection(self) -> Selection:
        """What a fill would use now."""
        chosen: Selection = self.logic.annotations.snapshot(self.segmentation).selection
        return chosen

    @property
    def record(self) -> AnnotationRecord:
        """What is stored of the slices."""
        record: AnnotationRecord = self.logic.annotations.snapshot(self.segmentation).record
        return record

    def change_record(self, change: Callable[[AnnotationRecord], AnnotationRecord]) -> None:
        """Store what the user states about the slices."""
        node = self.segmentation
        if node is not None:
            self.logic.annotations.change(node, change)
            self.repaint()

    def enable(self, name: str, refusal: Refusal) -> None:
        """Enable a control, or disable it and let its tool tip say why."""
        widget = getattr(self.ui, name)
        self._controls.enable(widget, refusal, self._own_tool_tips.setdefault(name, widget.toolTip))

    @property
    def idle(self) -> bool:
        """Whether no run is under way and none is waiting to begin."""
        return is_idle(self.logic)

    def why_busy(self) -> Refusal:
        """Why what a run depends on cannot be changed."""
        return why_busy(self.logic)
