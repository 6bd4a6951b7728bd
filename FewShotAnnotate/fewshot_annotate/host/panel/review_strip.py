"""ReviewStrip: all slices under review side by side, coloured by status and confidence; a click goes to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import qt

from ..annotation.record import SliceStatus
from ..annotation.review_rows import Origin, ReviewRow
from ..i18n import tr as _
from .names import slice_state_name
from .slice_positions import slice_text
from .widgets import as_tool_tip, text_label

# More cells than this are too narrow to be hit; then a cell stands for several slices and shows the worst of them.
_MAX_CELLS = 96
_HEIGHT_PIXELS = 26
_COLOURS = {
    Origin.PAINTED: "#e0b400",
    Origin.CORRECTED: "#b8860b",
    SliceStatus.ACCEPTED: "#2e9e5b",
    SliceStatus.FLAGGED: "#d6336c",
    SliceStatus.NOT_STARTED: "#6b6b6b",
}
# Colours run from a confidence of one half, below which there are few slices, over the middle one to 1.
_UNSURE, _MIDDLE, _SURE = (232, 89, 12), (245, 228, 208), (58, 124, 200)


class ReviewStrip:
    """The strip and its legend.

    Parameters
    ----------
    go : function
        Called with the slice that was clicked.
    """

    def __init__(self, go: Callable[[int], None]) -> None:
        self._go = go
        self._cells: list[list[ReviewRow]] = []
        self._shown: list[tuple[str, str, str]] = []
        self.widget = _bare_table()
        self.widget.connect("cellClicked(int,int)", self._on_cell)
        self.legend = text_label(_legend())
        self.legend.textFormat = qt.Qt.RichText
        self.show((), None)

    def show(self, rows: Sequence[ReviewRow], current: int | None, positions: Sequence[str] = ()) -> None:
        """Show all slices, the one that the slice views show with a mark, with positions such as 'S: 376.3'."""
        self._cells = _cells(rows)
        self.widget.visible = self.legend.visible = bool(rows)
        if self.widget.columnCount != len(self._cells):
            self.widget.setColumnCount(len(self._cells))
            self._shown = [("", "", "")] * len(self._cells)
        for column, cell in enumerate(self._cells):
            here = any(row.index == current for row in cell)
            worst = _worst(cell)
            appearance = (
                _colour(worst),
                "\N{BLACK DOWN-POINTING TRIANGLE}" if here else "",
                _tool_tip(cell, worst, positions),
            )
            if appearance != self._shown[column]:
                self._shown[column] = appearance
                self._paint(column, *appearance)

    def _paint(self, column: int, colour: str, mark: str, tool_tip: str) -> None:
        item = self.widget.item(0, column)
        if item is None:
            item = qt.QTableWidgetItem()
            item.setFlags(qt.Qt.ItemIsEnabled)
            item.setTextAlignment(qt.Qt.AlignCenter)
            self.widget.setItem(0, column, item)
        item.setBackground(qt.QBrush(qt.QColor(colour)))
        item.setForeground(qt.QBrush(qt.QColor("#000000")))
        item.setText(mark)
        item.setToolTip(as_tool_tip(tool_tip))

    def _on_cell(self, row: int, column: int) -> None:
        self._go(_worst(self._cells[column]).index)


def _bare_table() -> Any:
    table = qt.QTableWidget()
    table.setRowCount(1)
    table.setShowGrid(False)
    table.horizontalHeader().hide()
    table.verticalHeader().hide()
    table.horizontalHeader().setMinimumSectionSize(1)
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    table.verticalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    table.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
    table.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
    table.setSelectionMode(qt.QAbstractItemView.NoSelection)
    table.setFocusPolicy(qt.Qt.NoFocus)
    table.setFixedHeight(_HEIGHT_PIXELS)
    return table


def _cells(rows: Sequence[ReviewRow]) -> list[list[ReviewRow]]:
    """Slices in at most `_MAX_CELLS` groups of nearly the same size."""
    count = min(len(rows), _MAX_CELLS)
    bounds = [number * len(rows) // count for number in range(count + 1)] if count else []
    return [list(rows[start:stop]) for start, stop in pairwise(bounds)]


def _worst(cell: Sequence[ReviewRow]) -> ReviewRow:
    """The slice with the highest priority for review."""
    order = (SliceStatus.FLAGGED, SliceStatus.IN_PROGRESS, SliceStatus.NOT_STARTED, SliceStatus.ACCEPTED)

    def priority(row: ReviewRow) -> tuple[int, float]:
        return order.index(row.status), 1.0 if row.confidence is None else row.confidence

    return min(cell, key=priority)


def _colour(row: ReviewRow) -> str:
    if row.status is SliceStatus.FLAGGED:
        return _COLOURS[row.status]
    if row.manual:
        return _COLOURS[row.origin]
    if row.status is SliceStatus.IN_PROGRESS:
        return _shade(1.0 if row.confidence is None else row.confidence)
    return _COLOURS[row.status]


def _shade(confidence: float) -> str:
    share = min(1.0, max(0.0, 2 * confidence - 1))
    start, end, way = (_UNSURE, _MIDDLE, 2 * share) if share < 0.5 else (_MIDDLE, _SURE, 2 * share - 1)
    red, green, blue = (round(a + way * (b - a)) for a, b in zip(start, end, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _tool_tip(cell: Sequence[ReviewRow], worst: ReviewRow, positions: Sequence[str]) -> str:
    first, last, least = (slice_text(row.index, positions) for row in (cell[0], cell[-1], worst))
    where = _("Slice {first}").format(first=first)
    if len(cell) > 1:
        text = _("Slices {first} to {last}, worst {worst}")
        where = text.format(first=first, last=last, worst=least)
    by_hand = worst.manual and worst.status is not SliceStatus.FLAGGED
    what = slice_state_name(worst.origin if by_hand else worst.status)
    if worst.confidence is None:
        return f"{where}: {what}"
    return _("{where}: {what}, confidence {confidence:.2f}").format(
        where=where, what=what, confidence=worst.confidence
    )


def _legend() -> str:
    entries = (
        (_COLOURS[Origin.PAINTED], _("painted")),
        (_COLOURS[Origin.CORRECTED], _("corrected")),
        (_COLOURS[SliceStatus.ACCEPTED], _("accepted")),
        (_COLOURS[SliceStatus.FLAGGED], _("flagged")),
        (_shade(0.5), _("uncertain")),
        (_shade(1.0), _("certain")),
        (_COLOURS[SliceStatus.NOT_STARTED], _("not filled")),
    )
    square = '<span style="color:{colour}">\N{BLACK SQUARE}</span>&nbsp;{text}'
    return " ".join(square.format(colour=colour, text=text.replace(" ", "&nbsp;")) for colour, text in entries)
