"""HelpButtons: a question mark in the header of each section, which opens its page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt

from ..i18n import tr as _

DOCUMENTATION = "https://github.com/FewShotAnnotate/SlicerFewShotAnnotate/blob/main/Resources/Documentation"
# Section -> page, and the heading on it.
PAGES = {
    "inputsSection": "panel.md#1-volume-and-segmentation",
    "paintSection": "panel.md#2-label-a-few-slices",
    "fillSection": "panel.md#3-fill",
    "reviewSection": "panel.md#4-review",
    "exportSection": "panel.md#5-export",
    "datasetSection": "panel.md#data-set",
    "compareSection": "panel.md#compare-engines",
    "settingsSection": "panel.md#settings",
}
_BUTTON_PIXELS = 18
_MARGIN_PIXELS = 6


class HelpButtons:
    """Question marks drawn over the headers of sections, so that they need no space of their own.

    Parameters
    ----------
    sections : mapping of str to ctkCollapsibleButton
        By name; those of `PAGES`.
    """

    def __init__(self, sections: Mapping[str, Any]) -> None:
        self._sections = dict(sections)
        self.buttons = {name: _button(section, PAGES[name]) for name, section in sections.items()}
        self._widths: dict[str, int] = {}

    def move(self) -> None:
        """Move each question mark to the right end of its header, if that moved; called by the panel's timer."""
        for name, section in self._sections.items():
            width = section.width
            if self._widths.get(name) != width:
                self._widths[name] = width
                self.buttons[name].move(width - _BUTTON_PIXELS - _MARGIN_PIXELS, 1)


def open_page(address: str) -> None:
    """Show a page in the web browser."""
    qt.QDesktopServices.openUrl(qt.QUrl(address))


def _button(section: Any, page: str) -> Any:
    button = qt.QToolButton(section)
    button.text = "?"
    button.autoRaise = True
    button.setFixedSize(_BUTTON_PIXELS, _BUTTON_PIXELS)
    button.focusPolicy = qt.Qt.StrongFocus
    button.toolTip = _("Open the documentation of this section in the web browser.")
    button.accessibleName = _("Help on {section}").format(section=section.text)
    button.connect("clicked(bool)", lambda checked=False: open_page(f"{DOCUMENTATION}/{page}"))
    qt.QWidget.setTabOrder(section, button)
    return button
