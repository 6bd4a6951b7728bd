"""CaseTableView: the table of the cases of a data set, with picture, state and expected Dice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import qt

from ...datasets.case_table import CaseRow, ReviewState
from ...guidance.contact_sheet import PREVIEW_COLUMNS, TILE_PIXELS
from ..i18n import tr as _
from ..messages import error_text
from .names import review_state_name
from .widgets import select_row, select_rows, set_header, set_text_item

_THUMBNAIL_PIXELS = 44
# Icons are stored at twice the size, for screens of high resolution; a thousand whole pictures take gigabytes.
_STORED_PIXELS = 2 * _THUMBNAIL_PIXELS
_PREVIEW_PIXELS = 420
# Rows shown in one step, which takes some milliseconds.
MAX_ROWS = 50
_MIN_HEIGHT_PIXELS = 118


class CaseTableView:
    """Shows rows, only those that changed and some at a time: `poll` shows the others.

    Parameters
    ----------
    clicked : function
        Called with the name of a case that was clicked.
    """

    def __init__(self, clicked: Callable[[str], None]) -> None:
        self.widget = qt.QTableWidget()
        self.widget.setMinimumHeight(_MIN_HEIGHT_PIXELS)
        self.widget.setIconSize(qt.QSize(_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
        select_rows(self.widget, qt.QAbstractItemView.SingleSelection)
        set_header(self.widget, (_("Case"), _("State"), _("Dice")), wide=0)
        self.widget.horizontalHeaderItem(2).setToolTip(
            _("Expected Dice of the labels as they were filled, mean of the segments.")
        )
        self.widget.connect("cellClicked(int,int)", self._on_clicked)
        self._clicked = clicked
        self._rows: tuple[CaseRow, ...] = ()
        self._current: str | None = None
        self._unshown: dict[int, None] = {}  # numbers of changed rows, in order
        self._waiting: deque[tuple[int, Path]] = deque()  # pictures to load

    def show(self, rows: Sequence[CaseRow], current: str | None) -> None:
        """Show the rows of a table, and select the case in the scene."""
        before = self._rows
        self._rows = tuple(rows)
        self.widget.setRowCount(len(self._rows))
        for number, row in enumerate(self._rows):
            if number >= len(before) or before[number] != row or row.name in (current, self._current):
                self._unshown[number] = None
            if row.name == current:
                select_row(self.widget, number)
        if current is None:
            self.widget.clearSelection()
        self._current = current
        self._show_rows()

    def poll(self) -> None:
        """Show some rows, or load one picture, as either takes some milliseconds."""
        if self._unshown:
            self._show_rows()
        elif self._waiting:
            number, picture = self._waiting.popleft()
            if number < self.widget.rowCount:
                self._set_icon(number, _thumbnail(picture))

    def _show_rows(self) -> None:
        for number in [*islice(self._unshown, MAX_ROWS)]:
            del self._unshown[number]
            if number < len(self._rows):
                self._show_row(number, self._rows[number])

    def _show_row(self, number: int, row: CaseRow) -> None:
        dice = row.mean_expected_dice
        texts = (row.name, review_state_name(row.state), "" if dice is None else f"{dice:.2f}")
        for column, text in enumerate(texts):
            set_text_item(self.widget, number, column, text)
            self.widget.item(number, column).setToolTip(_tool_tip(row))
        if row.picture is None:
            self._set_icon(number, qt.QIcon())
        else:
            self._waiting.append((number, row.picture))

    def _set_icon(self, number: int, icon: Any) -> None:
        self.widget.item(number, 0).setIcon(icon)
        small = self.widget.verticalHeader().defaultSectionSize
        self.widget.setRowHeight(number, small if icon.isNull() else max(small, _THUMBNAIL_PIXELS + 4))

    def _on_clicked(self, row: int, column: int) -> None:
        if row < len(self._rows):
            self._clicked(self._rows[row].name)


def _thumbnail(picture: Path) -> Any:
    """The first slice of a case's picture, which shows its slices side by side."""
    pixmap = qt.QPixmap(str(picture))
    if pixmap.isNull():
        return qt.QIcon()
    width, height = pixmap.width() // PREVIEW_COLUMNS, min(TILE_PIXELS, pixmap.height())
    tile = pixmap.copy(0, 0, width, height)
    return qt.QIcon(tile.scaled(_STORED_PIXELS, _STORED_PIXELS, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation))


def _tool_tip(row: CaseRow) -> str:
    lines = [escape(row.name)]
    if row.state is ReviewState.IN_REVIEW and row.reviewer:
        lines.append(escape(_("Reviewed by {reviewer}.").format(reviewer=error_text(row.reviewer))))
    for name, dice in row.expected.items():
        text = _("{segment}: expected Dice {dice:.2f} ({low:.2f} to {high:.2f})")
        lines.append(escape(text.format(segment=name, dice=dice.dice, low=dice.low, high=dice.high)))
    if row.message:
        lines.append(escape(row.message))
    if row.picture is not None:
        lines.append(f'<img src="{row.picture.as_uri()}" width="{_PREVIEW_PIXELS}">')
    return f"<span>{'<br>'.join(lines)}</span>"
