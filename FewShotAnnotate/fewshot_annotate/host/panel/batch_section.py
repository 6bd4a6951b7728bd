"""BatchSection: the part of the panel in which the results of a batch are reviewed case by case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from ...core.errors import InputError
from ...datasets.status import CaseStatus, Status
from ..batch_review import BatchReview
from ..chosen_nodes import ChosenNodes
from ..i18n import tr as _
from ..messages import Refusal
from ..names import case_status_name
from .widgets import (
    Controls,
    attempt,
    body_layout,
    row_layout,
    select_rows,
    set_header,
    set_text_item,
    show_error,
    text_label,
)


class BatchSection:
    """Widgets of the review of a batch.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    choose : function
        Called with the ChosenNodes of a case once it has been loaded.
    why_not_now : function
        Returns why no other case can be loaded at the moment.
    """

    def __init__(
        self, parent: Any, choose: Callable[[ChosenNodes], None], why_not_now: Callable[[], Refusal]
    ) -> None:
        self.review: BatchReview | None = None
        self._choose = choose
        self._why_not_now = why_not_now
        self._shown: str | None = None  # case selected in the panel
        self._next_requested = False
        self._controls = Controls()
        self._build(parent)
        self._show()

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        return self.review is not None and self.review.busy

    def poll(self) -> None:
        """Load what was read into the scene; called by the panel's timer."""
        review = self.review
        if review is not None and review.busy:
            succeeded = attempt(review.poll) is None
            if not review.busy:
                self._finish(review, succeeded)

    def show_controls(self) -> None:
        """Show what may be pressed now; called by the panel's timer while the section is open."""
        self._show_buttons()

    def reset(self) -> None:
        """Close the batch folder, before the scene or the module is closed."""
        if self.review is not None:
            self.review.close()
        self.review, self._shown, self._next_requested = None, None, False
        self._show()

    # --- widgets

    def _build(self, parent: Any) -> None:
        rows = body_layout(parent, qt.QVBoxLayout)
        self.folder_edit = ctk.ctkPathLineEdit()
        self.folder_edit.filters = ctk.ctkPathLineEdit.Dirs
        self.open_button = qt.QPushButton(_("Open"))
        self.refresh_button = qt.QPushButton(_("Refresh"))
        self.accept_button = qt.QPushButton(_("Accept"))
        self.accept_next_button = qt.QPushButton(_("Accept and next"))
        self.next_button = qt.QPushButton(_("Next"))
        self.reset_button = qt.QPushButton(_("Reset"))
        self.table = qt.QTableWidget()
        self.table.minimumHeight = 120
        select_rows(self.table, qt.QAbstractItemView.SingleSelection)
        set_header(self.table, (_("Case"), _("Status"), _("Accepted")), wide=0)
        self.status_label = text_label()
        for row in (
            (self.folder_edit, self.open_button),
            (self.table,),
            (self.accept_button, self.accept_next_button),
            (self.next_button, self.reset_button, self.refresh_button),
            (self.status_label,),
        ):
            rows.addLayout(row_layout(*row))
        self.table.connect("cellClicked(int,int)", self._on_case)
        self.folder_edit.connect("currentPathChanged(QString)", self._on_folder)
        self.open_button.connect("clicked(bool)", self._on_open)
        self.refresh_button.connect("clicked(bool)", self._on_refresh)
        self.accept_button.connect("clicked(bool)", self._on_accept)
        self.accept_next_button.connect("clicked(bool)", self._on_accept_next)
        self.next_button.connect("clicked(bool)", self._on_next)
        self.reset_button.connect("clicked(bool)", self._on_reset)

    # --- what is shown

    def _show(self) -> None:
        cases = self.review.cases if self.review is not None else ()
        self.table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            set_text_item(self.table, row, 0, case.name)
            set_text_item(self.table, row, 1, case_status_name(case.status))
            set_text_item(self.table, row, 2, _("yes") if case.accepted else "")
            for column in range(3):
                self.table.item(row, column).setToolTip(case.message or case.name)
            if case.name == self._shown:
                self.table.selectRow(row)
        if self._shown is None:
            self.table.clearSelection()
        self._show_buttons()

    def _show_buttons(self) -> None:
        busy = InputError("files_busy") if self.busy else None
        closed = None if self.review is not None else InputError("no_batch_open")
        now = busy or self._why_not_now()
        path = None if self.folder_edit.currentPath else InputError("batch_folder_not_chosen")
        self._controls.enable(self.folder_edit, busy, _("Folder that a batch was written to."))
        self._controls.enable(self.open_button, now or path, _("List the cases of the folder."))
        self._controls.enable(self.table, closed or now, _("Click a case to load its image and its result."))
        self._controls.enable(
            self.refresh_button, closed or busy, _("Read the table again: a batch may still be at work.")
        )
        accept = closed or now or self._why_not_accept()
        self._controls.enable(
            self.accept_button, accept, _("Write the result, as it was corrected, and that it is accepted.")
        )
        self._controls.enable(
            self.accept_next_button, accept, _("Accept, and load the next case that is not accepted.")
        )
        self._controls.enable(
            self.next_button, closed or now or self._why_not_next(), _("Load the next case that is not accepted.")
        )
        self._controls.enable(
            self.reset_button, closed or busy or self._why_not_reset(), _("Remove the acceptance of the case.")
        )
        self.status_label.text = self._status()

    def _status(self) -> str:
        review = self.review
        if review is None:
            return ""
        if review.busy:
            return _("Reading or writing ...")
        accepted = sum(case.accepted for case in review.cases)
        text = _("{accepted} of {count} cases accepted.").format(accepted=accepted, count=len(review.cases))
        case = self._case()
        if case is not None:
            edited = _("{name}, edited").format(name=case.name) if review.changed else case.name
            text = f"{edited}: {case.message}\n{text}" if case.message else f"{edited}\n{text}"
        return text

    def _case(self) -> CaseStatus | None:
        """The case in the scene."""
        review = self.review
        if review is None or review.current is None or review.nodes.segmentation is None:
            return None
        return next((case for case in review.cases if case.name == review.current), None)

    def _why_not_accept(self) -> Refusal:
        case = self._case()
        if case is None:
            return InputError("no_case_clicked")
        assert self.review is not None
        return InputError("case_accepted_already") if case.accepted and not self.review.changed else None

    def _why_not_next(self) -> Refusal:
        assert self.review is not None
        return None if self.review.next() is not None else InputError("no_other_case")

    def _why_not_reset(self) -> Refusal:
        case = self._case()
        if case is None:
            return InputError("no_case_clicked")
        return None if case.accepted else InputError("case_not_accepted")

    # --- what the user does

    def _finish(self, review: BatchReview, succeeded: bool) -> None:
        """Show the outcome of reading or writing files."""
        if review.current != self._shown:
            self._shown = review.current
            _show_in_views(review.nodes.volume)
            self._choose(review.nodes)
        wanted, self._next_requested = self._next_requested and succeeded, False
        name = review.next() if wanted else None
        if name is not None:
            attempt(lambda: review.show(name))
        self._show()

    def _may_close_case(self) -> bool:
        """Whether the case in the scene may be closed; asks the user if it was edited."""
        if self.review is None or not self.review.changed:
            return True
        text = _("The result of {name} was edited and not accepted. Lose the changes?")
        return bool(slicer.util.confirmOkCancelDisplay(text.format(name=self.review.current)))

    def _load(self, name: str) -> None:
        review = self.review
        if review is not None and self._may_close_case():
            attempt(lambda: review.show(name))
        self._show()

    def _on_folder(self, *_path: object) -> None:
        self._show_buttons()

    def _on_open(self, checked: bool = False) -> None:
        if not self._may_close_case():
            return
        try:
            opened = BatchReview(slicer.mrmlScene, self.folder_edit.currentPath)
        except InputError as error:
            show_error(error)
            return
        self.reset()
        self.review = opened
        self._show()

    def _on_case(self, row: int, column: int) -> None:
        review = self.review
        if review is None or review.busy or self._why_not_now():
            return
        case = review.cases[row]
        if case.name != review.current or review.nodes.segmentation is None:
            if case.status is Status.DONE:
                self._load(case.name)
            else:
                show_error(InputError("review_not_done", name=case.name))
                self._show()

    def _on_refresh(self, checked: bool = False) -> None:
        if self.review is not None:
            attempt(self.review.reload)
            self._show()

    def _on_accept(self, checked: bool = False) -> None:
        if self.review is not None:
            attempt(self.review.accept)
            self._show_buttons()

    def _on_accept_next(self, checked: bool = False) -> None:
        if self.review is not None:
            self._next_requested = attempt(self.review.accept) is None
            self._show_buttons()

    def _on_next(self, checked: bool = False) -> None:
        name = self.review.next() if self.review is not None else None
        if name is not None:
            self._load(name)

    def _on_reset(self, checked: bool = False) -> None:
        review = self.review
        if review is not None and review.current is not None:
            name = review.current
            attempt(lambda: review.reset(name))
            self._show()


def _show_in_views(volume_node: Any) -> None:
    """Show a volume in all slice views."""
    logic = slicer.app.applicationLogic()
    if volume_node is not None and logic.GetSelectionNode() is not None:
        logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
        logic.PropagateVolumeSelection()
