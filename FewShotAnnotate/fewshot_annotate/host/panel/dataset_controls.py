"""DatasetControls: the widgets of a data set, and which of them may be used now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt

from ...core.errors import InputError
from ...datasets.case_table import CaseRow, ReviewState
from ...datasets.task.library import task_names
from ..datasets.controller import DatasetController
from ..i18n import tr as _
from ..messages import Refusal
from .background_row import BackgroundRow
from .case_table_view import CaseTableView
from .dataset_status import dataset_status
from .widgets import Controls, attempt, body_layout, chosen_path, row_layout, text_label

_DEFAULT_MINUTES, _MAX_MINUTES = 5, 24 * 60


class DatasetControls:
    """Widgets of a data set.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    controller : DatasetController
    clicked : function
        Called with the name of a case that was clicked.
    why_not_now : function
        Returns why no other case can be loaded at the moment.
    """

    def __init__(
        self,
        parent: Any,
        controller: DatasetController,
        clicked: Callable[[str], None],
        why_not_now: Callable[[], Refusal],
    ) -> None:
        self._controller = controller
        self._why_not_now = why_not_now
        self._controls = Controls()
        self._build(clicked)
        self._build_background()
        self._lay_out(body_layout(parent, qt.QVBoxLayout))

    def show(self) -> None:
        """Enable what may be used now, and show the status of the data set."""
        enable = self._controls.enable
        busy = InputError("files_busy") if self._controller.working else None
        closed = None if self._controller.review is not None else InputError("no_batch_open")
        now = busy or self._why_not_now()
        case = self._case()
        folder = None if chosen_path(self.folder_edit) else InputError("batch_folder_not_chosen")
        images = None if chosen_path(self.images_edit) else InputError("images_not_chosen")
        named = None if self.task_box.currentText.strip() else InputError("task_not_named")
        tip = _("Folder of a data set, or one that a batch was written to; an empty folder becomes a data set.")
        enable(self.folder_edit, busy, tip)
        enable(self.open_button, now or folder, _("List the cases of the folder."))
        enable(self.task_box, closed or busy, _("Labelling job of the data set; type a name to begin a new one."))
        enable(
            self.task_button, closed or busy or named, _("Add accepted cases to this task, and fill with its model.")
        )
        enable(self.images_edit, closed or busy, _("Folder with NIfTI, NRRD or DICOM files, also in folders within."))
        enable(self.add_button, closed or busy or images, _("Look for volumes in the folder, and add them as cases."))
        enable(self.table, closed or now, _("Click a case to load its image and its labels."))
        enable(self.next_button, closed or now or self._why_not_next(), _("Load the next case."))
        accept = closed or now or self._why_not_accept(case)
        enable(self.accept_next_button, accept, _("Accept, and load the next case."))
        enable(self.accept_button, accept, _("Write the labels, as they were corrected, and add them to the task."))
        enable(self.flag_button, closed or now or _why_not_flag(case), _("Mark the case for another review."))
        enable(self.reset_button, closed or now or _why_not_reset(case), _("Remove acceptance and flag of the case."))
        enable(self.refresh_button, closed or busy, _("Read the table again: others may have changed it."))
        enable(self.minutes_box, closed or self._why_not_train(), _("Time limit; a model is better with more time."))
        self.fill_row.show(self._controls, closed or busy or self._why_not_fill())
        self.train_row.show(self._controls, closed or busy or self._why_not_train())
        text = dataset_status(self._controller, case)
        if text != self.status_label.text:
            self.status_label.text = text

    def show_tasks(self) -> None:
        """List the tasks, with the one of the data set chosen."""
        names = task_names()
        chosen = self._controller.overview.task
        if chosen and chosen not in names:
            names.insert(0, chosen)
        self.task_box.blockSignals(True)
        self.task_box.clear()
        self.task_box.addItems(names)
        self.task_box.setEditText(chosen)
        self.task_box.blockSignals(False)

    def _build(self, clicked: Callable[[str], None]) -> None:
        self.folder_edit, self.images_edit = _folder_edit(), _folder_edit()
        self.open_button = qt.QPushButton(_("Open"))
        self.task_box = qt.QComboBox()
        self.task_box.setEditable(True)
        self.task_box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        self.task_box.minimumContentsLength = 12
        self.task_button = qt.QPushButton(_("Use task"))
        self.add_button = qt.QPushButton(_("Add volumes"))
        self.view = CaseTableView(clicked)
        self.table = self.view.widget
        self.next_button = qt.QPushButton(_("Next case"))
        self.accept_next_button = qt.QPushButton(_("Accept and next"))
        self.accept_button = qt.QPushButton(_("Accept"))
        self.flag_button = qt.QPushButton(_("Flag"))
        self.reset_button = qt.QPushButton(_("Reset"))
        self.refresh_button = qt.QPushButton(_("Refresh"))
        self.minutes_box = qt.QSpinBox()
        self.minutes_box.setRange(1, _MAX_MINUTES)
        self.minutes_box.value = _DEFAULT_MINUTES
        self.minutes_box.suffix = _(" min")
        self.status_label = text_label()

    def _build_background(self) -> None:
        controller = self._controller
        self.fill_row = BackgroundRow(
            controller.filling,
            (_("Fill cases"), _("Stop filling")),
            (
                _("Fill the waiting cases in the background with the newest model of the task."),
                _("Stop; filled cases are kept."),
            ),
            lambda: attempt(controller.fill),
            controller.stop_filling,
        )
        self.train_row = BackgroundRow(
            controller.training,
            (_("Train on accepted cases"), _("Stop training")),
            (
                _("Train a model on the accepted cases, in the background; it fills the next ones."),
                _("Stop; the next training continues from here."),
            ),
            lambda: attempt(lambda: controller.train(60.0 * self.minutes_box.value)),
            controller.training.cancel,
        )

    def _lay_out(self, rows: Any) -> None:
        for row in (
            (qt.QLabel(_("Data set:")), self.folder_edit, self.open_button),
            (qt.QLabel(_("Task:")), self.task_box, self.task_button),
            (qt.QLabel(_("Volumes:")), self.images_edit, self.add_button),
            (self.table,),
            (self.next_button, self.accept_next_button),
            (self.accept_button, self.flag_button, self.reset_button, self.refresh_button),
            (self.fill_row.button, self.fill_row.bar),
            (self.train_row.button, self.minutes_box, self.train_row.bar),
            (self.status_label,),
        ):
            rows.addLayout(row_layout(*row))
        self.task_box.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)

    def _case(self) -> CaseRow | None:
        """The case in the scene."""
        review = self._controller.review
        if review is None or review.current is None or review.nodes.segmentation is None:
            return None
        return next((case for case in review.cases if case.name == review.current), None)

    def _why_not_accept(self, case: CaseRow | None) -> Refusal:
        if case is None:
            return InputError("no_case_clicked")
        review = self._controller.review
        done = case.state is ReviewState.ACCEPTED and review is not None and not review.changed
        return InputError("case_accepted_already") if done else None

    def _why_not_next(self) -> Refusal:
        review = self._controller.review
        return None if review is not None and review.next() is not None else InputError("no_other_case")

    def _why_not_fill(self) -> Refusal:
        overview = self._controller.overview
        if overview.error is not None:
            return overview.error
        if not overview.is_trained:
            return InputError("dataset_untrained" if overview.task else "dataset_no_task")
        return None if overview.to_fill else InputError("dataset_all_filled")

    def _why_not_train(self) -> Refusal:
        overview = self._controller.overview
        return overview.error or (None if overview.task else InputError("dataset_no_task"))


def _why_not_flag(case: CaseRow | None) -> Refusal:
    if case is None:
        return InputError("no_case_clicked")
    return InputError("case_flagged_already") if case.state is ReviewState.FLAGGED else None


def _why_not_reset(case: CaseRow | None) -> Refusal:
    if case is None:
        return InputError("no_case_clicked")
    done = case.state in (ReviewState.ACCEPTED, ReviewState.FLAGGED)
    return None if done else InputError("case_neither")


def _folder_edit() -> Any:
    edit = ctk.ctkPathLineEdit()
    edit.filters = ctk.ctkPathLineEdit.Dirs
    return edit
