"""ReviewSection: the part of the panel in which filled slices are reviewed, accepted, flagged and refilled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from ...core.errors import InputError
from ...guidance.poor_dice import POOR_DICE
from ..annotation.record import SliceStatus
from ..annotation.review_rows import RefillRequest, ReviewView, worst_first
from ..i18n import tr as _
from ..messages import Refusal
from ..review.confidence_plot import PlotClicks
from ..review.controller import ReviewController
from .review_strip import ReviewStrip
from .slice_positions import slice_text
from .slice_table import SliceTable
from .widgets import Controls, attempt, body_layout, row_layout, set_checked, text_label


class ReviewSection:
    """Widgets of the review.

    Parameters
    ----------
    parent : QWidget
        Empty section with a layout.
    controller : ReviewController
    fill : function
        Called with the RefillRequest when the user presses Refill.
    """

    def __init__(self, parent: Any, controller: ReviewController, fill: Callable[[RefillRequest], None]) -> None:
        self._controller = controller
        self._fill = fill
        self._shown = ReviewView()
        self._current: int | None = None
        self._why_not_fill: Refusal = None
        self._controls = Controls()
        self._plot_clicks = PlotClicks(self._jump_to)
        self._build(parent)
        self.show()

    @property
    def busy(self) -> bool:
        """Whether background work is pending."""
        return self._controller.busy

    def poll(self) -> None:
        """Show what is new, or else let the controller advance; not both in one tick, because each may take long."""
        if self._controller.view != self._shown:
            self.show()
        else:
            self._controller.poll()
        self._follow_views()
        self._show_buttons()

    def reset(self) -> None:
        """Reset the review, before the scene is closed."""
        self._controller.reset()
        self.show()

    def close(self) -> None:
        """Stop following the plot views, before the panel is deleted."""
        self._plot_clicks.close()

    def disable_refill(self, refusal: Refusal) -> None:
        """Disable Refill and say why, or enable it if there is no refusal."""
        self._why_not_fill = refusal
        self._show_buttons()

    # --- widgets

    def _build(self, parent: Any) -> None:
        lines = body_layout(parent, qt.QVBoxLayout)
        self.expected_label = text_label()
        self.summary_label = text_label()
        self.strip = ReviewStrip(self._on_strip)
        self.slices = SliceTable()
        self.table = self.slices.widget
        self.columns_label = text_label(
            _("Conf.: expected share of correct pixels. Differs: 1 - Dice with interpolation. Changed: voxels.")
        )
        self.accept_button = qt.QPushButton(_("Accept"))
        self.accept_all_button = qt.QPushButton(_("Accept all"))
        self.flag_button = qt.QPushButton(_("Flag"))
        self.reset_button = qt.QPushButton(_("Reset"))
        self.better_button = qt.QPushButton(_("Previous worst"))
        self.worst_button = qt.QPushButton(_("Next worst"))
        self.refill_button = qt.QPushButton(_("Refill"))
        self.plot_button = qt.QPushButton(_("Plot"))
        self.differences_box = qt.QCheckBox(_("Show changes"))
        self.uncertainty_box = qt.QCheckBox(_("Show uncertainty"))
        for widget in (self.expected_label, self.strip.widget, self.strip.legend, self.table):
            lines.addWidget(widget)
        lines.setStretchFactor(self.table, 1)
        for widget in (self.columns_label, self.summary_label):
            lines.addWidget(widget)
        for row in (
            (self.accept_button, self.flag_button, self.reset_button),
            (self.better_button, self.worst_button, self.accept_all_button),
            (self.refill_button, self.plot_button),
            (self.uncertainty_box, self.differences_box),
        ):
            lines.addLayout(row_layout(*row))
        self.table.connect("cellClicked(int,int)", self._on_row)
        self.table.connect("itemSelectionChanged()", self._show_buttons)
        self.accept_button.connect("clicked(bool)", self._on_accept)
        self.accept_all_button.connect("clicked(bool)", self._on_accept_all)
        self.flag_button.connect("clicked(bool)", self._on_flag)
        self.reset_button.connect("clicked(bool)", self._on_reset)
        self.better_button.connect("clicked(bool)", self._on_better)
        self.worst_button.connect("clicked(bool)", self._on_worst)
        self.refill_button.connect("clicked(bool)", self._on_refill)
        self.plot_button.connect("clicked(bool)", self._on_plot)
        self.differences_box.connect("toggled(bool)", self._on_differences)
        self.uncertainty_box.connect("toggled(bool)", self._on_uncertainty)

    # --- what is shown

    def show(self) -> None:
        """Show the controller's state."""
        view = self._shown = self._controller.view
        self.expected_label.text = self._expected_text(view)
        self.expected_label.visible = bool(view.expected)
        self.summary_label.text = self._summary()
        self.slices.show(view.rows, self._controller.positions())
        self._show_strip()
        self._show_buttons()

    def _expected_text(self, view: ReviewView) -> str:
        """A line for each segment, and the slice to review first if the expected Dice of one is poor."""
        text = _("{name}: expected Dice {dice:.2f} ({low:.2f} to {high:.2f})")
        poor_text = _(
            "{name}: expected Dice only {dice:.2f} ({low:.2f} to {high:.2f}). Check every slice; "
            "Suggest next slice shows where painting helps most."
        )
        lines = [
            (poor_text if label_dice.dice < POOR_DICE else text).format(
                name=name, dice=label_dice.dice, low=label_dice.low, high=label_dice.high
            )
            for name, label_dice in view.expected
        ]
        uncertain = worst_first(view.rows)
        if uncertain and any(label_dice.dice < POOR_DICE for _name, label_dice in view.expected):
            position = slice_text(uncertain[0], self._controller.positions())
            lines.append(_("The least certain slice is {slice}.").format(slice=position))
        return "\n".join(lines)

    @property
    def state_line(self) -> str:
        """State of the review in a few words."""
        view = self._controller.view
        rows, filled = view.rows, view.filled
        if not view.has_filled:
            return _("nothing filled yet")
        flagged = sum(row.status is SliceStatus.FLAGGED for row in rows)
        left = sum(row.needs_review for row in rows)
        text = (
            _("{filled} filled, {left} to review, {flagged} flagged")
            if flagged
            else _("{filled} filled, {left} to review")
        )
        return text.format(filled=filled, left=left, flagged=flagged)

    @property
    def has_filled(self) -> bool:
        """Whether slices were filled, and that was not undone."""
        return self._controller.view.has_filled

    @property
    def all_reviewed(self) -> bool:
        """Whether slices were filled, and none is left to review."""
        return self.has_filled and not any(row.needs_review for row in self._controller.view.rows)

    @property
    def any_reviewed(self) -> bool:
        """Whether the user accepted or flagged a slice."""
        reviewed = (SliceStatus.ACCEPTED, SliceStatus.FLAGGED)
        return any(row.status in reviewed and not row.manual for row in self._controller.view.rows)

    def _summary(self) -> str:
        rows = self._shown.rows
        if not rows:
            return _("Fill first: what was filled is reviewed here.")
        accepted = sum(row.status is SliceStatus.ACCEPTED for row in rows)
        flagged = sum(row.status is SliceStatus.FLAGGED for row in rows)
        text = _("{accepted} of {count} slices are painted, corrected or accepted").format(
            accepted=accepted, count=len(rows)
        )
        return text + (_(", {flagged} flagged.").format(flagged=flagged) if flagged else ".")

    def _follow_views(self) -> None:
        """Select the slice that the slice views show, unless the user has selected a range."""
        current = self._controller.current
        if current == self._current:
            return
        self._current = current
        self._show_strip()
        if current is not None and self._shown.rows and len(self.slices.selected) <= 1:
            self.slices.select(current)

    def _show_strip(self, marked: int | None = None) -> None:
        """Show the strip with a mark at a slice, else at the one that the slice views show."""
        current = self._current if marked is None else marked
        self.strip.show(self._shown.rows, current, self._controller.positions())

    def _show_buttons(self) -> None:
        nothing = None if self._shown.rows else InputError("nothing_to_review")
        selected = self.slices.selected
        choose = nothing or (None if selected else InputError("no_slice_selected"))
        busy = InputError("accepting_slices") if self.busy else None
        unreviewed = [row for row in self._shown.rows if row.needs_review]
        all_reviewed = None if unreviewed else InputError("all_reviewed")
        accept = choose or busy or self._why_not_accept(selected)
        self._controls.enable(
            self.accept_button, accept, _("The selected slices are correct: no fill changes them any more.")
        )
        progress = any(row.status is SliceStatus.IN_PROGRESS for row in unreviewed)
        none = None if progress else InputError("none_in_progress")
        tip = _(
            "All slices in progress are correct; flagged ones stay flagged. Before that, the effects Islands and "
            "Smoothing of the Segment Editor clean up a segment."
        )
        self._controls.enable(self.accept_all_button, nothing or busy or none, tip)
        self._controls.enable(self.flag_button, choose, _("Look at the selected slices again later."))
        self._controls.enable(
            self.reset_button, choose or self._why_not_reset(selected), _("Neither accepted nor flagged.")
        )
        self._controls.enable(
            self.worst_button, nothing or all_reviewed, _("Go to the least confident slice, then to the next one.")
        )
        self._controls.enable(
            self.better_button,
            nothing or all_reviewed,
            _("Go back to the slice that was the worst before this one."),
        )
        refill = nothing or self._why_not_fill or self._why_not_refill()
        tip = _("Fill again all slices that are not accepted, learning from accepted and corrected ones too.")
        self._controls.enable(self.refill_button, refill, tip)
        self._controls.enable(self.plot_button, nothing, _("Plot confidence along the axis in Slicer's plot view."))
        self._show_overlay_boxes(None if self._shown.has_filled else InputError("nothing_to_review"))

    def _show_overlay_boxes(self, nothing: Refusal) -> None:
        reason = None if self._controller.overlays.has_differences else InputError("differences_gone")
        unknown = None if self._controller.overlays.has_uncertainty else InputError("uncertainty_gone")
        tip = _("Voxels whose label is not certain, from yellow to red, on slices that are not accepted yet.")
        self._controls.enable(self.uncertainty_box, nothing or unknown, tip)
        self._controls.enable(
            self.differences_box,
            nothing or reason,
            _("What the last fill changed: added voxels in blue, removed ones in red, over the segmentation."),
        )
        if not self.busy:
            set_checked(self.differences_box, self._controller.overlays.differences_shown)
            set_checked(self.uncertainty_box, self._controller.overlays.uncertainty_shown)

    def _why_not_accept(self, selected: Sequence[int]) -> Refusal:
        if self._controller.needing_review(selected):
            return None
        return InputError("needs_no_accepting")

    def _why_not_reset(self, selected: Sequence[int]) -> Refusal:
        indices = set(selected)
        resettable = any(
            row.index in indices
            and (row.status is SliceStatus.FLAGGED or (row.status is SliceStatus.ACCEPTED and not row.manual))
            for row in self._shown.rows
        )
        return None if resettable else InputError("nothing_to_reset")

    def _why_not_refill(self) -> Refusal:
        return None if self._controller.refill() is not None else InputError("nothing_to_refill")

    # --- what the user does

    def _jump_to(self, index: int | None) -> None:
        if index is None:
            return
        self.slices.select(index)
        self._controller.jump(index)
        self._current = self._controller.current
        self._show_strip(index)

    def _attempt(self, step: Callable[[], object]) -> None:
        """Call a function; if it raises InputError, show the error."""
        attempt(step)
        self.poll()

    def _start_slice(self) -> int | None:
        """The slice from which to go to the next one."""
        selected = self.slices.selected
        return selected[0] if len(selected) == 1 else self._current

    def _on_strip(self, index: int) -> None:
        self._jump_to(index)

    def _on_row(self, row: int, column: int) -> None:
        if len(self.slices.selected) == 1:
            self._jump_to(self._shown.rows[row].index)

    def _on_accept(self, checked: bool = False) -> None:
        selected = self.slices.selected
        self._attempt(lambda: self._controller.accept(selected))

    def _on_accept_all(self, checked: bool = False) -> None:
        self._attempt(self._controller.accept_all)

    def _on_flag(self, checked: bool = False) -> None:
        selected = self.slices.selected
        self._attempt(lambda: self._controller.flag(selected))

    def _on_reset(self, checked: bool = False) -> None:
        selected = self.slices.selected
        self._attempt(lambda: self._controller.reset_status(selected))

    def _on_worst(self, checked: bool = False) -> None:
        self._jump_to(self._controller.worst(self._start_slice()))

    def _on_better(self, checked: bool = False) -> None:
        self._jump_to(self._controller.worst(self._start_slice(), -1))

    def _on_refill(self, checked: bool = False) -> None:
        request = self._controller.refill()
        if request is not None:
            self._attempt(lambda: self._fill(request))

    def _on_plot(self, checked: bool = False) -> None:
        self._attempt(self._controller.show_plot)
        self._plot_clicks.follow()

    def _on_uncertainty(self, checked: bool) -> None:
        self._attempt(lambda: self._controller.overlays.show_uncertainty(checked))

    def _on_differences(self, checked: bool) -> None:
        self._attempt(lambda: self._controller.overlays.show_differences(checked))
