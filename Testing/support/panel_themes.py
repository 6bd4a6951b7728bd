"""Light and dark colours for pictures of the panel, and a look for texts that are cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import slicer_standin

slicer_standin.install()

import qt  # noqa: E402

THEMES = ("light", "dark")
# Role -> colours as of Slicer's own styles: light, dark.
_COLOURS = {
    "Window": ("#efefef", "#353535"),
    "WindowText": ("#000000", "#ffffff"),
    "Base": ("#ffffff", "#232323"),
    "AlternateBase": ("#f7f7f7", "#353535"),
    "Text": ("#000000", "#ffffff"),
    "Button": ("#efefef", "#353535"),
    "ButtonText": ("#000000", "#ffffff"),
    "Light": ("#ffffff", "#5a5a5a"),
    "Midlight": ("#dcdcdc", "#484848"),
    "Mid": ("#b8b8b8", "#6a6a6a"),
    "Dark": ("#9f9f9f", "#232323"),
    "Highlight": ("#308cc6", "#2a82da"),
    "HighlightedText": ("#ffffff", "#ffffff"),
    "ToolTipBase": ("#ffffdc", "#353535"),
    "ToolTipText": ("#000000", "#ffffff"),
    "PlaceholderText": ("#808080", "#808080"),
    "Link": ("#0057ae", "#5aa2e8"),
}
_DISABLED = {
    "WindowText": ("#a0a0a0", "#808080"),
    "Text": ("#a0a0a0", "#808080"),
    "ButtonText": ("#a0a0a0", "#808080"),
}


@contextmanager
def used_theme(name: str) -> Iterator[None]:
    """Give the application the colours of a theme for the time of the block."""
    before = qt.QApplication.palette()
    qt.QApplication.setPalette(_palette(name))
    yield
    qt.QApplication.setPalette(before)


def _palette(name: str) -> Any:
    place = THEMES.index(name)
    palette = qt.QPalette()
    for role, colours in _COLOURS.items():
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(colours[place]))
    for role, colours in _DISABLED.items():
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor(colours[place]))
    return palette


def cut_texts(parent: Any, width: int) -> list[str]:
    """Texts of visible labels, buttons and boxes that have less room than they need, and a panel too wide."""
    found = []
    for widget in parent.findChildren(qt.QWidget):
        if not widget.isVisibleTo(parent):
            continue
        if isinstance(widget, (qt.QPushButton, qt.QCheckBox, qt.QRadioButton)):
            short = widget.width < widget.sizeHint().width()
        elif isinstance(widget, qt.QLabel) and widget.text:
            needed = widget.heightForWidth(widget.width) if widget.wordWrap else widget.sizeHint().height()
            wide = not widget.wordWrap and widget.width < widget.sizeHint().width()
            short = wide or widget.height < needed
        else:
            continue
        if short:
            found.append(f"{widget.objectName or type(widget).__name__}: {widget.text}")
    if parent.width > width:
        widgets = [widget for widget in parent.findChildren(qt.QWidget) if widget.isVisibleTo(parent)]
        wide = sorted(widgets, key=lambda one: -one.minimumSizeHint().width())[:8]
        needs = ", ".join(f"{one.objectName or type(one).__name__} {one.minimumSizeHint().width()}" for one in wide)
        found.append(f"the panel is {parent.width} pixels wide: {needs}")
    return found
