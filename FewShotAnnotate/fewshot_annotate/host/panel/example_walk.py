"""ExampleWalk: a sentence in the bar that says what to do next with the example, until it was reviewed."""

from __future__ import annotations

from typing import Any

from ..i18n import tr as _
from .fill_step import FillStep
from .review_section import ReviewSection
from .volume_step import VolumeStep


class ExampleWalk:
    """Explains the example of step 1, one sentence at a time; the user need not confirm or close anything.

    Parameters
    ----------
    label : QLabel
        Of the bar; hidden unless the example is chosen.
    volume : VolumeStep
        Says whether the example is chosen.
    fill : FillStep
    review : ReviewSection
    """

    def __init__(self, label: Any, volume: VolumeStep, fill: FillStep, review: ReviewSection) -> None:
        self._label = label
        self._volume = volume
        self._fill = fill
        self._review = review
        self._shown: str | None = None

    def show(self) -> None:
        """Show the sentence for where the work is now; called by the panel's timer."""
        text = self._text()
        if text != self._shown:
            self._shown = text
            self._label.text = text
            self._label.visible = bool(text)

    def _text(self) -> str:
        if not self._volume.shows_example:
            return ""
        if not self._fill.idle:
            return _("Example, 2 of 4: slices appear in a preview, and the segmentation changes once, at the end.")
        if not self._review.has_rows:
            return _(
                "Example, 1 of 4: the head is painted on every 12th slice. Press Fill to have the others filled."
            )
        if not self._review.any_reviewed:
            return _(
                "Example, 3 of 4: press Next worst to see the least certain slice, correct it in step 2 or not, and "
                "press Accept."
            )
        return _("Example, 4 of 4: step 5 exports the result. Now load a volume of your own in step 1.")
