"""SliceTable: the slices under review, one a row, with status, expected Dice and changes."""

from __future__ import annotations

from collections.abc import Sequence

import qt

from ..annotation.record import SliceStatus
from ..annotation.review_rows import Origin, ReviewRow
from ..i18n import tr as _
from .widgets import fit_columns, fixed_columns, select_row, select_rows, set_header, set_text_item

_STATUS, _CONFIDENCE, _DISAGREEMENT, _CHANGED = 1, 2, 3, 4
_NARROW = (0, _CONFIDENCE, _DISAGREEMENT, _CHANGED)


class SliceTable:
    """Table of slices, in which several can be selected.

    Attributes
    ----------
    widget : QTableWidget
    """

    def __init__(self) -> None:
        self.widget = qt.QTableWidget()
        self.widget.minimumHeight = 100
        select_rows(self.widget, qt.QAbstractItemView.ExtendedSelection)
        titles = (_("Slice"), _("Status"), _("Conf."), _("Differs"), _("Changed"))
        set_header(self.widget, titles, wide=_STATUS)
        fit_columns(self.widget, _NARROW)
        explained = {
            _CONFIDENCE: _("Expected share of correct pixels, mean over the segments on the slice."),
            _DISAGREEMENT: _("1 - Dice between the slice and shapes interpolated from the labelled slices."),
            _CHANGED: _("Voxels that the last fill of the slice added or removed."),
        }
        for column, text in explained.items():
            self.widget.horizontalHeaderItem(column).setToolTip(text)
        self._rows: Sequence[ReviewRow] = ()
        self._texts: list[tuple[str, ...]] = []

    @property
    def selected(self) -> list[int]:
        """Indices of the selected slices, ascending."""
        numbers = [index.row() for index in self.widget.selectionModel().selectedRows()]
        return sorted(self._rows[number].index for number in numbers if number < len(self._rows))

    def select(self, index: int) -> None:
        """Select one slice, and scroll to it."""
        number = index - self._rows[0].index
        select_row(self.widget, number)
        self.widget.scrollToItem(self.widget.item(number, 0))

    def show(self, rows: Sequence[ReviewRow], positions: Sequence[str]) -> None:
        """Update the rows that changed; there may be hundreds.

        Parameters
        ----------
        rows : sequence of ReviewRow
        positions : sequence of str
            Position in the patient of each slice of the volume, as text.
        """
        texts = [_texts(row, positions[row.index] if row.index < len(positions) else "") for row in rows]
        if len(texts) != len(self._texts):
            self.widget.setRowCount(len(texts))
            self._texts = self._texts[: len(texts)] + [()] * (len(texts) - len(self._texts))
        changed = [number for number, cells in enumerate(texts) if cells != self._texts[number]]
        if changed:
            with fixed_columns(self.widget, _NARROW):
                for number in changed:
                    self._show_row(number, texts[number])
        self._rows, self._texts = rows, texts

    def _show_row(self, number: int, cells: Sequence[str]) -> None:
        for column, text in enumerate(cells):
            set_text_item(self.widget, number, column, text)
            if column != _STATUS:
                self.widget.item(number, column).setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)


def _status_text(row: ReviewRow) -> str:
    if row.status is not SliceStatus.FLAGGED and row.origin is Origin.PAINTED:
        return _("Painted")
    if row.status is not SliceStatus.FLAGGED and row.origin is Origin.CORRECTED:
        return _("Corrected")
    return {
        SliceStatus.NOT_STARTED: _("Not started"),
        SliceStatus.IN_PROGRESS: _("In progress"),
        SliceStatus.ACCEPTED: _("Accepted"),
        SliceStatus.FLAGGED: _("Flagged"),
    }[row.status]


def _texts(row: ReviewRow, position: str) -> tuple[str, ...]:
    """Cell texts of a row."""
    confidence = "" if row.confidence is None else f"{row.confidence:.2f}"
    disagreement = "" if row.disagreement is None else f"{row.disagreement:.2f}"
    changed = "" if row.changed is None else str(row.changed)
    return (f"{row.index}  {position}".rstrip(), _status_text(row), confidence, disagreement, changed)
