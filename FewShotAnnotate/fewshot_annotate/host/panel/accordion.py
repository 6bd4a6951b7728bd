"""Accordion: the steps of the panel, one open at a time; the header of a closed step shows its state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import qt

# Room for the triangle and the margins of a header.
_HEADER_MARGIN_PIXELS = 44


class Accordion:
    """Keeps one section open; opens the next one when the work reaches it.

    Sections that the user opens or closes stay so until then.

    Parameters
    ----------
    parent : QWidget
        Widget whose layout holds the sections; the open one gets the remaining height.
    sections : mapping of str to ctkCollapsibleButton
    aside : collection of str
        Names of sections that are not steps of the work.
    opened : function
        Called with the name of a section that was opened.
    """

    def __init__(
        self, parent: Any, sections: Mapping[str, Any], aside: Collection[str], opened: Callable[[str], None]
    ) -> None:
        self._aside = frozenset(aside)
        self._parent = parent
        self._sections = dict(sections)
        self._opened = opened
        self._titles = {name: section.text for name, section in sections.items()}
        self._shown: dict[str, tuple[str, int]] = {}
        self._reached = ""
        self._arranging = False
        for name, section in self._sections.items():
            section.setMinimumWidth(1)  # otherwise the text of a header would limit how narrow the panel can be
            self._connect(name, section)
        self._arrange()

    def is_open(self, name: str) -> bool:
        """Whether a section is open."""
        return not self._sections[name].collapsed

    def close(self) -> None:
        """Leave the sections as they are, which may be deleted."""
        self._arranging = True

    def open(self, name: str) -> None:
        """Open a section, and close the others."""
        self._sections[name].collapsed = False
        self._on_collapsed(name, False)

    def follow(self, name: str) -> None:
        """Open the section where the work is, if it was at another one before.

        An open section that is no step of the work stays open: what is done there changes the steps, too.
        """
        if name != self._reached:
            self._reached = name
            if not any(self.is_open(aside) for aside in self._aside):
                self.open(name)

    def show_states(self, states: Mapping[str, str]) -> None:
        """Show the state of each closed section behind its title, cut to the width of the panel."""
        for name, section in self._sections.items():
            state = "" if self.is_open(name) else states.get(name, "")
            shown = (state, section.width)
            if self._shown.get(name) != shown:
                self._shown[name] = shown
                section.text = self._header(section, self._titles[name], state)

    def _header(self, section: Any, title: str, state: str) -> str:
        if not state:
            return title
        room = max(section.width - _HEADER_MARGIN_PIXELS, 0)
        return str(section.fontMetrics().elidedText(f"{title}:  {state}", qt.Qt.ElideRight, room)) or title

    def _connect(self, name: str, section: Any) -> None:
        def collapsed(is_collapsed: bool) -> None:
            self._on_collapsed(name, is_collapsed)

        section.connect("contentsCollapsed(bool)", collapsed)

    def _on_collapsed(self, name: str, is_collapsed: bool) -> None:
        if self._arranging:
            return
        self._arranging = True
        if not is_collapsed:
            for other, section in self._sections.items():
                if other != name and not section.collapsed:
                    section.collapsed = True
        self._arrange()
        self._arranging = False
        if not is_collapsed:
            self._opened(name)

    def _arrange(self) -> None:
        layout = self._parent.layout()
        for section in self._sections.values():
            layout.setStretchFactor(section, 0 if section.collapsed else 1)
