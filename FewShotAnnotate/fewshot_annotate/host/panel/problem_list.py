"""ProblemList: what a check before an export found, with a button for each remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from ...export.request import Problem, Remedy
from ..i18n import tr as _
from ..messages import error_text
from .widgets import as_tool_tip, text_label


def remedy_titles() -> dict[Remedy, str]:
    """Titles of the buttons; a code is chosen in the Segment Editor and has none."""
    return {
        Remedy.SUGGEST_CODES: _("Use suggested codes"),
        Remedy.DEFAULT_CODE: _("Code as plain tissue"),
        Remedy.GIVE_ENGINE: _("Name the engine..."),
        Remedy.RESAMPLE: _("Resample to the images"),
        Remedy.SLICE_BY_SLICE: _("Match slice by slice"),
        Remedy.LEAVE_OUT_MISSING: _("Leave out missing slices"),
        Remedy.CROP: _("Crop to the images"),
        Remedy.OVERWRITE: _("Overwrite"),
        Remedy.GIVE_REFERENCE: _("Choose DICOM folder..."),
        Remedy.DERIVE_SERIES: _("Derive a series from the volume"),
        Remedy.TYPE_BINARY: _("Use type binary"),
        Remedy.ONE_FILE_PER_SEGMENT: _("One file per segment"),
        Remedy.TO_SEG_NRRD: _("Export as .seg.nrrd"),
    }


class ProblemList:
    """List of problems and notes.

    Parameters
    ----------
    parent : QWidget
    apply : function
        Called with the Remedy whose button is pressed.

    Attributes
    ----------
    widget : QWidget
    buttons : list of QPushButton
        In the order in which they are shown.
    """

    def __init__(self, parent: Any, apply: Callable[[Remedy], None]) -> None:
        self._apply = apply
        self.widget = qt.QWidget(parent)
        self.buttons: list[Any] = []
        self._layout = qt.QVBoxLayout(self.widget)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._rows: list[Any] = []

    def show(self, problems: Sequence[Problem]) -> None:
        """Show these problems instead of those before."""
        for row in self._rows:
            row.hide()
            row.deleteLater()  # one of its buttons may be being clicked
        self._rows, self.buttons = [], []
        titles = remedy_titles()
        for problem in problems:
            row = qt.QWidget(self.widget)
            lines = qt.QVBoxLayout(row)
            lines.setContentsMargins(0, 0, 0, 0)
            text = error_text(problem.error)
            lines.addWidget(text_label(text if problem.blocks else _("Note: {text}").format(text=text)))
            for remedy in (remedy for remedy in problem.remedies if remedy in titles):
                lines.addWidget(self._button(remedy, titles[remedy], text))
            self._layout.addWidget(row)
            self._rows.append(row)

    def _button(self, remedy: Remedy, title: str, tip: str) -> Any:
        def clicked(checked: bool = False) -> None:
            self._apply(remedy)

        button = qt.QPushButton(title)
        button.toolTip = as_tool_tip(tip)
        button.connect("clicked(bool)", clicked)
        self.buttons.append(button)
        return button
