"""ReviewChecks: each button of the review is pressed, and its effect is seen in table, views and plot.

These are checks of the self-test.
"""

from __future__ import annotations

from typing import Any

import slicer

from ..annotation.record import SliceStatus
from ..annotation.review_rows import ReviewRow
from ..review.confidence_plot import find_plot
from .panel_checks import PanelChecks

_STATUS = 1  # column of the table


class ReviewChecks(PanelChecks):
    """The states of reviewed slices are changed and then restored."""

    def run(self) -> None:
        """Press each button of the review."""
        self._section, self._review = self._widget.reviewSection, self._widget.logic.review
        self._widget.accordion.open("review")
        self._walk.until(lambda: self._section.table.rowCount == len(self._rows) and not self._section.busy)
        accepted = sorted(self._review.accepted_slices)
        flagged = self._flagged_slices()
        for check in (self._one_slice, self._all_slices, self._worst_slices, self._plot, self._changes):
            check()
        for indices, button in ((accepted, self._section.accept_button), (flagged, self._section.flag_button)):
            if indices:
                self._select(*indices)
                self._press(button)
        self._walk.until(
            lambda: (sorted(self._review.accepted_slices), self._flagged_slices()) == (accepted, flagged)
        )

    def _one_slice(self) -> None:
        """Accept, Reset and Flag change the status of the selected slice alone."""
        index = next(row.index for row in self._rows if row.status is SliceStatus.IN_PROGRESS)
        self._in_progress, others = self._text(index), self._texts(without=index)
        shown = []
        for button, status in (
            (self._section.accept_button, SliceStatus.ACCEPTED),
            (self._section.reset_button, SliceStatus.IN_PROGRESS),
            (self._section.flag_button, SliceStatus.FLAGGED),
            (self._section.reset_button, SliceStatus.IN_PROGRESS),
        ):
            self._select(index)
            self._press(button)
            self._until_shown(index, status)
            self._test.assertEqual(self._texts(without=index), others)
            shown.append(self._text(index))
        self._accepted, first_reset, self._flagged, second_reset = shown
        self._test.assertEqual([first_reset, second_reset], [self._in_progress] * 2)
        self._test.assertEqual(len({self._accepted, self._in_progress, self._flagged}), 3)

    def _all_slices(self) -> None:
        """Accept all leaves the flagged slice, and Reset removes every acceptance and flag."""
        before = self._flagged_slices()
        if before:
            self._select(*before)
            self._press(self._section.reset_button)
            self._walk.until(lambda: not self._flagged_slices())
        waiting = [row.index for row in self._rows if row.needs_review]
        flagged, *others = waiting
        self._select(flagged)
        self._press(self._section.flag_button)
        self._press(self._section.accept_all_button)
        self._walk.until(lambda: [row.index for row in self._rows if row.needs_review] == [flagged])
        self._until_shown(flagged, SliceStatus.FLAGGED)
        self._test.assertEqual({self._text(index) for index in others}, {self._accepted})
        self._test.assertFalse(self._section.accept_all_button.enabled)
        self._section.table.selectAll()
        self._press(self._section.reset_button)
        self._walk.until(lambda: {row.status for row in self._rows if not row.manual} == {SliceStatus.IN_PROGRESS})
        self._test.assertEqual({self._text(index) for index in waiting}, {self._in_progress})

    def _worst_slices(self) -> None:
        """The views go from the least confident slice to the next one and back."""
        shown = []
        self._section.table.clearSelection()
        for button in (self._section.worst_button, self._section.worst_button, self._section.better_button):
            self._press(button)
            (selected,) = self._section.slices.selected
            self._test.assertIn(self._review.current, (selected, None))  # None: there are no slice views
            shown.append(selected)
        self._test.assertEqual(shown[0], shown[2])
        self._test.assertNotEqual(shown[0], shown[1])

    def _plot(self) -> None:
        """The plot is the one in Slicer's plot views, which become visible where there is a layout."""
        layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        before = layout.GetViewArrangement() if layout is not None else None
        self._press(self._section.plot_button)
        chart = find_plot(self._walk.segmentation)
        self._test.assertIsNotNone(chart)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self._test.assertEqual(selection.GetActivePlotChartID(), chart.GetID())
        slicer.app.processEvents()
        if layout is not None:
            layout.SetViewArrangement(before)

    def _changes(self) -> None:
        """The changes of the last fill are shown over the views and hidden again."""
        box, overlays = self._section.differences_box, self._review.overlays
        with self._own_segmentation("Changes"):
            self._walk.start_and_finish(self._ui.fillButton)
            self._press(box)
            self._walk.until(lambda: overlays.differences_shown)
            self._press(box)
            self._walk.until(lambda: not overlays.differences_shown)
        self._walk.until(lambda: self._section.table.rowCount == len(self._rows) > 0)

    # --- helper methods

    @property
    def _rows(self) -> tuple[ReviewRow, ...]:
        rows: tuple[ReviewRow, ...] = self._review.view.rows
        return rows

    def _flagged_slices(self) -> list[int]:
        return [row.index for row in self._rows if row.status is SliceStatus.FLAGGED]

    def _item(self, index: int, column: int = _STATUS) -> Any:
        return self._section.table.item(index - self._rows[0].index, column)

    def _text(self, index: int) -> str:
        """Status of a slice in the table."""
        return str(self._item(index).text())

    def _texts(self, without: int) -> list[str]:
        return [self._text(row.index) for row in self._rows if row.index != without]

    def _select(self, *indices: int) -> None:
        self._section.table.clearSelection()
        for index in indices:
            for column in range(self._section.table.columnCount):
                self._item(index, column).setSelected(True)

    def _until_shown(self, index: int, status: SliceStatus) -> None:
        """Wait until a slice has a status, which is found in the table at the next tick."""
        rows = self._section.table
        self._walk.until(lambda: next(row for row in self._rows if row.index == index).status is status)
        self._section.poll()
        self._test.assertEqual(rows.rowCount, len(self._rows))
