"""NextButton: emphasises the button of the panel to press next."""

from __future__ import annotations

from typing import Any

from .export_section import ExportSection
from .fill_step import FillStep
from .review_section import ReviewSection
from .widgets import emphasise


class NextButton:
    """Emphasises one button at a time.

    Parameters
    ----------
    fill : FillStep
        Its widgets are those of all numbered steps.
    review : ReviewSection
    export : ExportSection
    """

    def __init__(self, fill: FillStep, review: ReviewSection, export: ExportSection) -> None:
        self._fill = fill
        self._review = review
        self._export = export
        self._shown: Any = None

    @property
    def button(self) -> Any:
        """The emphasised button, None if there is none."""
        return self._shown

    def show(self) -> None:
        """Emphasise what comes next now."""
        chosen = self._chosen()
        if chosen is not None and not chosen.enabled:
            chosen = None
        if chosen is not self._shown:
            if self._shown is not None:
                emphasise(self._shown, False)
            if chosen is not None:
                emphasise(chosen, True)
            self._shown = chosen

    def _chosen(self) -> Any:
        """Button of the next action; None if the next action needs no button."""
        fill, ui = self._fill, self._fill.ui
        if fill.volume is None:
            return None
        if fill.segmentation is None:
            return ui.newSegmentationButton
        if ui.resumeButton.enabled:
            return ui.resumeButton
        if not fill.idle:
            return None
        if not self._is_filled():
            return ui.suggestButton if fill.why_not_fill() else ui.fillButton
        if self._review.worst_button.enabled:
            return self._review.worst_button
        if fill.has_unfilled:
            return ui.fillButton
        return self._export.export_button if self._export.export_button.enabled else self._export.check_button

    def _is_filled(self) -> bool:
        """Whether slices were filled, that was not undone, and nothing was labelled since."""
        slices = self._fill.record.present
        return self._review.has_filled and set(self._fill.selection.labelled) <= set(slices.labelled)
