"""Keyboard shortcuts of the module; those of the Segment Editor do not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
import slicer

from ..i18n import tr as _

# Name of a button -> keys. Letters and digits of the Segment Editor and the slice views are left alone, and so are
# Slicer's own keys, as Ctrl+Left and Alt+Left for the previous module: of two shortcuts with one key, neither works.
KEYS = {
    "previousSliceButton": "Ctrl+PgUp",
    "nextSliceButton": "Ctrl+PgDown",
    "markSliceButton": "N",
    "suggestButton": "Shift+N",
    "fillButton": "Ctrl+Return",
}


def shortcut_help() -> str:
    """The shortcuts as a paragraph of the module's help."""
    titles = {
        "previousSliceButton": _("previous labelled slice"),
        "nextSliceButton": _("next labelled slice"),
        "markSliceButton": _("nothing here, or count as labelled"),
        "suggestButton": _("suggest next slice"),
        "fillButton": _("fill"),
    }
    listed = ", ".join(f"{KEYS[name]}: {title}" for name, title in titles.items())
    editor = _("The Segment Editor's own keys work too (1 to 9: effects, Esc: no effect, Z: undo, Y: redo).")
    return _("Keyboard shortcuts: {keys}.").format(keys=listed) + " " + editor


class Shortcuts:
    """Shortcuts of the main window that press buttons, while the module is open.

    Parameters
    ----------
    buttons : mapping of str to QAbstractButton
    """

    def __init__(self, buttons: Mapping[str, Any]) -> None:
        self._buttons = buttons
        self._installed: list[Any] = []

    def install(self) -> None:
        """Install them, unless they are."""
        window = slicer.util.mainWindow()
        if self._installed or window is None:
            return
        for name, keys in KEYS.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(keys))
            self._connect(shortcut, self._buttons[name])
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Remove them."""
        for shortcut in self._installed:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._installed = []

    def _connect(self, shortcut: Any, button: Any) -> None:
        def press() -> None:
            button.click()  # does nothing while the button is disabled

        shortcut.connect("activated()", press)
