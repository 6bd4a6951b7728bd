"""Functions on Qt widgets that several parts of the panel share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer

from ...core.errors import InputError
from ..messages import Refusal, error_text, refusal_text


def show_error(error: InputError) -> None:
    """Show an error in a dialog."""
    slicer.util.errorDisplay(error_text(error), textFormat=qt.Qt.PlainText)


def as_tool_tip(text: str) -> str:
    """A plain text as a tool tip, in which Qt takes names such as `<b>liver</b>` for formatting."""
    lines = escape(text).replace("\n", "<br>")
    return f"<span>{lines}</span>" if "<" in text or "&" in text else text


_ROW_MARGIN_PIXELS = 8


class Controls:
    """Controls of a part of the panel, each enabled or disabled for a reason that its tool tip gives.

    A widget is touched only if something of it changes: ticks of the panel's timer come many times a second.
    """

    def __init__(self) -> None:
        self._shown: dict[int, tuple[Any, Refusal, str]] = {}

    def enable(self, widget: Any, refusal: Refusal, tool_tip: str) -> None:
        """Enable a control if there is no refusal; else disable it and say why in its tool tip."""
        shown = (widget, refusal, tool_tip)
        if self._shown.get(id(widget)) != shown:
            self._shown[id(widget)] = shown
            widget.enabled = refusal is None
            widget.toolTip = as_tool_tip(refusal_text(refusal)) or tool_tip


def set_header(table: Any, titles: Sequence[str], wide: int) -> None:
    """Set the columns of a table; the column `wide` takes the remaining width."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    table.verticalHeader().hide()
    set_row_height(table)
    table.horizontalHeader().setSectionResizeMode(wide, qt.QHeaderView.Stretch)


def fit_columns(table: Any, columns: Sequence[int]) -> None:
    """Let columns be as wide as their contents."""
    for column in columns:
        table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)


@contextmanager
def fixed_columns(table: Any, columns: Sequence[int]) -> Iterator[None]:
    """Fit the width of columns once at the end: Qt measures all cells whenever one of them changes."""
    for column in columns:
        table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.Fixed)
    try:
        yield
    finally:
        fit_columns(table, columns)


def select_rows(table: Any, mode: Any) -> None:
    """Make a table select whole rows, with a selection mode of QAbstractItemView."""
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(mode)


def set_checked(box: Any, checked: bool) -> None:
    """Tick a box, or not, without emitting its signals."""
    if box.checked != checked:
        box.blockSignals(True)
        box.checked = checked
        box.blockSignals(False)


def select_row(table: Any, row: int) -> None:
    """Select a row alone, also while Ctrl is held, as in our shortcuts: Qt then adds it to those selected before."""
    table.clearSelection()
    table.selectRow(row)


def fit_height(table: Any, min_rows: int) -> None:
    """Set the height of a table to that of all its rows, where there is room, and of `min_rows` at least."""
    row = table.verticalHeader().defaultSectionSize  # the header takes as much
    frame = 2 * table.frameWidth
    table.setMinimumHeight((min_rows + 1) * row + frame)
    table.setMaximumHeight((max(min_rows, table.rowCount) + 1) * row + frame)


def set_row_height(table: Any) -> None:
    """Set the height of the rows of a table to that of its text."""
    table.verticalHeader().setDefaultSectionSize(qt.QFontMetrics(table.font).height() + _ROW_MARGIN_PIXELS)


def set_text_item(table: Any, row: int, column: int, text: str) -> None:
    """Set the text of a read-only cell. An existing item is kept, because the user may be clicking it."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(as_tool_tip(text))


def set_check_item(
    table: Any, row: int, column: int, text: str, checked: bool, data: Any, refusal: Refusal = None
) -> None:
    """Set a cell with a check box, read-only if there is a refusal. An existing item is kept."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    item.setToolTip(as_tool_tip(refusal_text(refusal) or text))
    item.setData(qt.Qt.UserRole, data)
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    enabled = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable
    item.setFlags(enabled if refusal is None else qt.Qt.ItemIsSelectable)


def select_data(box: Any, data: Any) -> None:
    """Select the item of a combo box that holds some data, without emitting its signals."""
    row = box.findData(data)
    if row >= 0 and row != box.currentIndex:
        box.blockSignals(True)
        box.setCurrentIndex(row)
        box.blockSignals(False)


def emphasise(button: Any, emphasised: bool) -> None:
    """Show a button as the default one, in bold, or as an ordinary one."""
    if button.default != emphasised:
        font = button.font
        font.setBold(emphasised)
        button.font = font
        button.default = emphasised


def attempt(function: Callable[[], object]) -> Refusal:
    """Call a function; if it raises InputError, show the error and return it."""
    try:
        function()
    except InputError as error:
        show_error(error)
        return error
    return None


def combo_box(titles: Mapping[Any, str], tool_tip: str) -> Any:
    """A combo box with an item for each value; it may be narrower than its longest title."""
    box = qt.QComboBox()
    box.toolTip = tool_tip
    box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
    box.minimumContentsLength = 12
    for value, title in titles.items():
        box.addItem(title, str(value))
    return box


def chosen_path(edit: Any) -> Path | None:
    """Path in a ctkPathLineEdit; None if it is empty.

    A relative one lies in the home folder: users do not see in which folder Slicer was started.
    """
    text = edit.currentPath.strip()
    in_home = text[2:] if text[:2] in ("~", "~/", "~\\") else text
    return Path(qt.QDir.homePath()) / in_home if text else None


def show_path(edit: Any, path: Path) -> None:
    """Show in a ctkPathLineEdit the whole path that is used."""
    if edit.currentPath != str(path):
        edit.currentPath = str(path)


def text_label(text: str = "") -> Any:
    """A label with word wrap that does not widen the panel, whatever its text, which is shown as it is."""
    label = qt.QLabel(text)
    label.textFormat = qt.Qt.PlainText
    label.wordWrap = True
    label.setMinimumWidth(1)
    return label


def body_layout(parent: Any, layout_class: Any) -> Any:
    """Add a widget without margins to a section of the panel, and return its layout."""
    body = qt.QWidget(parent)
    parent.layout().addWidget(body)
    layout = layout_class(body)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def row_layout(*widgets: Any) -> Any:
    """Layout with widgets side by side."""
    layout = qt.QHBoxLayout()
    for widget in widgets:
        layout.addWidget(widget)
    return layout
