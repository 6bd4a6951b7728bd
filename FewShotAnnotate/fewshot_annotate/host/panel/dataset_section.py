"""DatasetSection: the part of the panel in which the cases of a data set are reviewed one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer

from ...core.errors import InputError
from ...datasets.case_table import CaseRow, ReviewState
from ...datasets.task.library import task_names
from ..chosen_nodes import ChosenNodes
from ..dataset_controller import DatasetController
from ..i18n import tr as _
from ..messages import Refusal
from .background_row import BackgroundRow
from .case_table_view import CaseTableView
from .dataset_status import dataset_status
from .widgets import Controls, attempt, body_layout, row_layout, text_label

_DEFAULT_MINUTES, _MAX_MINUTES = 5, 24 * 60


class DatasetSection:
    """Widgets of a data set.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    controller : DatasetController
    choose : function
        Called with the ChosenNodes of a case once it has been loaded.
    why_not_now : function
        Returns why no other case can be loaded at the moment.
    """

    def __init__(
        self,
        parent: Any,
        controller: DatasetController,
        choose: Callable[[ChosenNodes], None],
        why_not_now: Callable[[], Refusal],
    ) -> None:
        self.controller = controller
        self._choose = choose
        self._why_not_now = why_not_now
        self._shown: str | None = None  # case selected in the panel
        self._table_shown: object = None
        self._next_requested = False
        self._controls = Controls()
        self._build(parent)
        self._show()

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        return self.controller.working

    @property
    def in_background(self) -> bool:
        """Whether cases are being filled or the task trained, which goes on while the panel is closed."""
        return self.controller.busy

    def poll(self) -> None:
        """Load what was read into the scene, and follow the background; called by the panel's timer."""
        controller = self.controller
        working = controller.working
        if not working and not controller.busy:
            return
        succeeded = attempt(controller.poll) is None
        if working and not controller.working:
            self._finish(succeeded)
        review = controller.review
        if review is not None and review.table is not self._table_shown:
            self._show()

    def show_controls(self) -> None:
        """Show what may be pressed now; called by the panel's timer while the section is open."""
        self.view.poll()
        self._show_buttons()

    def reset(self) -> None:
        """Close the data set, before the scene or the module is closed; its task is trained on."""
        self.controller.close_dataset()
        self._shown, self._next_requested = None, False
        self._show()

    # --- widgets

    def _build(self, parent: Any) -> None:
        self.folder_edit, self.images_edit = _folder_edit(), _folder_edit()
        self.open_button = qt.QPushButton(_("Open"))
        self.task_box = qt.QComboBox()
        self.task_box.setEditable(True)
        self.task_box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        self.task_box.minimumContentsLength = 12
        self.task_button = qt.QPushButton(_("Use task"))
        self.add_button = qt.QPushButton(_("Add volumes"))
        self.view = CaseTableView(self._on_case, self._picture)
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
        self._build_background()
        self.status_label = text_label()
        self._lay_out(body_layout(parent, qt.QVBoxLayout))
        for button, slot in (
            (self.open_button, self._on_open),
            (self.task_button, self._on_task),
            (self.add_button, self._on_add),
            (self.next_button, self._on_next),
            (self.accept_next_button, self._on_accept_next),
            (self.accept_button, self._on_accept),
            (self.flag_button, self._on_flag),
            (self.reset_button, self._on_reset),
            (self.refresh_button, self._on_refresh),
        ):
            button.connect("clicked(bool)", slot)
        self.folder_edit.connect("currentPathChanged(QString)", self._on_edited)
        self.images_edit.connect("currentPathChanged(QString)", self._on_edited)
        self.task_box.connect("editTextChanged(QString)", self._on_edited)

    def _build_background(self) -> None:
        controller = self.controller
        self.fill_row = BackgroundRow(
            controller.filling,
            (_("Fill cases"), _("Stop filling")),
            (
                _("Fill the cases that wait, in the background, by the newest model of the task."),
                _("Stop; the cases that are filled stay so."),
            ),
            lambda: attempt(controller.fill),
            controller.stop_filling,
        )
        self.train_row = BackgroundRow(
            controller.training,
            (_("Train on accepted cases"), _("Stop training")),
            (
                _("Train a model on the accepted cases, in the background; it fills the next ones."),
                _("Stop; the next training goes on from here."),
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

    # --- what is shown

    def _show(self) -> None:
        review = self.controller.review
        self._table_shown = review.table if review is not None else None
        self.view.show(review.cases if review is not None else (), self._shown)
        self._show_buttons()

    def _show_tasks(self) -> None:
        """List the tasks, with the one of the data set chosen."""
        names = task_names()
        chosen = self.controller.overview.task
        if chosen and chosen not in names:
            names.insert(0, chosen)
        self.task_box.blockSignals(True)
        self.task_box.clear()
        self.task_box.addItems(names)
        self.task_box.setEditText(chosen)
        self.task_box.blockSignals(False)

    def _show_buttons(self) -> None:
        enable = self._controls.enable
        busy = InputError("files_busy") if self.controller.working else None
        closed = None if self.controller.review is not None else InputError("no_batch_open")
        now = busy or self._why_not_now()
        case = self._case()
        folder = None if self.folder_edit.currentPath else InputError("batch_folder_not_chosen")
        images = None if self.images_edit.currentPath else InputError("images_not_chosen")
        named = None if self.task_box.currentText.strip() else InputError("task_not_named")
        tip = _("Folder of a data set, or one that a batch was written to; an empty folder becomes a data set.")
        enable(self.folder_edit, busy, tip)
        enable(self.open_button, now or folder, _("List the cases of the folder."))
        enable(self.task_box, closed or busy, _("Labelling job of the data set; type a name to begin a new one."))
        enable(
            self.task_button, closed or busy or named, _("Add accepted cases to this task, and fill by its model.")
        )
        enable(self.images_edit, closed or busy, _("Folder with NIfTI, NRRD or DICOM files, also in folders within."))
        enable(self.add_button, closed or busy or images, _("Look for volumes in the folder, and add them as cases."))
        enable(self.table, closed or now, _("Click a case to load its image and its labels."))
        enable(self.next_button, closed or now or self._why_not_next(), _("Load the next case, filled already."))
        accept = closed or now or self._why_not_accept(case)
        enable(self.accept_next_button, accept, _("Accept, and load the next case."))
        enable(self.accept_button, accept, _("Write the labels, as they were corrected, and add them to the task."))
        enable(self.flag_button, closed or now or _why_not_flag(case), _("The case needs another look."))
        enable(self.reset_button, closed or now or _why_not_reset(case), _("Remove acceptance and flag of the case."))
        enable(self.refresh_button, closed or busy, _("Read the table again: others may be at work."))
        enable(self.minutes_box, closed or self._why_not_train(), _("Time limit; a model is better with more time."))
        self.fill_row.show(self._controls, closed or busy or self._why_not_fill())
        self.train_row.show(self._controls, closed or busy or self._why_not_train())
        text = dataset_status(self.controller, case)
        if text != self.status_label.text:
            self.status_label.text = text

    def _picture(self, name: str) -> Path | None:
        review = self.controller.review
        return review.preview(name) if review is not None else None

    def _case(self) -> CaseRow | None:
        """The case in the scene."""
        review = self.controller.review
        if review is None or review.current is None or review.nodes.segmentation is None:
            return None
        return next((case for case in review.cases if case.name == review.current), None)

    def _why_not_accept(self, case: CaseRow | None) -> Refusal:
        if case is None:
            return InputError("no_case_clicked")
        review = self.controller.review
        done = case.state is ReviewState.ACCEPTED and review is not None and not review.changed
        return InputError("case_accepted_already") if done else None

    def _why_not_next(self) -> Refusal:
        review = self.controller.review
        return None if review is not None and review.next() is not None else InputError("no_other_case")

    def _why_not_fill(self) -> Refusal:
        overview = self.controller.overview
        if not overview.is_trained:
            return InputError("dataset_untrained" if overview.task else "dataset_no_task")
        return None if overview.to_fill else InputError("dataset_all_filled")

    def _why_not_train(self) -> Refusal:
        return None if self.controller.overview.task else InputError("dataset_no_task")

    # --- what the user does

    def _finish(self, succeeded: bool) -> None:
        """Show the outcome of reading or writing files."""
        review = self.controller.review
        if review is not None and review.current != self._shown:
            self._shown = review.current
            _show_in_views(review.nodes.volume)
            self._choose(review.nodes)
        if self.task_box.currentText != self.controller.overview.task and not self.task_box.hasFocus():
            self._show_tasks()
        wanted, self._next_requested = self._next_requested and succeeded, False
        if wanted and review is not None and review.next() is not None:
            attempt(self.controller.next)
        self._show()

    def _may_close_case(self) -> bool:
        """Whether the case in the scene may be closed; asks the user if it was edited."""
        review = self.controller.review
        if review is None or not review.changed:
            return True
        text = _("The result of {name} was edited and not accepted. Lose the changes?")
        return bool(slicer.util.confirmOkCancelDisplay(text.format(name=review.current)))

    def _on_edited(self, *_text: object) -> None:
        self._show_buttons()

    def _on_open(self, checked: bool = False) -> None:
        if not self._may_close_case():
            return
        if attempt(lambda: self.controller.open(self.folder_edit.currentPath)) is None:
            self._shown, self._next_requested = None, False
        self._show_tasks()
        self._show()

    def _on_task(self, checked: bool = False) -> None:
        attempt(lambda: self.controller.choose_task(self.task_box.currentText.strip()))
        self._show_buttons()

    def _on_add(self, checked: bool = False) -> None:
        attempt(lambda: self.controller.add(self.images_edit.currentPath))
        self._show_buttons()

    def _on_case(self, name: str) -> None:
        review = self.controller.review
        if review is None or self.controller.working or self._why_not_now():
            return
        if (name != review.current or review.nodes.segmentation is None) and self._may_close_case():
            attempt(lambda: review.show(name))
        self._show()

    def _on_refresh(self, checked: bool = False) -> None:
        attempt(self.controller.refresh)
        self._show_buttons()

    def _on_accept(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            attempt(review.accept)
            self._show_buttons()

    def _on_accept_next(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            self._next_requested = attempt(review.accept) is None
            self._show_buttons()

    def _on_next(self, checked: bool = False) -> None:
        if self._may_close_case():
            attempt(self.controller.next)
        self._show()

    def _on_flag(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            attempt(review.flag)
            self._show_buttons()

    def _on_reset(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            attempt(review.reset)
            self._show_buttons()


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


def _show_in_views(volume_node: Any) -> None:
    """Show a volume in all slice views."""
    logic = slicer.app.applicationLogic()
    if volume_node is not None and logic.GetSelectionNode() is not None:
        logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
        logic.PropagateVolumeSelection()
