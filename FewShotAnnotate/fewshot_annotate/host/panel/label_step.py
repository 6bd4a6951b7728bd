"""LabelStep: step 2 of the panel, where slices are painted, listed, marked and suggested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

from ...core.errors import InputError
from ...core.slice_axis import SliceAxis
from ..annotation.painted_slices import coverage
from ..i18n import tr as _
from ..messages import Refusal, error_text
from ..mrml.views import current_slice, jump_to_slice
from .coverage import BAR_HEIGHT_PIXELS, BAR_WIDTH_PIXELS, CoverageStrip, bar_icon, coverage_pixmap
from .names import plane_name
from .slice_positions import SlicePositions, slice_text, with_positions
from .step import Step
from .widgets import (
    attempt,
    fit_height,
    select_data,
    select_rows,
    set_check_item,
    set_header,
    set_text_item,
)

MIN_ROWS = 2
# Of the height that is left, the table takes as much as its rows need.
_TABLE_STRETCH = 20
_POSITION, _SEGMENTS = 1, 2  # columns of the table of slices
AXES = (-1, 0, 1, 2)  # -1: found from what is painted


class LabelStep(Step):
    """Widgets of step 2."""

    def set_up(self) -> None:
        """Fill and connect the widgets, once."""
        ui = self.ui
        layout = ui.paintSection.layout()
        layout.setStretchFactor(ui.slicesTable, _TABLE_STRETCH)
        layout.addStretch(1)  # what the rows of the table leave
        self._view_slice: int | None = None
        self._drawn: tuple[object, ...] = ()
        self._positions = SlicePositions()
        self._suffix = ""
        for axis in AXES:
            ui.axisComboBox.addItem("", axis)
        set_header(ui.slicesTable, (_("Labelled"), _("Position"), _("Segments")), wide=_SEGMENTS)
        ui.slicesTable.setIconSize(qt.QSize(BAR_WIDTH_PIXELS, BAR_HEIGHT_PIXELS))
        select_rows(ui.slicesTable, qt.QAbstractItemView.SingleSelection)
        ui.coverageLabel.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        ui.coverageLabel.setScaledContents(True)  # until it is redrawn after the panel was resized
        ui.axisComboBox.connect("currentIndexChanged(int)", self._on_axis)
        ui.slicesTable.connect("itemChanged(QTableWidgetItem*)", self._on_slice_checked)
        ui.slicesTable.connect("cellClicked(int,int)", self._on_slice_clicked)
        ui.sliceSpinBox.connect("valueChanged(int)", self._on_slice_number)
        ui.previousSliceButton.connect("clicked(bool)", self._on_previous)
        ui.nextSliceButton.connect("clicked(bool)", self._on_next)
        ui.markSliceButton.connect("clicked(bool)", self._on_mark)
        ui.suggestButton.connect("clicked(bool)", self._on_suggest)

    # --- what is shown

    def show(self) -> None:
        """Show which slices are labelled."""
        selection = self.selection
        self._show_axes()
        select_data(self.ui.axisComboBox, -1 if self.record.axis is None else self.record.axis)
        self._show_slices()
        grid = self.logic.annotations.survey.grid
        self.ui.sliceSpinBox.blockSignals(True)
        self.ui.sliceSpinBox.setMaximum(
            SliceAxis(selection.axis or 0).count(grid.geometry) - 1 if grid is not None else 0
        )
        self.ui.sliceSpinBox.blockSignals(False)
        self.show_controls()

    def poll(self) -> None:
        """Follow the slice views, and show a new suggestion."""
        node, grid = self.segmentation, self.logic.annotations.survey.grid
        index = current_slice(node, grid, self._axis) if node is not None and grid is not None else None
        if index is not None and index != self._view_slice:
            self._show_number(index)
        self._view_slice = index
        if self.logic.suggestion.poll() and self.logic.suggestion.result is not None:
            self._jump_to(self.logic.suggestion.result.index)
        self.show_controls()

    def show_controls(self) -> None:
        """Show what may be pressed now, and why not."""
        missing = self._why_not_listed()
        labelled, index = self.selection.labelled, self.ui.sliceSpinBox.value
        before, after = InputError("no_labelled_before"), InputError("no_labelled_after")
        painted = bool(self._painted_here(index))
        for name in ("axisComboBox", "sliceSpinBox", "slicesTable"):
            self.enable(name, missing)
        self.enable("previousSliceButton", missing or (None if labelled and labelled[0] < index else before))
        self.enable("nextSliceButton", missing or (None if labelled and labelled[-1] > index else after))
        self.ui.markSliceButton.text = _("Count as labelled") if painted else _("Nothing here")
        reason = InputError("labelled_already") if index in labelled else None
        self.enable("markSliceButton", missing or reason)
        self.enable("suggestButton", missing or self._why_not_suggest())
        self.ui.suggestionLabel.text = self._suggested()
        self.ui.suggestionLabel.visible = bool(self.ui.suggestionLabel.text) and self.idle
        self._draw(index)
        self._show_position(index)

    def _show_position(self, index: int) -> None:
        """Show behind the slice number the position of the slice, worded as in the slice views."""
        positions = self._slice_positions()
        suffix = f"   {positions[index]}" if index < len(positions) else ""
        if suffix != self._suffix:
            self._suffix = suffix
            self.ui.sliceSpinBox.setSuffix(suffix)

    def _slice_positions(self) -> Sequence[str]:
        return self._positions.update(self.segmentation, self.logic.annotations.survey.grid, self._axis)

    @property
    def state_line(self) -> str:
        """State of the step in a few words."""
        count = len(self.selection.labelled) if self.segmentation is not None else 0
        return _("{count} slices painted").format(count=count)

    def _show_axes(self) -> None:
        """Name each axis by its patient plane, with the number of slices painted along it."""
        selection = self.selection
        grid, extents = self.logic.annotations.survey.grid, self.logic.annotations.survey.extents.values()
        titles = [_("Found from the painted slices")]
        for axis in range(3):
            if grid is None:
                titles.append(_("Axis {axis}").format(axis=axis))
                continue
            along = [extent.slices[axis] for extent in extents if extent.painted_axis == axis]
            count = len(selection.labelled) if axis == selection.axis else len(set().union(*along))
            plane = plane_name(SliceAxis(axis).patient_plane(grid.geometry))
            text = _("{plane} slices, axis {axis}: {count} painted")
            titles.append(text.format(plane=plane, axis=axis, count=count))
        for row, title in enumerate(titles):
            self.ui.axisComboBox.setItemText(row, title)

    def _show_slices(self) -> None:
        table, node, selection = self.ui.slicesTable, self.segmentation, self.selection
        covered = coverage(self.logic.annotations.survey.extents, selection.segment_ids, self._axis.index)
        positions = self._slice_positions()
        most = max((sum(covered.get(index, {}).values()) for index in selection.slices), default=0)
        table.blockSignals(True)
        table.setRowCount(len(selection.slices))
        for row, (index, segment_ids) in enumerate(selection.slices.items()):
            set_check_item(table, row, 0, str(index), index in selection.labelled, index)
            set_text_item(table, row, _POSITION, positions[index] if index < len(positions) else "")
            segments = {name: node.GetSegmentation().GetSegment(name) for name in segment_ids}
            existing = {name: segment for name, segment in segments.items() if segment is not None}
            names = ", ".join(segment.GetName() for segment in existing.values())
            set_text_item(table, row, _SEGMENTS, names or _("nothing here"))
            here = covered.get(index, {})
            sections = [
                (here.get(name, 0) / max(most, 1), tuple(segment.GetColor())) for name, segment in existing.items()
            ]
            table.item(row, _SEGMENTS).setIcon(bar_icon(sections, table.palette))
        table.blockSignals(False)
        fit_height(table, MIN_ROWS)

    def _draw(self, index: int) -> None:
        """Draw the strip, if it changed."""
        label, grid, selection = self.ui.coverageLabel, self.logic.annotations.survey.grid, self.selection
        count = self._axis.count(grid.geometry) if grid is not None else 0
        filled = self.record.present.filled if count else ()
        strip = CoverageStrip(
            count, selection.labelled, tuple(filled_index for filled_index in filled if filled_index < count), index
        )
        drawn = (strip, label.width, label.palette.color(qt.QPalette.Base).name())
        if drawn != self._drawn:
            self._drawn = drawn
            label.setPixmap(coverage_pixmap(strip, label.width, label.palette))

    def _suggested(self) -> str:
        finder = self.logic.suggestion
        if finder.busy:
            return _("Looking for the slice that would help most ...")
        if finder.error is not None:
            return error_text(finder.error)
        if finder.result is None:
            return ""
        positions = self._slice_positions()
        return _("Slice {index}: {reason}").format(
            index=slice_text(finder.result.index, positions),
            reason=error_text(with_positions(finder.result.reason, positions)),
        )

    # --- why not

    def _why_not_listed(self) -> Refusal:
        return None if self.logic.annotations.survey.grid is not None else InputError("nodes_not_chosen")

    def _why_not_suggest(self) -> Refusal:
        selection = self.selection
        if self.logic.suggestion.busy:
            return InputError("suggesting_already")
        if not selection.labelled or not selection.segment_ids:
            return InputError("none_painted")
        if len(selection.labelled) >= self._axis.count(self.logic.annotations.survey.grid.geometry):
            return InputError("all_labelled")
        return self.why_busy()

    # --- what the user does

    @property
    def _axis(self) -> SliceAxis:
        return SliceAxis(self.selection.axis or 0)

    def _painted_here(self, index: int) -> list[str]:
        extents, axis = self.logic.annotations.survey.extents, self._axis.index
        return [name for name in self.selection.segment_ids if index in extents[name].slices[axis]]

    def _show_number(self, index: int) -> None:
        self.ui.sliceSpinBox.blockSignals(True)
        self.ui.sliceSpinBox.setValue(index)
        self.ui.sliceSpinBox.blockSignals(False)

    def _jump_to(self, index: int) -> None:
        """Show a slice in the views."""
        node, grid = self.segmentation, self.logic.annotations.survey.grid
        if node is not None and grid is not None:
            self._show_number(index)
            jump_to_slice(node, grid, self._axis, index)
            self._view_slice = current_slice(node, grid, self._axis)
            self.show_controls()

    def _on_axis(self, row: int) -> None:
        axis = self.ui.axisComboBox.itemData(row)
        self.logic.suggestion.reset()
        self.change_record(lambda record: record.with_axis(axis if axis >= 0 else None))

    def _on_slice_checked(self, item: Any) -> None:
        if item.column() == 0:
            index, used = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
            self.change_record(lambda record: record.with_slice(index, used))

    def _on_slice_clicked(self, row: int, column: int) -> None:
        self._jump_to(self.ui.slicesTable.item(row, 0).data(qt.Qt.UserRole))

    def _on_slice_number(self, index: int) -> None:
        self._jump_to(index)

    def _on_previous(self, checked: bool = False) -> None:
        before = [index for index in self.selection.labelled if index < self.ui.sliceSpinBox.value]
        if before:
            self._jump_to(before[-1])

    def _on_next(self, checked: bool = False) -> None:
        after = [index for index in self.selection.labelled if index > self.ui.sliceSpinBox.value]
        if after:
            self._jump_to(after[0])

    def _on_mark(self, checked: bool = False) -> None:
        index = self.ui.sliceSpinBox.value
        self.change_record(lambda record: record.with_slice(index, True))

    def _on_suggest(self, checked: bool = False) -> None:
        attempt(lambda: self.logic.suggest(self.parameters()))
        self.repaint()
