"""FillStep: step 3 of the panel, where engine and segments are chosen, and runs started, watched and ended."""

from __future__ import annotations

import time
from typing import Any

import qt
from slicer.i18n import tr as _

from ...core.axis import SliceAxis
from ..controller import State
from ..fill_words import expected_dice, status, why_not_fill, why_not_keep
from ..offer import offer
from ..scene import is_locked, set_locked
from ..unfinished import UnfinishedRun
from .engine_cards import EngineCards
from .step import Step
from .widgets import attempt, fit_height, set_check_item, set_header

PROGRESS_STEPS = 1000
MOST_ROWS = 5
# A run whose worker is just letting go of its folder is not seen at once.
LOOK_SECONDS = 0.5


class FillStep(Step):
    """Widgets of step 3."""

    def set_up(self) -> None:
        """Fill and connect the widgets, once."""
        ui = self.ui
        self._unfinished: UnfinishedRun | None = None
        self._looked = 0.0
        self._cards = EngineCards(ui.engineList, ui.engineLabel, self._on_engine)
        set_header(ui.segmentsTable, (_("Segments to fill"), _("Locked")), wide=0)
        ui.segmentsTable.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        ui.statusLabel.setMinimumWidth(1)
        ui.segmentsTable.connect("itemChanged(QTableWidgetItem*)", self._on_segment_checked)
        ui.fillButton.connect("clicked(bool)", self._on_fill)
        ui.resumeButton.connect("clicked(bool)", self._on_resume)
        ui.keepButton.connect("clicked(bool)", self._on_keep)
        ui.cancelButton.connect("clicked(bool)", self._on_cancel)

    # --- what is shown

    def show(self) -> None:
        """Show segments, engines and the run."""
        self._look_for_unfinished()
        self._show_segments()
        self.show_engines()
        self.show_run()

    def tick(self) -> None:
        """Take what was found about the engines, and look now and then whether a run was left."""
        if self.logic.engines.tick():
            self.show_engines()
        if time.monotonic() > self._looked + LOOK_SECONDS:
            before = self._unfinished
            self._look_for_unfinished()
            if self._unfinished != before:
                self.show_run()

    def show_engines(self) -> None:
        """Show the engines, and about how long the slices at hand take with each."""
        parameters, selection, grid = self.parameters(), self.selection, self.logic.survey.grid
        slices, pixels = 0, 0
        if parameters is not None and grid is not None and selection.labelled:
            count, rows, columns = SliceAxis(selection.axis or 0).shape(grid.geometry)
            reach = count if parameters.fillAll else selection.labelled[-1] - selection.labelled[0] + 1
            slices, pixels = reach - len(selection.labelled), rows * columns
        chosen = parameters.engine if parameters is not None else ""
        self._cards.show(self.logic.engines.states, chosen, slices, pixels)

    def show_run(self) -> None:
        """Show how far the run is and what may be pressed now."""
        controller, busy = self.logic.controller, self.why_busy()
        left = self._left()
        self.enable("fillButton", busy or self.why_not_fill())
        self.enable("keepButton", "" if left else why_not_keep(controller))
        self.enable("cancelButton", _("Nothing is running.") if self.idle and not left else "")
        stopped = controller.state is State.STOPPED
        self.enable("resumeButton", "" if stopped or left else _("No run was interrupted."))
        for name in ("segmentsTable", "engineList", "fillAllCheckBox", "completeCheckBox", "overwriteCheckBox"):
            self.enable(name, busy or self.why_no_input())
        self.ui.resumeButton.visible = stopped or bool(left)
        self.ui.keepButton.visible = self.ui.cancelButton.visible = not self.idle or bool(left)
        self.ui.cancelButton.text = _("Discard") if left else _("Cancel")
        self.ui.progressBar.visible = not self.idle or controller.progress.total > 0
        self.ui.progressBar.setMaximum(PROGRESS_STEPS)
        self.ui.progressBar.setValue(round(PROGRESS_STEPS * controller.progress.fraction))
        lines = [left or self._status(), *expected_dice(controller), *controller.warnings]
        self.ui.statusLabel.text = "\n".join(lines).strip()
        self.ui.statusLabel.visible = bool(self.ui.statusLabel.text)

    def _show_segments(self) -> None:
        table, node, selection = self.ui.segmentsTable, self.segmentation, self.selection
        table.blockSignals(True)
        segments = _segments(node)
        table.setRowCount(len(segments))
        for row, (name, segment) in enumerate(segments.items()):
            locked = is_locked(segment)
            reason = _("Locked: it is not filled and never changed.") if locked else ""
            set_check_item(table, row, 0, segment.GetName(), name in selection.segment_ids, name, reason)
            set_check_item(table, row, 1, "", locked, name)
        table.blockSignals(False)
        fit_height(table, MOST_ROWS)

    def _status(self) -> str:
        controller, survey = self.logic.controller, self.logic.survey
        if self.idle and survey.error is None and controller.error is None and not controller.message:
            return self.why_not_fill()
        return status(self.logic, self.volume, self.segmentation)

    def _look_for_unfinished(self) -> None:
        node = self.segmentation
        self._unfinished = self.logic.controller.unfinished(node) if node is not None and self.idle else None
        self._looked = time.monotonic()

    def _left(self) -> str:
        """That an earlier run on the segmentation was interrupted, or nothing."""
        run = self._unfinished
        if run is None or not self.idle:
            return ""
        text = _("A run with {engine} was interrupted: {done} of {total} slices are finished.")
        return text.format(engine=run.engine, done=run.done, total=run.total)

    def why_not_fill(self) -> str:
        """Why Fill cannot be pressed, or nothing."""
        parameters = self.parameters()
        fill_all = parameters is not None and parameters.fillAll
        return why_not_fill(self.logic, self.volume, self.segmentation, fill_all)

    # --- what the user does

    def _on_engine(self, name: str) -> None:
        parameters = self.parameters()
        if parameters is not None:
            parameters.engine = name

    def _on_segment_checked(self, item: Any) -> None:
        name, checked = item.data(qt.Qt.UserRole), item.checkState() == qt.Qt.Checked
        if item.column() == 0:
            self.change_record(lambda record: record.with_segment(name, checked))
        else:
            set_locked(self.segmentation.GetSegmentation().GetSegment(name), checked)
            self.repaint()

    def _on_fill(self, checked: bool = False) -> None:
        parameters = self.parameters()
        attempt(lambda: offer(parameters.engine) and self.logic.fill(parameters))
        self.logic.engines.refresh()
        self.show_run()

    def _on_resume(self, checked: bool = False) -> None:
        controller = self.logic.controller
        if self._left():
            attempt(lambda: controller.resume_unfinished(self.segmentation, self.volume))
        else:
            controller.resume()
        self.show()

    def _on_keep(self, checked: bool = False) -> None:
        if self._left():
            attempt(lambda: self.logic.controller.keep_unfinished(self.segmentation, self.volume))
        else:
            self.logic.cancel(keep=True)
        self.show()

    def _on_cancel(self, checked: bool = False) -> None:
        if self._left():
            self.logic.controller.discard_unfinished(self.segmentation)
        else:
            self.logic.cancel(keep=False)
        self.show()


def _segments(node: Any) -> dict[str, Any]:
    """Segment id -> segment, in the segmentation's order."""
    if node is None:
        return {}
    segmentation = node.GetSegmentation()
    return {name: segmentation.GetSegment(name) for name in segmentation.GetSegmentIDs()}
