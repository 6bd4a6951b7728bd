"""Step: what the numbered steps of the panel share: the widgets, the logic, and what is chosen now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..fill_words import is_idle, why_busy
from ..record import PaintRecord, Selection
from .widgets import enable


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
        Shows all steps anew, after something was changed that others show too.
    """

    def __init__(self, ui: Any, logic: Any, parameters: Callable[[], Any], repaint: Callable[[], None]) -> None:
        self.ui = ui
        self.logic = logic
        self.parameters = parameters
        self.repaint = repaint
        self._own_tool_tips: dict[str, str] = {}

    @property
    def volume(self) -> Any:
        """The volume node that is chosen, or None."""
        parameters = self.parameters()
        return parameters.volume if parameters is not None else None

    @property
    def segmentation(self) -> Any:
        """The segmentation node that is chosen, or None."""
        parameters = self.parameters()
        return parameters.segmentation if parameters is not None else None

    @property
    def selection(self) -> Selection:
        """What a fill would use now."""
        chosen: Selection = self.logic.selection(self.segmentation)
        return chosen

    @property
    def record(self) -> PaintRecord:
        """What the user said about the painted slices."""
        node = self.segmentation
        return PaintRecord.of_node(node) if node is not None else PaintRecord()

    def change_record(self, change: Callable[[PaintRecord], PaintRecord]) -> None:
        """Keep what the user says about the painted slices."""
        node = self.segmentation
        if node is not None:
            change(PaintRecord.of_node(node)).keep(node)
            self.repaint()

    def enable(self, name: str, reason: str) -> None:
        """Enable a control, or disable it and let its tool tip say why."""
        widget = getattr(self.ui, name)
        enable(widget, reason, self._own_tool_tips.setdefault(name, widget.toolTip))

    @property
    def idle(self) -> bool:
        """Whether no run is wanted or under way."""
        return is_idle(self.logic)

    def why_busy(self) -> str:
        """Why what a run depends on cannot be changed, or nothing."""
        return why_busy(self.logic)

    def why_no_input(self) -> str:
        """Which node has to be chosen first, or nothing."""
        if self.volume is None:
            return _("Choose a volume first.")
        if self.segmentation is None:
            return _("Choose or create a segmentation first.")
        return ""
