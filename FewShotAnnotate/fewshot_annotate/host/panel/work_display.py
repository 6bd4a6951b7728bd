"""WorkDisplay: where the work is: what comes next, the step for it, and the states of the other steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .accordion import Accordion
from .action_bar import ActionBar
from .example_walk import ExampleWalk
from .fill_step import FillStep
from .help_buttons import PAGES, HelpButtons
from .review_section import ReviewSection

TOOLS = "tools"


class WorkDisplay:
    """Brings bar and accordion up to date.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel by name.
    parent : QWidget
        In whose layout the sections lie.
    bar : ActionBar
    volume, label, fill, review, export : the five steps
        Each with a `state_line`.
    tools : sequence of sections
        Those of the last section of the panel, which do nothing while it is closed.
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
        tools: Sequence[Any],
    ) -> None:
        self._bar = bar
        self._fill = fill
        self._review = review
        self._tools = tools
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
        ui.toolsSection.layout().addStretch(1)
        self.help = HelpButtons({name: getattr(ui, name) for name in PAGES})
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
        run(self.help.place)
        if self.accordion.is_open(TOOLS):
            for section in self._tools:
                run(section.show_controls)

    def _reached(self) -> str:
        """The step at which the work is; that of the fill needs no opening, as its button is in the bar."""
        if not self._fill.nodes.complete:
            return "volume"
        if not self._review.has_rows:
            return "label"
        return "export" if self._review.all_reviewed else "review"

    def _on_opened(self, name: str) -> None:
        if name == TOOLS:
            for section in self._tools:
                section.show_controls()
