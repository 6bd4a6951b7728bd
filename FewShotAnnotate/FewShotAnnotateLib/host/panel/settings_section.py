"""SettingsSection: the part of the panel for what is decided once: device, folder, licences, log, bug report."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...core.errors import InputError
from ...core.job import Device
from ...run.describe import Description
from ..background import Background
from ..bug_report import bug_report, describe_worker
from ..dependencies import worker_python
from ..downloaded import Downloaded, delete, downloaded, size_text
from ..run_log import RunLog
from ..run_store import LeftRun, RunStore, user_data_folder
from ..settings import LogLevel, Settings
from .widgets import (
    body_layout,
    choose,
    combo,
    enable,
    fit_height,
    line,
    note,
    select_rows,
    sentence,
    set_header,
    set_text_item,
    tell,
)

_MOST_ROWS = 4
# Weights and runs come and go while engines are tried; so often it is looked what is there.
_LOOK_SECONDS = 1.0


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
        LogLevel.DETAILS: _("Everything"),
    }


class SettingsSection:
    """Widgets of the settings. They take effect at once, for what is started from then on.

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
        self._describing: Future[Description] | None = None
        self._background: Background | None = None
        self._weights: tuple[Downloaded, ...] = ()
        self._runs: list[LeftRun] = []
        self._consents: dict[str, str] = {}
        self._look_at = 0.0
        self._status = ""
        self._build(parent)
        self._apply()
        self.show()

    @property
    def busy(self) -> bool:
        """Whether details are being gathered."""
        return self._describing is not None

    def tick(self) -> None:
        """Copy the details once they are gathered, and see what was downloaded; the panel's timer calls it."""
        if self._body.visible and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            here = downloaded(), RunStore().left(), self._settings.consents
            if here != (self._weights, self._runs, self._consents):
                self.show()
        describing = self._describing
        if describing is None or self._background is None:
            return
        self._background.give_turn()
        if describing.done():
            self._describing = self._background = None
            self._copy(describing)

    def forget(self) -> None:
        """The scene is about to be closed: settings are not of the scene."""
        self._status = ""
        self.show()

    # --- widgets

    def _build(self, parent: Any) -> None:
        form = body_layout(parent, qt.QFormLayout)
        self._body = form.parentWidget()
        tip = _("Where engines compute that have a choice; the others choose themselves.")
        self.device_box = combo(_devices(), tip)
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
        self.folder_button.toolTip = _("Where weights, runs and the log go. What is in the old folder is not moved.")
        self.usual_button = qt.QPushButton(_("Usual"))
        form.addRow("", line(self.folder_button, self.usual_button))
        self.delete_button = qt.QPushButton()
        form.addRow(_("Weights:"), self.delete_button)
        self.delete_runs_button = qt.QPushButton()
        form.addRow(_("Left runs:"), self.delete_runs_button)
        self.consents_table = qt.QTableWidget()
        select_rows(self.consents_table, qt.QAbstractItemView.SingleSelection)
        set_header(self.consents_table, (_("Licence agreed to for"), _("Licence")), wide=0)
        form.addRow(self.consents_table)
        self.revoke_button = qt.QPushButton(_("Take back"))
        form.addRow("", self.revoke_button)
        tip = _("The log holds engines, numbers and error codes, and nothing of a patient.")
        self.level_box = combo(_levels(), tip)
        form.addRow(_("Log:"), self.level_box)
        self.log_edit = qt.QLineEdit()
        self.log_edit.readOnly = True
        form.addRow(_("Log file:"), self.log_edit)
        self.copy_button = qt.QPushButton(_("Copy details"))
        form.addRow(_("Bug report:"), self.copy_button)
        self.status_label = note()
        form.addRow(self.status_label)
        self.device_box.connect("currentIndexChanged(int)", self._on_device)
        self.threads_box.connect("valueChanged(int)", self._on_threads)
        self.folder_button.connect("clicked(bool)", self._on_folder)
        self.usual_button.connect("clicked(bool)", self._on_usual)
        self.delete_button.connect("clicked(bool)", self._on_delete)
        self.delete_runs_button.connect("clicked(bool)", self._on_delete_runs)
        self.consents_table.connect("itemSelectionChanged()", self._show_buttons)
        self.revoke_button.connect("clicked(bool)", self._on_revoke)
        self.level_box.connect("currentIndexChanged(int)", self._on_level)
        self.copy_button.connect("clicked(bool)", self._on_copy)

    # --- what is shown

    def show(self) -> None:
        """Show the settings and what lies in the data folder."""
        settings = self._settings
        choose(self.device_box, str(settings.device))
        choose(self.level_box, str(settings.log_level))
        self.threads_box.blockSignals(True)
        self.threads_box.value = settings.threads
        self.threads_box.blockSignals(False)
        _show_path(self.folder_edit, user_data_folder())
        _show_path(self.log_edit, self._log.path)
        consents = self._consents = settings.consents
        self.consents_table.visible = bool(consents)
        self.revoke_button.visible = bool(consents)
        self.consents_table.setRowCount(len(consents))
        for row, (name, licence) in enumerate(consents.items()):
            set_text_item(self.consents_table, row, 0, name)
            set_text_item(self.consents_table, row, 1, licence)
        self.consents_table.resizeColumnToContents(1)
        fit_height(self.consents_table, _MOST_ROWS)
        self._weights, self._runs = downloaded(), RunStore().left()
        self.status_label.text = self._status
        self._show_buttons()

    def _show_buttons(self) -> None:
        size = sum(one.size for one in self._weights)
        self.delete_button.text = _("Delete downloaded weights ({size})").format(size=size_text(size))
        listed = "\n".join(f"{one.checkpoint.name}: {size_text(one.size)}" for one in self._weights)
        enable(self.delete_button, "" if self._weights else _("No weights were downloaded."), listed)
        runs = _("Delete left runs ({size})").format(size=size_text(_size(self._runs)))
        self.delete_runs_button.text = runs
        tip = _("Runs that were interrupted and can be resumed; each holds a copy of its images.")
        enable(self.delete_runs_button, "" if self._runs else _("No run was interrupted."), tip)
        usual = _("This is the usual folder.") if self._settings.data_folder is None else ""
        enable(self.usual_button, usual, _("Go back to the usual folder."))
        row = "" if self._chosen_consent() else _("Click a licence first.")
        enable(self.revoke_button, row, _("Agree no longer, and delete these weights."))
        busy = _("The details are being gathered.") if self.busy else ""
        tip = _("Copy versions, computer, engines and settings for a bug report; nothing of a patient, no names.")
        enable(self.copy_button, busy, tip)

    def _chosen_consent(self) -> str:
        rows = self.consents_table.selectionModel().selectedRows()
        return self.consents_table.item(rows[0].row(), 0).text() if rows else ""

    def _say(self, text: str) -> None:
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
        if folder:
            self._settings.data_folder = Path(folder)
            self._apply()
            self._say("")

    def _on_usual(self, checked: bool = False) -> None:
        self._settings.data_folder = None
        self._apply()
        self._say("")

    def _on_delete(self, checked: bool = False) -> None:
        size = size_text(sum(one.size for one in self._weights))
        names = ", ".join(one.checkpoint.name for one in self._weights)
        question = _("Delete {names} ({size})? Engines that need them ask for a download again.")
        if slicer.util.confirmOkCancelDisplay(question.format(names=names, size=size)):
            self._delete(self._weights, _("Deleted {size}.").format(size=size))

    def _on_delete_runs(self, checked: bool = False) -> None:
        store, before = RunStore(), _size(self._runs)
        question = _("Delete {count} interrupted runs ({size})? They can't be resumed afterwards.")
        if slicer.util.confirmOkCancelDisplay(question.format(count=len(self._runs), size=size_text(before))):
            for run in self._runs:
                store.delete(run.run_id)
            self._say(_("Deleted {size}.").format(size=size_text(before - _size(store.left()))))

    def _on_revoke(self, checked: bool = False) -> None:
        name = self._chosen_consent()
        theirs = tuple(one for one in self._weights if one.checkpoint.name == name)
        question = _("Agree no longer to the licence of {name}? Its weights are deleted ({size}).")
        size = size_text(sum(one.size for one in theirs))
        if slicer.util.confirmOkCancelDisplay(question.format(name=name, size=size)):
            self._settings.revoke(name)
            self._delete(theirs, _("The agreement to the licence of {name} was taken back.").format(name=name))

    def _delete(self, found: tuple[Downloaded, ...], said: str) -> None:
        try:
            delete(found)
        except InputError as error:
            tell(error)
            said = ""
        self._say(said)

    def _on_copy(self, checked: bool = False) -> None:
        self._background = Background("FewShotAnnotateDetails")
        self._describing = self._background.submit(describe_worker, worker_python())
        self._background.close()  # nothing more is asked of the thread
        self._say(_("Gathering details ..."))

    def _copy(self, describing: Future[Description]) -> None:
        worker: Description | InputError
        try:
            worker = describing.result()
        except InputError as error:
            worker = error
            self._log.error(error.code)
        application = f"{slicer.app.applicationName} {slicer.app.applicationVersion}"
        text = bug_report(application, worker, self._settings, self._log.errors)
        qt.QApplication.clipboard().setText(text)
        lacking = "" if isinstance(worker, Description) else sentence(worker)
        self._say("\n".join([_("The details are on the clipboard; paste them into the report."), lacking]).strip())


def _size(runs: list[LeftRun]) -> int:
    """Bytes of all runs."""
    return sum(run.size for run in runs)


def _show_path(edit: Any, path: Path | None) -> None:
    edit.text = _("none: it cannot be written") if path is None else str(path)
    edit.toolTip = edit.text
