"""WorkDisplay: shows the next action, opens the step for it, and shows the states of the other steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..i18n import tr as _
from .accordion import Accordion
from .action_bar import ActionBar
from .fill_step import FillStep
from .help_buttons import PAGES, HelpButtons
from .review_section import ReviewSection
from .volume_step import VolumeStep

TOOLS = "tools"


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
        if not self._review.has_filled:
            return _(
                "Example, 1 of 4: the head is painted on every 12th slice. Press Fill to have the others filled."
            )
        if not self._review.any_reviewed:
            return _(
                "Example, 3 of 4: press Next worst to see the least certain slice, correct it in step 2 or not, and "
                "press Accept."
            )
        return _("Example, 4 of 4: step 5 exports the result. Now load a volume of your own in step 1.")


class WorkDisplay:
    """Updates bar and accordion.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel by name.
    parent : QWidget
        Widget whose layout holds the sections.
    bar : ActionBar
    volume, label, fill, review, export : the five steps
        Each with a `state_line`.
    tools : mapping of str to section
        Name of each collapsible button in the last section of the panel -> its content, which is not updated while it
        is closed.
    """

    def __init__(
        self,
        ui: Any,
        parent: Any,
        bar: ActionBar,
        *,
        volume: Any,
        label: Any,
        fill: FillStep,
        review: ReviewSection,
        export: Any,
        tools: Mapping[str, Any],
    ) -> None:
        self._bar = bar
        self._fill = fill
        self._review = review
        self._tools = dict(tools)
        self._walk = ExampleWalk(ui.exampleLabel, volume, fill, review)
        self._steps = {"volume": volume, "label": label, "fill": fill, "review": review, "export": export}
        sections = {
            "volume": ui.inputsSection,
            "label": ui.paintSection,
            "fill": ui.fillSection,
            "review": ui.reviewSection,
            "export": ui.exportSection,
            TOOLS: ui.toolsSection,
        }
        ui.toolsSection.layout().addStretch(0)
        self.help = HelpButtons({name: getattr(ui, name) for name in PAGES})
        headers = {name: getattr(ui, name) for name in tools}
        self.tools = Accordion(ui.toolsSection, headers, (), lambda name: self._tools[name].show_controls())
        self.accordion = Accordion(parent, sections, (TOOLS,), self._on_opened)

    def show(self, run: Callable[[Callable[[], object]], object]) -> None:
        """Show where the work is now.

        Parameters
        ----------
        run : function
            Calls a function, and reports the errors that it raises.
        """
        run(lambda: self._bar.show(self._fill.idle))
        run(self._walk.show)
        run(lambda: self.accordion.follow(self._reached()))
        run(lambda: self.accordion.show_states({name: step.state_line for name, step in self._steps.items()}))
        run(self.help.move)
        for section in self._open_tools():
            run(section.show_controls)

    def close(self) -> None:
        """Leave the sections as they are, which may be deleted."""
        self.accordion.close()
        self.tools.close()

    def _reached(self) -> str:
        """Name of the step to open; never that of the fill, whose button is in the bar."""
        if not self._fill.nodes.complete:
            return "volume"
        if not self._review.has_filled:
            return "label"
        return "export" if self._review.all_reviewed and not self._fill.has_unfilled else "review"

    def _open_tools(self) -> list[Any]:
        is_open = self.accordion.is_open(TOOLS)
        return [section for name, section in self._tools.items() if is_open and self.tools.is_open(name)]

    def _on_opened(self, name: str) -> None:
        if name == TOOLS:
            for section in self._open_tools():
                section.show_controls()
