"""Widgets: what the parts of the panel do with Qt's widgets in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...core.errors import MESSAGES, InputError


def sentence(error: InputError) -> str:
    """What went wrong, in the user's language."""
    return _(MESSAGES[error.code]).format(**error.data)


def tell(error: InputError) -> None:
    """Show what went wrong in a dialog."""
    slicer.util.errorDisplay(sentence(error))


def enable(widget: Any, reason: str, tool_tip: str) -> None:
    """Enable a control, or disable it and let its tool tip say why."""
    widget.enabled = not reason
    widget.toolTip = reason or tool_tip


def set_header(table: Any, titles: Sequence[str], wide: int) -> None:
    """Give a table columns, one of which takes the room that is left."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    table.verticalHeader().hide()
    table.horizontalHeader().setSectionResizeMode(wide, qt.QHeaderView.Stretch)


def set_text_item(table: Any, row: int, column: int, text: str) -> None:
    """Show a text that cannot be edited. Items stay: one may be being clicked."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(text)
