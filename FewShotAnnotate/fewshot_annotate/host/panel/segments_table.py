"""SegmentsTable: the segments of step 3, with what is painted of each, its volume, and whether it is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt

from ...core.errors import InputError
from ..fill.segment_rows import SegmentRow
from ..i18n import tr as _
from ..messages import Refusal
from .widgets import (
    fit_columns,
    fit_height,
    fixed_columns,
    select_rows,
    set_check_item,
    set_header,
    set_text_item,
)

FILL, PAINTED, DICE, VOLUME, LOCKED = range(5)
MIN_ROWS = 3


class SegmentsTable:
    """Shows segments in a table.

    Parameters
    ----------
    table : QTableWidget
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._rows: tuple[Sequence[SegmentRow], Mapping[str, float]] | None = None
        titles = (_("Segments to fill"), _("Painted"), _("Dice"), _("ml"), _("Locked"))
        set_header(table, titles, wide=FILL)
        select_rows(table, qt.QAbstractItemView.SingleSelection)
        explained = {
            PAINTED: _("Labelled slices with voxels of the segment."),
            DICE: _("Expected Dice of the last fill."),
            VOLUME: _("Volume in millilitres, before the last fill and now."),
            LOCKED: _("A locked segment is never changed by a fill."),
        }
        fit_columns(table, tuple(explained))
        for column, text in explained.items():
            table.horizontalHeaderItem(column).setToolTip(text)

    @property
    def chosen(self) -> str:
        """Id of the segment whose row is selected, empty if none is."""
        rows = [index.row() for index in self._table.selectionModel().selectedRows()]
        return self._rows[0][rows[0]].id if self._rows is not None and rows and rows[0] < len(self._rows[0]) else ""

    def show(self, rows: Sequence[SegmentRow], volumes_before: Mapping[str, float]) -> None:
        """Show segments, if something of them changed, with their volumes in ml before the last fill."""
        shown = (tuple(rows), dict(volumes_before))
        if shown == self._rows:
            return
        self._rows = shown
        table = self._table
        table.blockSignals(True)
        table.setRowCount(len(rows))
        with fixed_columns(table, (PAINTED, DICE, VOLUME, LOCKED)):
            for number, row in enumerate(rows):
                set_check_item(table, number, FILL, row.name, row.filled, row.id, why_left_out(row))
                set_text_item(table, number, PAINTED, str(row.painted))
                set_text_item(table, number, DICE, "" if row.dice is None else f"{row.dice:.2f}")
                set_text_item(table, number, VOLUME, _volumes(row, volumes_before.get(row.id)))
                set_check_item(table, number, LOCKED, "", row.locked, row.id)
        table.blockSignals(False)
        fit_height(table, max(1, min(MIN_ROWS, len(rows))))


def why_left_out(row: SegmentRow) -> Refusal:
    """Why a segment is not filled, regardless of the painted slices: it is locked or hidden."""
    if row.locked:
        return InputError("segment_locked")
    return InputError("segment_hidden") if row.hidden else None


def _volumes(row: SegmentRow, before: float | None) -> str:
    now = f"{row.millilitres:.1f}"
    earlier = now if before is None else f"{before:.1f}"
    return now if earlier == now else f"{earlier} > {now}"
