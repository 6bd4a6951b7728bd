"""SettingsSection: the part of the panel for settings of all scenes: device, folder, licences, log, bug report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import qt
import slicer

from ...core.data_folder import data_folder
from ...core.errors import InputError
from ...core.job import Device
from ...core.python_executable import python_executable
from ...core.storage import require_writable_folder
from ...jobs.worker_description import WorkerDescription
from ..diagnostics.bug_report import bug_report, describe_worker
from ..diagnostics.run_log import RunLog
from ..diagnostics.unexpected_errors import as_input_error
from ..engines.downloaded_weights import DownloadedWeights, delete, format_size, list_downloaded_weights
from ..fill.run_store import RunStore, StoredRun
from ..i18n import tr as _
from ..messages import error_text
from ..settings import LogLevel, Settings
from ..tasks import BackgroundTasks
from .widgets import (
    Controls,
    as_tool_tip,
    body_layout,
    combo_box,
    fit_height,
    row_layout,
    select_data,
    select_rows,
    set_header,
    set_text_item,
    show_error,
    text_label,
)

_MAX_ROWS = 4
# Interval at which the data folder is listed again: downloads and runs change it.
_REFRESH_SECONDS = 1.0


def _devices() -> dict[Device, str]:
    return {
        Device.AUTO: _("Automatic"),
        Device.CPU: _("Processor"),
        Device.CUDA: _("NVIDIA GPU (cuda)"),
        Device.MPS: _("Apple GPU (mps)"),
    }


def _levels() -> dict[LogLevel, str]:
    return {
        LogLevel.ERRORS: _("Errors only"),
        LogLevel.RUNS: _("Runs and errors"),
    }


class SettingsSection:
    """Widgets of the settings. A change takes effect at once, for all runs and processes started afterwards.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    settings : Settings
    log : RunLog
    """

    def __init__(self, parent: Any, settings: Settings, log: RunLog) -> None:
        self._settings = settings
        self._log = log
        self._tasks: BackgroundTasks | None = None  # while details for a bug report are collected
        self._weights: tuple[DownloadedWeights, ...] = ()
        self._runs: list[StoredRun] = []
        self._consents: dict[str, str] = {}
        self._refresh_at = 0.0
        self._status = ""
        self._controls = Controls()
        self._build(parent)
        self._apply()
        self.show()

    @property
    def busy(self) -> bool:
        """Whether details for a bug report are being collected."""
        return self._tasks is not None

    def poll(self) -> None:
        """Copy the details once they are collected; called by the panel's timer."""
        if self._tasks is None:
            return
        try:
            self._tasks.poll()
        except Exception as error:
            refusal = as_input_error(error)
            self._log.error(refusal.code)
            self._copy(refusal)

    def show_controls(self) -> None:
        """List downloads again at intervals; called by the panel's timer while the section is open."""
        if self._body.visible and time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_SECONDS
            here = list_downloaded_weights(), RunStore().interrupted(), self._settings.consents
            if here != (self._weights, self._runs, self._consents):
                self.show()

    def reset(self) -> None:
        """Clear the status, before the scene is closed; settings do not belong to a scene."""
        self._status = ""
        self.show()

    def close(self) -> None:
        """End the thread."""
        if self._tasks is not None:
            self._tasks.close()
            self._tasks = None

    # --- widgets

    def _build(self, parent: Any) -> None:
        form = body_layout(parent, qt.QFormLayout)
        self._body = form.parentWidget()
        tip = _("Device of engines that have a choice; the others choose it themselves.")
        self.device_box = combo_box(_devices(), tip)
        form.addRow(_("Device:"), self.device_box)
        self.threads_box = qt.QSpinBox()
        self.threads_box.maximum = os.cpu_count() or 1
        self.threads_box.specialValueText = _("Automatic")
        self.threads_box.toolTip = _("Processor cores that a fill may use at most.")
        form.addRow(_("Threads:"), self.threads_box)
        self.folder_edit = qt.QLineEdit()
        self.folder_edit.readOnly = True
        form.addRow(_("Data folder:"), self.folder_edit)
        self.folder_button = qt.QPushButton(_("Choose..."))
        self.folder_button.toolTip = _("Folder for weights, runs and the log. Files in the old folder are not moved.")
        self.default_button = qt.QPushButton(_("Default"))
        form.addRow("", row_layout(self.folder_button, self.default_button))
        self.delete_button = qt.QPushButton()
        form.addRow(_("Weights:"), self.delete_button)
        self.delete_runs_button = qt.QPushButton()
        form.addRow(_("Runs:"), self.delete_runs_button)
        self.consents_table = qt.QTableWidget()
        select_rows(self.consents_table, qt.QAbstractItemView.SingleSelection)
        set_header(self.consents_table, (_("Licence agreed to for"), _("Licence")), wide=0)
        form.addRow(self.consents_table)
        self.revoke_button = qt.QPushButton(_("Withdraw"))
        form.addRow("", self.revoke_button)
        tip = _("The log holds engines, numbers and error codes, and nothing of a patient.")
        self.level_box = combo_box(_levels(), tip)
        form.addRow(_("Log:"), self.level_box)
        self.log_edit = qt.QLineEdit()
        self.log_edit.readOnly = True
        form.addRow(_("Log file:"), self.log_edit)
        self.copy_button = qt.QPushButton(_("Copy details"))
        form.addRow(_("Bug report:"), self.copy_button)
        self.status_label = text_label()
        form.addRow(self.status_label)
        self.device_box.connect("currentIndexChanged(int)", self._on_device)
        self.threads_box.connect("valueChanged(int)", self._on_threads)
        self.folder_button.connect("clicked(bool)", self._on_folder)
        self.default_button.connect("clicked(bool)", self._on_default)
        self.delete_button.connect("clicked(bool)", self._on_delete)
        self.delete_runs_button.connect("clicked(bool)", self._on_delete_runs)
        self.consents_table.connect("itemSelectionChanged()", self._show_buttons)
        self.revoke_button.connect("clicked(bool)", self._on_revoke)
        self.level_box.connect("currentIndexChanged(int)", self._on_level)
        self.copy_button.connect("clicked(bool)", self._on_copy)

    # --- what is shown

    def show(self) -> None:
        """Show the settings and the contents of the data folder."""
        settings = self._settings
        select_data(self.device_box, str(settings.device))
        select_data(self.level_box, str(settings.log_level))
        self.threads_box.blockSignals(True)
        self.threads_box.value = settings.threads
        self.threads_box.blockSignals(False)
        _show_path(self.folder_edit, data_folder())
        _show_path(self.log_edit, self._log.path)
        consents = self._consents = settings.consents
        self.consents_table.visible = bool(consents)
        self.revoke_button.visible = bool(consents)
        self.consents_table.setRowCount(len(consents))
        for row, (name, licence) in enumerate(consents.items()):
            set_text_item(self.consents_table, row, 0, name)
            set_text_item(self.consents_table, row, 1, licence)
        self.consents_table.resizeColumnToContents(1)
        fit_height(self.consents_table, _MAX_ROWS)
        self._weights, self._runs = list_downloaded_weights(), RunStore().interrupted()
        self.status_label.text = self._status
        self._show_buttons()

    def _show_buttons(self) -> None:
        size = sum(weight.size for weight in self._weights)
        self.delete_button.text = _("Delete downloaded weights ({size})").format(size=format_size(size))
        # As HTML: Slicer's application joins the lines of plain tool tips.
        listed = "<br>".join(f"{weight.checkpoint.name}: {format_size(weight.size)}" for weight in self._weights)
        self._controls.enable(
            self.delete_button, None if self._weights else InputError("no_weights_downloaded"), listed
        )
        runs = _("Delete interrupted runs ({size})").format(size=format_size(_size(self._runs)))
        self.delete_runs_button.text = runs
        tip = _("Runs that were interrupted and can be resumed; each holds a copy of its images.")
        self._controls.enable(self.delete_runs_button, None if self._runs else InputError("no_interrupted_run"), tip)
        usual = InputError("usual_folder") if self._settings.data_folder is None else None
        self._controls.enable(self.default_button, usual, _("Use the default folder again."))
        row = None if self._chosen_consent() else InputError("no_licence_clicked")
        self._controls.enable(self.revoke_button, row, _("Withdraw your agreement, and delete these weights."))
        busy = InputError("details_being_gathered") if self.busy else None
        tip = _("Copy versions, computer, engines and settings for a bug report; nothing of a patient, no names.")
        self._controls.enable(self.copy_button, busy, tip)

    def _chosen_consent(self) -> str:
        rows = self.consents_table.selectionModel().selectedRows()
        return self.consents_table.item(rows[0].row(), 0).text() if rows else ""

    def _show_status(self, text: str) -> None:
        self._status = text
        self.show()

    def _apply(self) -> None:
        self._settings.apply()
        self._log.open()

    # --- what the user does

    def _on_device(self, *_row: object) -> None:
        self._settings.device = Device(self.device_box.currentData)

    def _on_threads(self, count: int) -> None:
        self._settings.threads = count
        self._apply()

    def _on_level(self, *_row: object) -> None:
        self._settings.log_level = LogLevel(self.level_box.currentData)
        self._apply()

    def _on_folder(self, checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self._body, _("Folder for weights, runs and the log"))
        if not folder:
            return
        try:
            require_writable_folder(Path(folder))
        except InputError as error:
            show_error(error)
            return
        self._settings.data_folder = Path(folder)
        self._apply()
        self._show_status("")

    def _on_default(self, checked: bool = False) -> None:
        self._settings.data_folder = None
        self._apply()
        self._show_status("")

    def _on_delete(self, checked: bool = False) -> None:
        size = format_size(sum(weight.size for weight in self._weights))
        names = ", ".join(weight.checkpoint.name for weight in self._weights)
        question = _("Delete {names} ({size})? Engines that need them ask for a download again.")
        if slicer.util.confirmOkCancelDisplay(question.format(names=names, size=size)):
            self._delete(self._weights, _("Deleted {size}.").format(size=size))

    def _on_delete_runs(self, checked: bool = False) -> None:
        store, before = RunStore(), _size(self._runs)
        question = _("Delete {count} interrupted runs ({size})? They cannot be resumed afterwards.")
        if slicer.util.confirmOkCancelDisplay(question.format(count=len(self._runs), size=format_size(before))):
            for run in self._runs:
                store.delete(run.run_id)
            self._show_status(_("Deleted {size}.").format(size=format_size(before - _size(store.interrupted()))))

    def _on_revoke(self, checked: bool = False) -> None:
        name = self._chosen_consent()
        weights = tuple(weight for weight in self._weights if weight.checkpoint.name == name)
        question = _("Withdraw your agreement to the licence of {name}? Its weights are deleted ({size}).")
        size = format_size(sum(weight.size for weight in weights))
        if slicer.util.confirmOkCancelDisplay(question.format(name=name, size=size)):
            self._settings.remove_consent(name)
            self._delete(weights, _("The agreement to the licence of {name} was withdrawn.").format(name=name))

    def _delete(self, weights: tuple[DownloadedWeights, ...], message: str) -> None:
        try:
            delete(weights)
        except InputError as error:
            show_error(error)
            message = ""
        self._show_status(message)

    def _on_copy(self, checked: bool = False) -> None:
        self._tasks = BackgroundTasks("Details")
        self._tasks.start(lambda: describe_worker(python_executable()), self._copy)
        self._show_status(_("Gathering details ..."))

    def _copy(self, worker: WorkerDescription | InputError) -> None:
        """Copy the details to the clipboard, or the reason why those of the worker are missing."""
        self.close()
        application = f"{slicer.app.applicationName} {slicer.app.applicationVersion}"
        text = bug_report(application, worker, self._settings, self._log.errors)
        qt.QApplication.clipboard().setText(text)
        lacking = "" if isinstance(worker, WorkerDescription) else error_text(worker)
        self._show_status(
            "\n".join([_("The details are on the clipboard; paste them into the report."), lacking]).strip()
        )


def _size(runs: list[StoredRun]) -> int:
    """Size of all runs in bytes."""
    return sum(run.size for run in runs)


def _show_path(edit: Any, path: Path | None) -> None:
    edit.text = _("none: it cannot be written") if path is None else str(path)
    edit.toolTip = as_tool_tip(edit.text)
