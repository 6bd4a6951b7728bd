"""FillStep: step 3 of the panel, where engine and segments are chosen, and runs started, watched and ended."""

from __future__ import annotations

from typing import Any

import qt

from ...core.errors import InputError
from ...core.slice_axis import SliceAxis
from ..annotation.record import AnnotationRecord
from ..engines.installation import ensure_engine
from ..fill.messages import expected_dice_lines, left_out_lines, status_lines, why_not_fill, why_not_keep
from ..fill.segment_rows import SegmentRow, segment_rows
from ..fill.unfinished_run_handler import UnfinishedRunHandler
from ..i18n import tr as _
from ..messages import Refusal
from ..mrml.reading import set_locked
from .engine_cards import EngineCards
from .segments_table import FILL, LOCKED, SegmentsTable, why_left_out
from .step import Step
from .widgets import attempt

PROGRESS_STEPS = 1000


class FillStep(Step):
    """Widgets of step 3."""

    def set_up(self) -> None:
        """Fill and connect the widgets, once."""
        ui = self.ui
        self._segments: list[SegmentRow] = []
        self._unfinished = UnfinishedRunHandler(self.logic, lambda: self.nodes, self.logic.panelEditor)
        self._cards = EngineCards(ui.engineList, ui.engineLabel, self._on_engine)
        self._table = SegmentsTable(ui.segmentsTable)
        self._volumes_before: dict[str, float] = {}
        ui.onlyThisButton.connect("clicked(bool)", self._on_only_this)
        ui.segmentsTable.connect("itemSelectionChanged()", self.show_run)
        ui.statusLabel.setMinimumWidth(1)
        ui.segmentsTable.connect("itemChanged(QTableWidgetItem*)", self._on_segment_checked)
        ui.fillButton.connect("clicked(bool)", self._on_fill)
        ui.resumeButton.connect("clicked(bool)", self._on_resume)
        ui.keepButton.connect("clicked(bool)", self._on_keep)
        ui.cancelButton.connect("clicked(bool)", self._on_cancel)

    # --- what is shown

    def show(self) -> None:
        """Show segments, engines and the run."""
        self._unfinished.update()
        self._segments = segment_rows(self.segmentation, self._snapshot, self._survey)
        self._table.show(self._segments, self._volumes_before)
        self.show_engines()
        self.show_run()

    def poll(self) -> None:
        """Update the state of the engines, and check at intervals for an unfinished run."""
        if self.logic.engines.poll():
            self.show_engines()
        if self._unfinished.poll():
            self.show_run()

    def show_engines(self) -> None:
        """Show the engines, with the estimated time of each for the query slices."""
        parameters, selection, grid = self.parameters(), self.selection, self.logic.annotations.survey.grid
        slices, pixels = 0, 0
        if parameters is not None and grid is not None and selection.labelled:
            count, rows, columns = SliceAxis(selection.axis or 0).shape(grid.geometry)
            extent = count if parameters.fillAll else selection.labelled[-1] - selection.labelled[0] + 1
            slices, pixels = extent - len(selection.labelled), rows * columns
        chosen = parameters.engine if parameters is not None else ""
        self._cards.show(self.logic.engines.states, chosen, slices, pixels)

    def show_run(self) -> None:
        """Show how far the run is and what may be pressed now."""
        controller, busy = self.logic.controller, self.why_busy()
        unfinished, why_not_resume = self._unfinished.unfinished, self._unfinished.why_not_resume
        self.enable("fillButton", busy or self.why_not_fill())
        self.enable("keepButton", None if unfinished else why_not_keep(controller))
        self.enable("cancelButton", InputError("nothing_running") if self.idle and not unfinished else None)
        self.enable("resumeButton", why_not_resume)
        self.enable("onlyThisButton", busy or self.nodes.refusal or self._why_not_only_this())
        for name in ("segmentsTable", "engineList", "fillAllCheckBox", "completeCheckBox", "overwriteCheckBox"):
            self.enable(name, busy or self.nodes.refusal)
        self.ui.resumeButton.visible = why_not_resume is None
        self.ui.keepButton.visible = self.ui.cancelButton.visible = not self.idle or unfinished is not None
        self.ui.cancelButton.text = _("Discard") if unfinished else _("Cancel")
        self.ui.progressBar.visible = not self.idle
        self.ui.progressBar.setMaximum(PROGRESS_STEPS)
        self.ui.progressBar.setValue(round(PROGRESS_STEPS * controller.progress.fraction))
        lines = status_lines(self.logic, self.nodes, self._fill_all, unfinished)
        if self.idle and unfinished is None:
            lines += left_out_lines(self._segments, self.why_not_fill())
        lines += [*([] if self.idle else expected_dice_lines(controller)), *controller.warnings]
        self.ui.statusLabel.text = "\n".join(lines)
        self.ui.statusLabel.visible = bool(self.ui.statusLabel.text)

    @property
    def _survey(self) -> Any:
        return self.logic.annotations.survey

    @property
    def _snapshot(self) -> Any:
        return self.logic.annotations.snapshot(self.segmentation)

    def _why_not_only_this(self) -> Refusal:
        chosen = self._table.chosen
        if not chosen:
            return InputError("no_segment_clicked")
        return next(why_left_out(segment) for segment in self._segments if segment.id == chosen)

    @property
    def state_line(self) -> str:
        """State of the step in a few words."""
        parameters = self.parameters()
        state = self.logic.engines.state(parameters.engine) if parameters is not None else None
        if not self.idle:
            return _("filling")
        count = self._snapshot.review.filled
        title = state.title if state is not None else ""
        return _("{count} slices filled, {engine}").format(count=count, engine=title) if count else title

    @property
    def _fill_all(self) -> bool:
        parameters = self.parameters()
        return parameters is not None and bool(parameters.fillAll)

    @property
    def has_unfilled(self) -> bool:
        """Whether Fill would fill slices that the runs so far did not, because one was stopped early."""
        view, grid = self._snapshot.review, self._survey.grid
        if view.has_unfilled:
            return True
        # The rows are those from the first to the last painted or filled slice.
        outside = self._fill_all and grid is not None and view.axis is not None
        return outside and len(view.rows) < SliceAxis(view.axis).count(grid.geometry)

    def why_not_fill(self) -> Refusal:
        """Why Fill cannot be pressed."""
        return why_not_fill(self.logic, self.nodes, self._fill_all)

    # --- what the user does

    def _on_engine(self, name: str) -> None:
        parameters = self.parameters()
        if parameters is not None:
            parameters.engine = name

    def _on_segment_checked(self, item: Any) -> None:
        name, checked = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
        if item.column() == FILL:
            self.change_record(lambda record: record.with_segment(name, checked))
        elif item.column() == LOCKED:
            set_locked(self.segmentation.GetSegmentation().GetSegment(name), checked)
            self.repaint()

    def _on_only_this(self, checked: bool = False) -> None:
        chosen, others = self._table.chosen, [segment.id for segment in self._segments if not segment.locked]

        def change(record: AnnotationRecord) -> AnnotationRecord:
            for name in others:
                record = record.with_segment(name, name == chosen)
            return record

        self.change_record(change)

    def _on_fill(self, checked: bool = False) -> None:
        parameters = self.parameters()
        self._volumes_before = {segment.id: segment.millilitres for segment in self._segments}

        def fill() -> None:
            if ensure_engine(parameters.engine):
                self.logic.fill(parameters)

        attempt(fill)
        self.logic.engines.refresh()
        self.show_run()

    def _on_resume(self, checked: bool = False) -> None:
        attempt(self._unfinished.resume)
        self.show()

    def _on_keep(self, checked: bool = False) -> None:
        attempt(lambda: self._unfinished.cancel(keep=True))
        self.show()

    def _on_cancel(self, checked: bool = False) -> None:
        self._unfinished.cancel(keep=False)
        self.show()
