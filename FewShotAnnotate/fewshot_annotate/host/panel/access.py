"""Accessibility of the whole panel: tab order, and readable colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import qt

# Sections in their order in the panel.
SECTIONS = (
    "inputsSection",
    "paintSection",
    "fillSection",
    "reviewSection",
    "exportSection",
    "toolsSection",
    "datasetSection",
    "compareSection",
    "settingsSection",
)
# Of 255: paler than typed text, with a contrast above 4.5 in both palettes.
_HINT_ALPHA = 170
_TABBED = (qt.Qt.TabFocus, qt.Qt.StrongFocus, qt.Qt.WheelFocus)


def order_tabs(root: Any, sections: Sequence[Any]) -> None:
    """Set the tab order of the widgets to the order of the sections in the panel.

    Qt's default is the order of creation, and the widgets of some sections are created last.

    Parameters
    ----------
    root : QWidget
    sections : sequence of QWidget
        In their order in the panel, a section before those within it.
    """
    chain, widget = [], root.nextInFocusChain()
    while widget is not None and widget != root:
        if root.isAncestorOf(widget) and widget.focusPolicy in _TABBED and widget.focusProxy() is None:
            chain.append(widget)
        widget = widget.nextInFocusChain()

    def section_of(widget: Any) -> int:
        holders = [n for n, section in enumerate(sections) if section == widget or section.isAncestorOf(widget)]
        return holders[-1] if holders else -1

    for widget, following in pairwise(sorted(chain, key=section_of)):
        qt.QWidget.setTabOrder(widget, following)


def make_texts_readable(root: Any, foreign: Any) -> None:
    """Let selected rows of tables and lists, and hints in empty line edits, be read in both of Slicer's palettes.

    Slicer's style has white text on a light blue for selected rows, and in its dark palette dark hints on dark.

    Parameters
    ----------
    root : QWidget
    foreign : QWidget
        Widget whose tables are not changed.
    """
    for kind in (qt.QTableWidget, qt.QListWidget):
        for view in root.findChildren(kind):
            if not foreign.isAncestorOf(view):
                view.setPalette(_readable(view.palette))
    for edit in root.findChildren(qt.QLineEdit):
        if edit.placeholderText and not foreign.isAncestorOf(edit):
            edit.setPalette(_with_readable_hint(edit.palette))


def _with_readable_hint(palette: Any) -> Any:
    changed = qt.QPalette(palette)
    for group in (qt.QPalette.Active, qt.QPalette.Inactive):
        hint = qt.QColor(palette.color(group, qt.QPalette.Text))
        hint.setAlpha(_HINT_ALPHA)
        changed.setColor(group, qt.QPalette.PlaceholderText, hint)
    return changed


def _readable(palette: Any) -> Any:
    changed = qt.QPalette(palette)
    for group in (qt.QPalette.Active, qt.QPalette.Inactive):
        ground = palette.color(group, qt.QPalette.Highlight)
        # Black and white stand out equally from a ground of this luminance (WCAG 2).
        text = "#000000" if _luminance(ground) > 0.179 else "#ffffff"
        changed.setColor(group, qt.QPalette.HighlightedText, qt.QColor(text))
    return changed


def _luminance(colour: Any) -> float:
    """Relative luminance of a colour as WCAG 2 defines it, 0 to 1."""
    values = (colour.redF(), colour.greenF(), colour.blueF())
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)
