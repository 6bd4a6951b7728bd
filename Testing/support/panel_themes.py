"""Light and dark colours for pictures of the panel, and a search for texts that are cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import slicer_standin

slicer_standin.install()

import qt  # noqa: E402

THEMES = ("light", "dark")
# Role -> colours of the two palettes of Slicer's own style: light, dark.
_COLOURS = {
    "Window": ("#ffffff", "#323232"),
    "WindowText": ("#000000", "#ffffff"),
    "Base": ("#ffffff", "#1e1e1e"),
    "AlternateBase": ("#e4e4fe", "#323232"),
    "ToolTipBase": ("#ffffdc", "#ffffff"),
    "ToolTipText": ("#000000", "#323232"),
    "Text": ("#000000", "#ffffff"),
    "Button": ("#fcfcfc", "#323232"),
    "ButtonText": ("#000000", "#ffffff"),
    "Light": ("#c8c8c8", "#828284"),
    "Midlight": ("#e6e6e6", "#5a5a5b"),
    "Dark": ("#aaaaaa", "#232323"),
    "Mid": ("#c8c8c8", "#2b2b2b"),
    "Shadow": ("#5a5a5a", "#141414"),
    "Highlight": ("#308cc6", "#3ca4ff"),
    "HighlightedText": ("#ffffff", "#ffffff"),
    "Link": ("#0000ff", "#3ca4ff"),
}
_DISABLED = {
    "WindowText": ("#bebebe", "#6d6d6d"),
    "Text": ("#bebebe", "#6d6d6d"),
    "ButtonText": ("#bebebe", "#b4b4b4"),
    "Highlight": ("#919191", "#505050"),
    "HighlightedText": ("#ffffff", "#6d6d6d"),
}


@contextmanager
def used_theme(name: str) -> Iterator[None]:
    """Give the application the colours of a theme for the time of the block."""
    before = qt.QApplication.palette()
    qt.QApplication.setPalette(_palette(name))
    yield
    qt.QApplication.setPalette(before)


def _palette(name: str) -> Any:
    column = THEMES.index(name)
    palette = qt.QPalette()
    for role, colours in _COLOURS.items():
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(colours[column]))
    for role, colours in _DISABLED.items():
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor(colours[column]))
    return palette


def _hint(hint: Any) -> Any:
    """A size hint, which is a property of the stand-in's widgets and a method of those that Qt makes itself."""
    return hint() if callable(hint) else hint


def cut_texts(parent: Any, width: int) -> list[str]:
    """Texts of visible labels, buttons and boxes that have less room than they need, and a panel too wide."""
    found = []
    for widget in parent.findChildren(qt.QWidget):
        if not widget.isVisibleTo(parent):
            continue
        if isinstance(widget, (qt.QPushButton, qt.QCheckBox, qt.QRadioButton)):
            short = widget.width < _hint(widget.sizeHint).width()
        elif isinstance(widget, qt.QLabel) and widget.text:
            needed = widget.heightForWidth(widget.width) if widget.wordWrap else _hint(widget.sizeHint).height()
            wide = not widget.wordWrap and widget.width < _hint(widget.sizeHint).width()
            short = wide or widget.height < needed
        else:
            continue
        if short:
            found.append(f"{widget.objectName or type(widget).__name__}: {widget.text}")
    if parent.width > width:
        widgets = [widget for widget in parent.findChildren(qt.QWidget) if widget.isVisibleTo(parent)]
        wide = sorted(widgets, key=lambda one: -_hint(one.minimumSizeHint).width())[:8]
        needs = ", ".join(
            f"{one.objectName or type(one).__name__} {_hint(one.minimumSizeHint).width()}" for one in wide
        )
        found.append(f"the panel is {parent.width} pixels wide: {needs}")
    return found


def contrast(one: Any, other: Any) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it, 1 to 21."""
    dark, light = sorted(_luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Any) -> float:
    parts = (colour.redF(), colour.greenF(), colour.blueF())
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
