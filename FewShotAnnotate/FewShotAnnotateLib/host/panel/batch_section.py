"""BatchSection: the part of the panel where results of a batch folder are looked at and accepted, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ...core.errors import InputError
from ...dataset.status import CaseStatus, Status
from ..batch_review import BatchReview
from .widgets import body_layout, enable, line, note, select_rows, set_header, set_text_item, tell


class BatchSection:
    """Widgets of the review of a batch.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    choose : function
        Called with segmentation and volume of a case as soon as it is in the scene.
    why_not_now : function
        Returns why no other case may be shown at the moment, or nothing.
    """

    def __init__(self, parent: Any, choose: Callable[[Any, Any], None], why_not_now: Callable[[], str]) -> None:
        self.review: BatchReview | None = None
        self._choose = choose
        self._why_not_now = why_not_now
        self._shown: str | None = None  # case that the panel was told of
        self._next_wanted = False
        self._build(parent)
        self._show()

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        return self.review is not None and self.review.busy

    def tick(self) -> None:
        """Take what was read into the scene; the panel's timer calls it."""
        review = self.review
        if review is not None and review.busy:
            succeeded = self._attempt(review.tick)
            if not review.busy:
                self._finish(review, succeeded)
        self._show_buttons()

    def forget(self) -> None:
        """Close the folder: the scene is about to be closed, or the module."""
        if self.review is not None:
            self.review.close()
        self.review, self._shown, self._next_wanted = None, None, False
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
        self.withdraw_button = qt.QPushButton(_("Take back"))
        self.table = qt.QTableWidget()
        self.table.minimumHeight = 120
        select_rows(self.table, qt.QAbstractItemView.SingleSelection)
        set_header(self.table, (_("Case"), _("Status"), _("Accepted")), wide=0)
        self.status_label = note()
        for row in (
            (self.folder_edit, self.open_button),
            (self.table,),
            (self.accept_button, self.accept_next_button),
            (self.next_button, self.withdraw_button, self.refresh_button),
            (self.status_label,),
        ):
            rows.addLayout(line(*row))
        self.table.connect("cellClicked(int,int)", self._on_case)
        self.folder_edit.connect("currentPathChanged(QString)", self._on_folder)
        self.open_button.connect("clicked(bool)", self._on_open)
        self.refresh_button.connect("clicked(bool)", self._on_refresh)
        self.accept_button.connect("clicked(bool)", self._on_accept)
        self.accept_next_button.connect("clicked(bool)", self._on_accept_next)
        self.next_button.connect("clicked(bool)", self._on_next)
        self.withdraw_button.connect("clicked(bool)", self._on_withdraw)

    # --- what is shown

    def _show(self) -> None:
        cases = self.review.cases if self.review is not None else ()
        self.table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            set_text_item(self.table, row, 0, case.name)
            set_text_item(self.table, row, 1, _(str(case.status)))
            set_text_item(self.table, row, 2, _("yes") if case.accepted else "")
            for column in range(3):
                self.table.item(row, column).setToolTip(case.message or case.name)
            if case.name == self._shown:
                self.table.selectRow(row)
        if self._shown is None:
            self.table.clearSelection()
        self._show_buttons()

    def _show_buttons(self) -> None:
        busy = _("Wait for the files to be read or written.") if self.busy else ""
        closed = "" if self.review is not None else _("Open a batch folder first.")
        now = busy or self._why_not_now()
        path = "" if self.folder_edit.currentPath else _("Choose the folder that a batch was written to first.")
        enable(self.folder_edit, busy, _("Folder that a batch was written to."))
        enable(self.open_button, now or path, _("List the cases of the folder."))
        enable(self.table, closed or now, _("Click a case to load its image and its result."))
        enable(self.refresh_button, closed or busy, _("Read the table again: a batch may still be at work."))
        accept = closed or now or self._why_not_accept()
        enable(self.accept_button, accept, _("Write the result, as it was corrected, and that it is accepted."))
        enable(self.accept_next_button, accept, _("Accept, and load the next case that is not accepted."))
        enable(self.next_button, closed or now or self._why_not_next(), _("Load the next case that is not accepted."))
        enable(
            self.withdraw_button, closed or busy or self._why_not_withdraw(), _("The case is not accepted after all.")
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
        if review is None or review.current is None or review.segmentation_node is None:
            return None
        return next((case for case in review.cases if case.name == review.current), None)

    def _why_not_accept(self) -> str:
        case = self._case()
        if case is None:
            return _("Click a case first.")
        assert self.review is not None
        return _("It is accepted already.") if case.accepted and not self.review.changed else ""

    def _why_not_next(self) -> str:
        assert self.review is not None
        return "" if self.review.next() is not None else _("No other case is done and not accepted.")

    def _why_not_withdraw(self) -> str:
        case = self._case()
        if case is None:
            return _("Click a case first.")
        return "" if case.accepted else _("It is not accepted.")

    # --- what the user does

    def _attempt(self, step: Callable[[], object]) -> bool:
        """Take a step that may be refused; say why if it is."""
        try:
            step()
        except InputError as error:
            tell(error)
            return False
        return True

    def _finish(self, review: BatchReview, succeeded: bool) -> None:
        """Something was read or written, or could not be."""
        if review.current != self._shown:
            self._shown = review.current
            _show_in_views(review.volume_node)
            self._choose(review.segmentation_node, review.volume_node)
        wanted, self._next_wanted = self._next_wanted and succeeded, False
        name = review.next() if wanted else None
        if name is not None:
            self._attempt(lambda: review.show(name))
        self._show()

    def _may_leave(self) -> bool:
        """Whether the case in the scene may go, edited or not."""
        if self.review is None or not self.review.changed:
            return True
        text = _("The result of {name} was edited and not accepted. Lose the changes?")
        return bool(slicer.util.confirmOkCancelDisplay(text.format(name=self.review.current)))

    def _load(self, name: str) -> None:
        review = self.review
        if review is not None and self._may_leave():
            self._attempt(lambda: review.show(name))
        self._show()

    def _on_folder(self, *_path: object) -> None:
        self._show_buttons()

    def _on_open(self, checked: bool = False) -> None:
        if not self._may_leave():
            return
        try:
            opened = BatchReview(slicer.mrmlScene, self.folder_edit.currentPath)
        except InputError as error:
            tell(error)
            return
        self.forget()
        self.review = opened
        self._show()

    def _on_case(self, row: int, column: int) -> None:
        review = self.review
        if review is None or review.busy or self._why_not_now():
            return
        case = review.cases[row]
        if case.name != review.current or review.segmentation_node is None:
            if case.status is Status.DONE:
                self._load(case.name)
            else:
                tell(InputError("review_not_done", name=case.name))
                self._show()

    def _on_refresh(self, checked: bool = False) -> None:
        if self.review is not None:
            self._attempt(self.review.reload)
            self._show()

    def _on_accept(self, checked: bool = False) -> None:
        if self.review is not None:
            self._attempt(self.review.accept)
            self._show_buttons()

    def _on_accept_next(self, checked: bool = False) -> None:
        if self.review is not None:
            self._next_wanted = self._attempt(self.review.accept)
            self._show_buttons()

    def _on_next(self, checked: bool = False) -> None:
        name = self.review.next() if self.review is not None else None
        if name is not None:
            self._load(name)

    def _on_withdraw(self, checked: bool = False) -> None:
        review = self.review
        if review is not None and review.current is not None:
            name = review.current
            self._attempt(lambda: review.withdraw(name))
            self._show()


def _show_in_views(volume_node: Any) -> None:
    """Let all slice views show a volume, whole."""
    logic = slicer.app.applicationLogic()
    if volume_node is not None and logic.GetSelectionNode() is not None:
        logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
        logic.PropagateVolumeSelection()
