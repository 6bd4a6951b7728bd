"""ActionBar: what is under way and what to do next, always visible at the top of the panel."""

from __future__ import annotations

from typing import Any

from .fill_undo import FillUndo
from .next_button import NextButton


class ActionBar:
    """The button for what comes next, which presses the one of its step, and the undoing of the last fill.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel by name.
    next_button : NextButton
    undo : FillUndo
    """

    def __init__(self, ui: Any, next_button: NextButton, undo: FillUndo) -> None:
        self._ui = ui
        self._next = next_button
        self._undo = undo
        self._shown: tuple[str, str] | None = None
        font = ui.nextButton.font
        font.setBold(True)
        ui.nextButton.font = font
        ui.nextButton.connect("clicked(bool)", self._on_next)
        ui.undoFillButton.connect("clicked(bool)", self._on_undo)

    def show(self, idle: bool) -> None:
        """Show what may be done now.

        Parameters
        ----------
        idle : bool
            Whether no run is under way.
        """
        self._next.show()
        target = self._next.button
        in_bar = target in (self._ui.resumeButton, None)  # that one lies in the bar itself
        shown = None if in_bar else (target.text, target.toolTip)
        if shown != self._shown:
            self._shown = shown
            if shown is not None:
                self._ui.nextButton.text, self._ui.nextButton.toolTip = shown
        self._set_visible(self._ui.nextButton, shown is not None)
        self._set_visible(self._ui.undoFillButton, idle and self._undo.available)

    def _set_visible(self, widget: Any, visible: bool) -> None:
        if widget.isHidden() is visible:
            widget.visible = visible

    def _on_next(self, checked: bool = False) -> None:
        if self._next.button is not None:
            self._next.button.click()

    def _on_undo(self, checked: bool = False) -> None:
        self._undo.undo()
