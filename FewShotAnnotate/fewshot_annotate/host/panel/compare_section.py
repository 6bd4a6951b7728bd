"""CompareSection: the part of the panel where engines are compared on the painted slices, and one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import qt
import slicer

from ...core.errors import InputError
from ...evaluation.design import TrialDesign, parse_sizes
from ...evaluation.report.page import missing_packages
from ...evaluation.results import UnscoredEngine
from ..comparison.controller import CompareController, CompareSettings, CompareState
from ..engines.installation import install_packages
from ..engines.state import EngineState
from ..i18n import tr as _
from ..messages import Refusal, error_text
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.views import show_chart
from ..sentences.details import duration
from .comparison_table import ComparisonTable
from .engine_checklist import EngineChecklist
from .widgets import (
    Controls,
    attempt,
    body_layout,
    row_layout,
    text_label,
)

_PROGRESS_STEPS = 1000


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
        This section shows its changes from now on.
    nodes : function
        Returns the ChosenNodes.
    choose_engine : function
        Called with the name of the engine that the user chooses.
    engine_states : function
        Returns the EngineState of every engine whose state is known so far.
    complete : function
        Returns whether painted slices are complete, as set by the user.
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
        self._report_requested = False
        self._controls = Controls()
        self._build(parent)
        controller.changed.connect(self.show)
        self.show()

    @property
    def busy(self) -> bool:
        """Whether a comparison is under way, whose end `poll` reports."""
        return self._controller.busy

    def poll(self) -> None:
        """Update what is shown; called by the panel's timer."""
        self._controller.poll()

    def show_controls(self) -> None:
        """Show the engines and what may be pressed now; called by the panel's timer while the section is open."""
        self.checklist.show(self._engine_states())
        self._show_buttons()

    def reset(self) -> None:
        """End a comparison and clear its result, because the scene or the module is about to be closed."""
        self._report_requested = False
        self._controller.reset()
        self.show()

    # --- widgets

    def _build(self, parent: Any) -> None:
        form = body_layout(parent, qt.QFormLayout)
        self.checklist = EngineChecklist(self._show_buttons)
        self.engines_table = self.checklist.widget
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
        self.results = ComparisonTable(self._show_buttons)
        self.result_table = self.results.widget
        form.addRow(self.result_table)
        self.use_button = qt.QPushButton(_("Use this engine"))
        self.plot_button = qt.QPushButton(_("Show plot"))
        self.report_button = qt.QPushButton(_("Open report"))
        form.addRow(row_layout(self.use_button, self.plot_button, self.report_button))
        self.compare_button.connect("clicked(bool)", self._on_compare)
        self.cancel_button.connect("clicked(bool)", self._on_cancel)
        self.use_button.connect("clicked(bool)", self._on_use)
        self.plot_button.connect("clicked(bool)", self._on_plot)
        self.report_button.connect("clicked(bool)", self._on_report)

    # --- what is shown

    def show(self) -> None:
        """Show the controller's state."""
        controller = self._controller
        self.checklist.show(self._engine_states())
        self.progress_bar.visible = controller.busy
        self.progress_bar.value = round(_PROGRESS_STEPS * controller.progress.fraction)
        self.results.show(controller.summary)
        self.status_label.text = self._status()
        self._show_buttons()
        if self._report_requested and not controller.busy:
            self._report_requested = False
            self._open_report()

    def _show_buttons(self) -> None:
        controller = self._controller
        busy = InputError("comparison_under_way") if controller.busy else None
        self._controls.enable(self.engines_table, busy, _("Tick the engines to compare."))
        tip = _("How many painted slices the engines are shown, such as 2, 4, 8.")
        self._controls.enable(self.sizes_edit, busy, tip)
        self._controls.enable(
            self.design_box, busy, _("More hidden slices take longer and give more reliable figures.")
        )
        tip = _("Hide some of the painted slices, let each engine fill them from others, and compare.")
        self._controls.enable(self.compare_button, busy or self._why_not_compare(), tip)
        idle = None if controller.busy else InputError("no_comparison_under_way")
        self._controls.enable(self.cancel_button, idle, _("Stop; nothing is kept."))
        nothing = None if controller.summary is not None else InputError("nothing_compared")
        selected = None if self.results.engine is not None else InputError("no_engine_clicked")
        self._controls.enable(self.use_button, busy or nothing or selected, _("Fill with this engine from now on."))
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
        if not self.checklist.has_engines:
            return InputError("engines_being_read")
        if not self.checklist.checked:
            return InputError("no_engine_ticked")
        return self._why_not_now()

    # --- what the user does

    def _on_compare(self, checked: bool = False) -> None:
        attempt(self._start)

    def _start(self) -> None:
        sizes = parse_sizes(self.sizes_edit.text.strip() or None)
        design = replace(_designs()[self.design_box.currentIndex][1], sizes=sizes)
        self._controller.start(self._nodes(), CompareSettings(self.checklist.checked, design, self._complete()))

    def _on_cancel(self, checked: bool = False) -> None:
        self._controller.cancel()

    def _on_use(self, checked: bool = False) -> None:
        if self.results.engine is not None:
            self._choose_engine(self.results.engine)

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


def _unscored_text(unscored: UnscoredEngine) -> str:
    text = _("{engine} failed: {reason}") if unscored.started else _("{engine} was not compared: {reason}")
    return text.format(engine=unscored.engine, reason=error_text(unscored.content))
