"""ComparisonTable: mean Dice and time of each engine of a comparison."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ...evaluation.scores import EngineScore
from ...evaluation.summary import Summary
from ..i18n import tr as _
from .widgets import fit_height, select_row, select_rows, set_header, set_text_item

_MAX_ROWS = 6


class ComparisonTable:
    """Table of the engines that were compared, of which one can be selected; hidden without a result.

    Parameters
    ----------
    selected : function
        Called after another engine was selected.

    Attributes
    ----------
    widget : QTableWidget
    """

    def __init__(self, selected: Callable[[], object]) -> None:
        self.widget = qt.QTableWidget()
        self.widget.visible = False
        select_rows(self.widget, qt.QAbstractItemView.SingleSelection)
        self.widget.connect("itemSelectionChanged()", selected)
        self._shown: Summary | None = None

    @property
    def engine(self) -> str | None:
        """Name of the selected engine."""
        rows = self.widget.selectionModel().selectedRows()
        return str(self.widget.item(rows[0].row(), 0).text()) if rows else None

    def show(self, summary: Summary | None) -> None:
        """Show a result, with the recommended engine selected."""
        table = self.widget
        if summary is self._shown:
            return
        self._shown = summary
        table.visible = summary is not None
        table.setRowCount(0)
        table.setColumnCount(0)  # columns of an earlier result, and how wide they were
        if summary is None:
            return
        titles = [_("Engine"), *map(str, summary.sizes), _("Time")]
        set_header(table, titles, wide=len(titles) - 1)
        table.setRowCount(len(summary.engines))
        for row, engine in enumerate(summary.engines):
            points = [summary.at(engine, size) for size in summary.sizes]
            for column, text in enumerate((engine, *map(_dice, points), _time(points[-1]))):
                set_text_item(table, row, column, text)
        table.resizeColumnsToContents()
        table.horizontalHeader().setStretchLastSection(True)
        fit_height(table, _MAX_ROWS)
        select_row(table, summary.engines.index(summary.engine))


def _dice(point: EngineScore) -> str:
    return f"{point.dice:.3f}"


def _time(point: EngineScore) -> str:
    start = _("{seconds:.1f} s").format(seconds=point.start_seconds)
    if not point.slice_seconds:  # not known where each trial fills one slice
        return start
    return _("{start} + {seconds:.2g} s a slice").format(start=start, seconds=point.slice_seconds)
