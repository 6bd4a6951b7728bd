"""Widgets: what the parts of the panel do with Qt's widgets in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def select_rows(table: Any, mode: Any) -> None:
    """Let whole rows of a table be selected."""
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(mode)


def fit_height(table: Any, most: int) -> None:
    """Give a table the height of its rows, of at most so many of them."""
    rows = max(1, min(most, table.rowCount))
    row = table.verticalHeader().defaultSectionSize  # the header takes as much
    table.setFixedHeight((rows + 1) * row + 2 * table.frameWidth)


def set_text_item(table: Any, row: int, column: int, text: str) -> None:
    """Show a text that cannot be edited. Items stay: one may be being clicked."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(text)


def set_check_item(table: Any, row: int, column: int, text: str, checked: bool, data: Any, reason: str = "") -> None:
    """Show a check box with a text; with a reason it cannot be changed. Items stay: one may be being clicked."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(reason or text)
    item.setData(qt.Qt.UserRole, data)
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    enabled = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable
    item.setFlags(qt.Qt.ItemIsSelectable if reason else enabled)


def choose(combo_box: Any, data: Any) -> None:
    """Show the row with some data, without telling those who listen for the user's choice."""
    row = combo_box.findData(data)
    if row >= 0 and row != combo_box.currentIndex:
        combo_box.blockSignals(True)
        combo_box.setCurrentIndex(row)
        combo_box.blockSignals(False)


def emphasise(button: Any, wanted: bool) -> None:
    """Make a button the one that catches the eye, or an ordinary one."""
    if button.default != wanted:
        font = button.font
        font.setBold(wanted)
        button.font = font
        button.default = wanted


def attempt(step: Callable[[], Any]) -> Any:
    """Take a step that may refuse its input; say why and give true if it does."""
    try:
        return step()
    except InputError as error:
        tell(error)
        return True


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=max(1, round(seconds)))
    minutes = seconds / 60
    return (
        _("{minutes} min").format(minutes=round(minutes))
        if minutes < 90
        else _("{hours:.1f} h").format(hours=minutes / 60)
    )


def combo(titles: Mapping[Any, str], tool_tip: str) -> Any:
    """A combo box for one of some values; it may be narrower than its longest title."""
    box = qt.QComboBox()
    box.toolTip = tool_tip
    box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
    box.minimumContentsLength = 12
    for value, title in titles.items():
        box.addItem(title, str(value))
    return box


def note(text: str = "") -> Any:
    """A label for sentences; a long word or path does not widen the panel."""
    label = qt.QLabel(text)
    label.wordWrap = True
    label.setMinimumWidth(1)
    return label


def body_layout(parent: Any, kind: Any) -> Any:
    """Layout of a kind for the widgets of a part of the panel, which take all of its room."""
    body = qt.QWidget(parent)
    parent.layout().addWidget(body)
    layout = kind(body)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def line(*widgets: Any) -> Any:
    """Layout of widgets side by side."""
    layout = qt.QHBoxLayout()
    for widget in widgets:
        layout.addWidget(widget)
    return layout
