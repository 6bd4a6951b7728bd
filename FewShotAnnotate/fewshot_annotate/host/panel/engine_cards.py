"""EngineCards: the engines as a list of cards, with what each needs and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from ..engines.descriptions import engine_summary, restrictions_text
from ..engines.state import AUTO, EngineState, Readiness
from ..i18n import tr as _
from ..messages import error_text
from ..sentences.details import duration
from .coverage import dot_icon
from .widgets import as_tool_tip

_MEGABYTE = 1e6
_COLOURS = {
    Readiness.READY: "#2e9e4f",
    Readiness.NEEDS_DOWNLOAD: "#3b82c4",
    Readiness.NEEDS_INSTALL: "#c98a1b",
    Readiness.CANNOT_RUN: "#c0504d",
}
_ORDER = list(Readiness)


class EngineCards:
    """The list and the text below it.

    Parameters
    ----------
    engine_list : QListWidget
    label : QLabel
        Shows the details of the chosen engine that do not fit on its card.
    choose : function
        Called with the name of an engine that the user chose.
    """

    def __init__(self, engine_list: Any, label: Any, choose: Callable[[str], None]) -> None:
        self._list = engine_list
        self._label = label
        self._choose = choose
        self._shown: tuple[object, ...] | None = None
        engine_list.setWordWrap(True)
        engine_list.setSpacing(1)
        engine_list.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        engine_list.setVerticalScrollMode(qt.QAbstractItemView.ScrollPerPixel)
        engine_list.connect("currentRowChanged(int)", self._on_row)

    def show(self, states: Sequence[EngineState], chosen: str, slices: int, pixels: int) -> None:
        """Show the engines.

        Parameters
        ----------
        states : sequence of EngineState
            Empty until they are known.
        chosen : str
            Name of the chosen engine, which need not be among `states`.
        slices, pixels : int
            Slices to fill, 0 if that is not known, and pixels of a slice.
        """
        shown = (tuple(states), chosen, slices, pixels)
        if shown == self._shown:
            return
        self._shown = shown
        ordered = sorted(states, key=lambda state: -1 if state.name == AUTO else _ORDER.index(state.readiness))
        rows = [state.name for state in ordered]
        self._list.blockSignals(True)
        while self._list.count > max(1, len(ordered)):
            self._list.takeItem(self._list.count - 1)
        if not ordered:
            self._item(0).setText(_("Looking for engines ..."))
        for row, state in enumerate(ordered):
            self._show_card(self._item(row), state, slices, pixels)
        self._list.setCurrentRow(rows.index(chosen) if chosen in rows else -1)
        self._list.blockSignals(False)
        state_of_chosen = next((state for state in ordered if state.name == chosen), None)
        self._label.text = _detail(state_of_chosen) if state_of_chosen is not None else ""
        self._label.visible = bool(self._label.text)

    def _item(self, row: int) -> Any:
        while self._list.count <= row:
            self._list.addItem("")
        return self._list.item(row)

    def _show_card(self, item: Any, state: EngineState, slices: int, pixels: int) -> None:
        title = _("Best that can run here ({title})").format(title=state.title) if state.name == AUTO else state.title
        facts = [_readiness(state), _time(state, slices, pixels)]
        item.setText(f"{title}: {', '.join(fact for fact in facts if fact)}")
        why_not = engine_summary(state.engine) if state.reason is None else error_text(state.reason)
        item.setToolTip(as_tool_tip(why_not))
        item.setData(qt.Qt.UserRole, state.name)
        item.setIcon(dot_icon(qt.QColor(_COLOURS[state.readiness]), state.readiness is not Readiness.READY))
        usable = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        item.setFlags(qt.Qt.NoItemFlags if state.readiness is Readiness.CANNOT_RUN else usable)

    def _on_row(self, row: int) -> None:
        name = self._list.item(row).data(qt.Qt.UserRole) if row >= 0 else None
        if name:
            self._choose(name)


def _readiness(state: EngineState) -> str:
    if state.readiness is Readiness.NEEDS_DOWNLOAD:
        size = state.download_bytes
        if size is None:
            return _("needs a download")
        return _("needs a download of {size} MB").format(size=round(size / _MEGABYTE))
    return {
        Readiness.READY: _("ready"),
        Readiness.NEEDS_INSTALL: _("needs an installation"),
        Readiness.CANNOT_RUN: _("cannot run here"),
    }[state.readiness]


def _time(state: EngineState, slices: int, pixels: int) -> str:
    seconds = state.seconds(slices, pixels) if slices else None
    if seconds is not None:
        return _("about {time}").format(time=duration(seconds))
    if state.seconds_per_slice is None:
        return ""
    return _("about {seconds:.2g} s a slice").format(seconds=state.seconds_per_slice)


def _detail(state: EngineState) -> str:
    """What the chosen engine is good for, and what Fill will ask first."""
    lines = [engine_summary(state.engine), _("Licence: {licence}.").format(licence=state.licence)]
    if state.packages:
        lines.append(_("Fill asks before it installs: {packages}.").format(packages=", ".join(state.packages)))
    if state.checkpoints:
        titles = ", ".join(checkpoint.title for checkpoint in state.checkpoints)
        lines.append(_("Fill asks before it downloads: {titles}.").format(titles=titles))
        lines += [
            restrictions_text(checkpoint)
            for checkpoint in state.checkpoints
            if checkpoint.restrictions and not checkpoint.permissive
        ]
    if state.reason is not None:
        lines.append(error_text(state.reason))
    return "\n".join(lines)
