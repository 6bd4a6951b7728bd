"""CompareSection: the part of the panel where engines are tried on the painted slices, and the best one is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import qt
import slicer

from ...core.errors import InputError
from ...evaluation.design import TrialDesign
from ...evaluation.report.page import missing_packages
from ...evaluation.results import UnscoredEngine
from ...evaluation.scores import EngineScore
from ...evaluation.summary import Summary
from ..chosen_nodes import ChosenNodes
from ..compare_controller import CompareController, CompareSettings, CompareState
from ..fill.engine_setup import install_packages
from ..fill.engine_state import AUTO, EngineState, Readiness
from ..i18n import tr as _
from ..messages import Refusal, error_text
from ..mrml.views import show_chart
from ..names import engine_summary
from .widgets import (
    Controls,
    attempt,
    body_layout,
    duration,
    fit_height,
    row_layout,
    select_row,
    select_rows,
    set_header,
    set_text_item,
    text_label,
)

_PROGRESS_STEPS = 1000
_MAX_ROWS = 6


def _designs() -> tuple[tuple[str, TrialDesign], ...]:
    return (
        (_("Quick: up to 6 slices hidden, once"), TrialDesign(draws=1, held_out=6)),
        (_("Thorough: up to 16 slices hidden, three times"), TrialDesign()),
    )


class CompareSection:
    """Widgets of the comparison of engines.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    controller : CompareController
        Tells this section of its changes from now on.
    nodes : function
        Returns the ChosenNodes.
    choose_engine : function
        Called with the name of the engine that the user takes.
    engine_states : function
        Returns the EngineState of every engine, as far as they are known by now.
    complete : function
        Whether painted slices show all that is there.
    why_not_now : function
        Returns why no comparison may be started at the moment.
    """

    def __init__(
        self,
        parent: Any,
        controller: CompareController,
        nodes: Callable[[], ChosenNodes],
        choose_engine: Callable[[str], object],
        engine_states: Callable[[], Sequence[EngineState]],
        complete: Callable[[], bool] = lambda: True,
        why_not_now: Callable[[], Refusal] = lambda: None,
    ) -> None:
        self._controller = controller
        self._nodes = nodes
        self._choose_engine = choose_engine
        self._engine_states = engine_states
        self._complete = complete
        self._why_not_now = why_not_now
        self._listed: tuple[EngineState, ...] = ()
        self._shown: Summary | None = None
        self._report_requested = False
        self._controls = Controls()
        self._build(parent)
        controller.changed.connect(self.show)
        self.show()

    @property
    def busy(self) -> bool:
        """Whether a comparison is under way whose end `poll` has to notice."""
        return self._controller.busy

    def poll(self) -> None:
        """Bring what is shown up to date; the panel's timer calls it."""
        self._controller.poll()

    def show_controls(self) -> None:
        """Show the engines and what may be pressed now; called by the panel's timer while the section is open."""
        self._show_engines()
        self._show_buttons()

    def reset(self) -> None:
        """End a comparison and clear its result, because the scene is about to be closed, or the module."""
        self._report_requested = False
        self._controller.reset()
        self.show()

    # --- widgets

    def _build(self, parent: Any) -> None:
        form = body_layout(parent, qt.QFormLayout)
        self.engines_table = qt.QTableWidget()
        set_header(self.engines_table, (_("Engine"), _("State")), wide=1)
        form.addRow(self.engines_table)
        self.sizes_edit = qt.QLineEdit()
        self.sizes_edit.placeholderText = _("1, 2, 4, 8 ... and all")
        form.addRow(_("Painted slices:"), self.sizes_edit)
        self.design_box = qt.QComboBox()
        self.design_box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        self.design_box.minimumContentsLength = 12
        for title, _design in _designs():
            self.design_box.addItem(title)
        form.addRow(_("Effort:"), self.design_box)
        self.compare_button = qt.QPushButton(_("Compare"))
        self.cancel_button = qt.QPushButton(_("Cancel"))
        form.addRow(row_layout(self.compare_button, self.cancel_button))
        self.progress_bar = qt.QProgressBar()
        self.progress_bar.maximum = _PROGRESS_STEPS
        form.addRow(self.progress_bar)
        self.status_label = text_label()
        form.addRow(self.status_label)
        self.result_table = qt.QTableWidget()
        self.result_table.visible = False
        select_rows(self.result_table, qt.QAbstractItemView.SingleSelection)
        form.addRow(self.result_table)
        self.use_button = qt.QPushButton(_("Use this engine"))
        self.plot_button = qt.QPushButton(_("Show plot"))
        self.report_button = qt.QPushButton(_("Open report"))
        form.addRow(row_layout(self.use_button, self.plot_button, self.report_button))
        self.engines_table.connect("itemChanged(QTableWidgetItem*)", self._on_changed)
        self.result_table.connect("itemSelectionChanged()", self._show_buttons)
        self.compare_button.connect("clicked(bool)", self._on_compare)
        self.cancel_button.connect("clicked(bool)", self._on_cancel)
        self.use_button.connect("clicked(bool)", self._on_use)
        self.plot_button.connect("clicked(bool)", self._on_plot)
        self.report_button.connect("clicked(bool)", self._on_report)

    # --- what is shown

    def show(self) -> None:
        """Show the controller's state."""
        controller = self._controller
        self._show_engines()
        self.progress_bar.visible = controller.busy
        self.progress_bar.value = round(_PROGRESS_STEPS * controller.progress.fraction)
        self._show_result()
        self.status_label.text = self._status()
        self._show_buttons()
        if self._report_requested and not controller.busy:
            self._report_requested = False
            self._open_report()

    def _show_engines(self) -> None:
        states = tuple(state for state in self._engine_states() if state.name != AUTO)
        if states == self._listed:
            return
        chosen = self._checked()
        were_ready = {state.name for state in self._listed if state.readiness is Readiness.READY}
        self._listed = states
        table = self.engines_table
        table.blockSignals(True)
        table.setRowCount(len(states))
        for row, state in enumerate(states):
            ready = state.readiness is Readiness.READY
            set_text_item(table, row, 0, state.name)
            set_text_item(table, row, 1, _("ready") if ready else _reason(state))
            item = table.item(row, 0)
            item.setToolTip(f"{state.title}\n{engine_summary(state.engine)}")
            item.setFlags((qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled) if ready else qt.Qt.NoItemFlags)
            checked = ready and (state.name in chosen or state.name not in were_ready)
            item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        table.resizeColumnToContents(0)
        fit_height(table, _MAX_ROWS)
        table.blockSignals(False)

    def _show_result(self) -> None:
        summary, table = self._controller.summary, self.result_table
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

    def _show_buttons(self, *_values: object) -> None:
        controller = self._controller
        busy = InputError("comparison_under_way") if controller.busy else None
        self._controls.enable(self.engines_table, busy, _("Tick the engines to compare."))
        tip = _("How many painted slices the engines are shown, such as 2, 4, 8.")
        self._controls.enable(self.sizes_edit, busy, tip)
        self._controls.enable(self.design_box, busy, _("More hidden slices take longer and tell more."))
        tip = _("Hide some of the painted slices, let each engine fill them from others, and compare.")
        self._controls.enable(self.compare_button, busy or self._why_not_compare(), tip)
        idle = None if controller.busy else InputError("no_comparison_under_way")
        self._controls.enable(self.cancel_button, idle, _("Stop; nothing is kept."))
        nothing = None if controller.summary is not None else InputError("nothing_compared")
        row = None if self._chosen_row() >= 0 else InputError("no_engine_clicked")
        self._controls.enable(self.use_button, busy or nothing or row, _("Fill with this engine from now on."))
        plot = None if controller.chart_node is not None else InputError("plot_removed")
        self._controls.enable(
            self.plot_button, busy or nothing or plot, _("Show Dice against painted slices in Slicer's plot view.")
        )
        tip = _("Figures, and pictures of the best and the worst slices, in the web browser.")
        self._controls.enable(self.report_button, busy or nothing, tip)

    def _status(self) -> str:
        controller = self._controller
        match controller.state:
            case CompareState.PREPARING:
                return _("Preparing ...")
            case CompareState.RUNNING:
                return self._progress_text()
            case CompareState.CANCELLED:
                return _("Cancelled.")
            case CompareState.FAILED:
                return error_text(controller.error) if controller.error is not None else controller.message
            case CompareState.DONE if controller.summary is not None:
                return "\n".join(
                    [*map(error_text, controller.summary.reasons), *map(_unscored_text, controller.summary.unscored)]
                )
        return _("Which engine suits these images? Tried on slices that you painted, each hidden in turn.")

    def _progress_text(self) -> str:
        progress = self._controller.progress
        if self._report_requested:
            return _("Writing the report ...")
        if not progress.total:
            return _("Starting ...")
        number = min(progress.done + 1, progress.total)
        text = _("Trial {number} of {total}").format(number=number, total=progress.total)
        if progress.eta is None:
            return text
        return _("{text}, {duration} left").format(text=text, duration=duration(progress.eta))

    def _why_not_compare(self) -> Refusal:
        nodes = self._nodes()
        if not nodes.complete:
            return nodes.refusal
        if not self._listed:
            return InputError("engines_being_read")
        if not self._checked():
            return InputError("no_engine_ticked")
        return self._why_not_now()

    def _checked(self) -> tuple[str, ...]:
        items = (self.engines_table.item(row, 0) for row in range(self.engines_table.rowCount))
        return tuple(item.text() for item in items if item.checkState() == qt.Qt.Checked)

    def _chosen_row(self) -> int:
        rows = self.result_table.selectionModel().selectedRows()
        return rows[0].row() if rows else -1

    # --- what the user does

    def _on_changed(self, _item: Any) -> None:
        self._show_buttons()

    def _on_compare(self, checked: bool = False) -> None:
        attempt(self._start)

    def _start(self) -> None:
        design = replace(_designs()[self.design_box.currentIndex][1], sizes=_sizes(self.sizes_edit.text))
        self._controller.start(self._nodes(), CompareSettings(self._checked(), design, self._complete()))

    def _on_cancel(self, checked: bool = False) -> None:
        self._controller.cancel()

    def _on_use(self, checked: bool = False) -> None:
        self._choose_engine(self.result_table.item(self._chosen_row(), 0).text())

    def _on_plot(self, checked: bool = False) -> None:
        show_chart(self._controller.chart_node, slicer.app.applicationLogic())

    def _on_report(self, checked: bool = False) -> None:
        """Open the report; where packages for it are missing, offer them, and write it once they are there."""
        if self._controller.report_path is not None:
            self._open_report()
            return
        attempt(self._write_report)

    def _write_report(self) -> None:
        if install_packages(missing_packages()):
            self._report_requested = True
            self._controller.write_report()

    def _open_report(self) -> None:
        path = self._controller.report_path
        if path is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))


def _reason(state: EngineState) -> str:
    texts = {
        Readiness.NEEDS_DOWNLOAD: _("needs a download: choose it under Fill first"),
        Readiness.NEEDS_INSTALL: _("needs an installation: choose it under Fill first"),
    }
    return texts.get(state.readiness, "" if state.reason is None else error_text(state.reason))


def _unscored_text(unscored: UnscoredEngine) -> str:
    text = _("{engine} failed: {reason}") if unscored.started else _("{engine} was not compared: {reason}")
    return text.format(engine=unscored.engine, reason=error_text(unscored.content))


def _dice(point: EngineScore) -> str:
    return f"{point.dice:.3f}"


def _time(point: EngineScore) -> str:
    start = _("{seconds:.1f} s").format(seconds=point.start_seconds)
    if not point.slice_seconds:  # not known where each trial fills one slice
        return start
    return _("{start} + {seconds:.2g} s a slice").format(start=start, seconds=point.slice_seconds)


def _sizes(text: str) -> tuple[int, ...]:
    """Support sizes that a text names; InputError if it names none."""
    try:
        return tuple(int(number) for number in text.replace(";", ",").split(",")) if text.strip() else ()
    except ValueError:
        raise InputError("slices_malformed", text=text) from None
