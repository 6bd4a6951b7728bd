"""DatasetSection: the part of the panel in which the cases of a data set are reviewed one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ..datasets.controller import DatasetController
from ..i18n import tr as _
from ..messages import Refusal
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.node_types import VolumeNode
from .dataset_controls import DatasetControls
from .widgets import attempt, chosen_path, show_path


class DatasetSection:
    """Opens a data set, in which cases are reviewed, filled and trained on.

    Parameters
    ----------
    parent : ctkCollapsibleButton
        Empty section with a layout.
    controller : DatasetController
    choose : function
        Called with the ChosenNodes of a case once it has been loaded.
    why_not_now : function
        Returns why no other case can be loaded at the moment.

    Attributes
    ----------
    controls : DatasetControls
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
        self._node_ids: tuple[str, str] | None = None  # of its nodes
        self._table_shown: object = None
        self._next_requested = False
        self.controls = DatasetControls(parent, controller, self._on_case, why_not_now)
        self._connect()
        self._show()

    @property
    def busy(self) -> bool:
        """Whether files are being read or written."""
        return self.controller.working

    @property
    def in_background(self) -> bool:
        """Whether cases are being filled or the task is being trained; both continue while the panel is closed."""
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
        self.controls.view.poll()
        self.controls.show()

    def reset(self) -> None:
        """Close the data set, before the scene or the module is closed; its task is trained on."""
        self.controller.close_dataset()
        self._shown, self._node_ids, self._next_requested = None, None, False
        self._show()

    def _connect(self) -> None:
        controls = self.controls
        for button, slot in (
            (controls.open_button, self._on_open),
            (controls.task_button, self._on_task),
            (controls.add_button, self._on_add),
            (controls.next_button, self._on_next),
            (controls.accept_next_button, self._on_accept_next),
            (controls.accept_button, self._on_accept),
            (controls.flag_button, self._on_flag),
            (controls.reset_button, self._on_reset),
            (controls.refresh_button, self._on_refresh),
        ):
            button.connect("clicked(bool)", slot)
        controls.folder_edit.connect("currentPathChanged(QString)", self._on_edited)
        controls.images_edit.connect("currentPathChanged(QString)", self._on_edited)
        controls.task_box.connect("editTextChanged(QString)", self._on_edited)

    # --- what is shown

    def _show(self) -> None:
        review = self.controller.review
        self._table_shown = review.table if review is not None else None
        self.controls.view.show(review.cases if review is not None else (), self._shown)
        self.controls.show()

    # --- what the user does

    def _finish(self, succeeded: bool) -> None:
        """Show the outcome of reading or writing files."""
        review = self.controller.review
        if review is not None and review.node_ids != self._node_ids:
            self._node_ids, self._shown = review.node_ids, review.current
            _show_in_views(review.nodes.volume)
            self._choose(review.nodes)
        task_box = self.controls.task_box
        if task_box.currentText != self.controller.overview.task and not task_box.hasFocus():
            self.controls.show_tasks()
        load_next, self._next_requested = self._next_requested and succeeded, False
        if load_next and review is not None and review.next() is not None:
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
        self.controls.show()

    def _on_open(self, checked: bool = False) -> None:
        if not self._may_close_case():
            return
        folder = chosen_path(self.controls.folder_edit)
        if folder is not None and attempt(lambda: self.controller.open(folder)) is None:
            show_path(self.controls.folder_edit, folder)
            self._shown, self._node_ids, self._next_requested = None, None, False
        self.controls.show_tasks()
        self._show()

    def _on_task(self, checked: bool = False) -> None:
        attempt(lambda: self.controller.choose_task(self.controls.task_box.currentText.strip()))
        self.controls.show()

    def _on_add(self, checked: bool = False) -> None:
        folder = chosen_path(self.controls.images_edit)
        if folder is not None and attempt(lambda: self.controller.add(folder)) is None:
            show_path(self.controls.images_edit, folder)
        self.controls.show()

    def _on_case(self, name: str) -> None:
        review = self.controller.review
        if review is None or self.controller.working or self._why_not_now():
            return
        if (name != review.current or not review.nodes.complete) and self._may_close_case():
            attempt(lambda: review.show(name))
        self._show()

    def _on_refresh(self, checked: bool = False) -> None:
        attempt(self.controller.refresh)
        self.controls.show()

    def _on_accept(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            attempt(review.accept)
            self.controls.show()

    def _on_accept_next(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            self._next_requested = attempt(review.accept) is None
            self.controls.show()

    def _on_next(self, checked: bool = False) -> None:
        if self._may_close_case():
            attempt(self.controller.next)
        self._show()

    def _on_flag(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            attempt(review.flag)
            self.controls.show()

    def _on_reset(self, checked: bool = False) -> None:
        review = self.controller.review
        if review is not None:
            attempt(review.reset)
            self.controls.show()


def _show_in_views(volume_node: VolumeNode) -> None:
    """Show a volume in all slice views."""
    logic = slicer.app.applicationLogic()
    if volume_node is not None and logic.GetSelectionNode() is not None:
        logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
        logic.PropagateVolumeSelection()
