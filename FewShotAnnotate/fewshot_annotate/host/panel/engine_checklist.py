"""EngineChecklist: the engines that can be compared, one a row, to be ticked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt

from ..engines.descriptions import engine_summary
from ..engines.state import AUTO, EngineState, Readiness
from ..i18n import tr as _
from ..messages import error_text
from .widgets import fit_height, set_header, set_text_item

_MAX_ROWS = 6


class EngineChecklist:
    """Table of engines with a check box each; only those that are ready can be ticked.

    Parameters
    ----------
    changed : function
        Called after the user ticked an engine, or removed its tick.

    Attributes
    ----------
    widget : QTableWidget
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self.widget = qt.QTableWidget()
        set_header(self.widget, (_("Engine"), _("State")), wide=1)
        self.widget.connect("itemChanged(QTableWidgetItem*)", lambda _item: changed())
        self._listed: tuple[EngineState, ...] = ()

    @property
    def has_engines(self) -> bool:
        """Whether any engine is listed."""
        return bool(self._listed)

    @property
    def checked(self) -> tuple[str, ...]:
        """Names of the engines that are ticked."""
        items = (self.widget.item(row, 0) for row in range(self.widget.rowCount))
        return tuple(item.text() for item in items if item.checkState() == qt.Qt.Checked)

    def show(self, engine_states: Sequence[EngineState]) -> None:
        """List the engines; one that has become ready is ticked."""
        states = tuple(state for state in engine_states if state.name != AUTO)
        if states == self._listed:
            return
        chosen = self.checked
        were_ready = {state.name for state in self._listed if state.readiness is Readiness.READY}
        self._listed = states
        table = self.widget
        table.blockSignals(True)
        table.setRowCount(len(states))
        for row, state in enumerate(states):
            ready = state.readiness is Readiness.READY
            set_text_item(table, row, 0, state.name)
            set_text_item(table, row, 1, _("ready") if ready else _reason(state))
            if state.readiness in (Readiness.NEEDS_DOWNLOAD, Readiness.NEEDS_INSTALL):
                table.item(row, 1).setToolTip(_("Choose it in step 3 and press Fill, which offers to get it."))
            item = table.item(row, 0)
            item.setToolTip(f"{state.title}\n{engine_summary(state.engine)}")
            item.setFlags((qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled) if ready else qt.Qt.NoItemFlags)
            checked = ready and (state.name in chosen or state.name not in were_ready)
            item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        table.resizeColumnToContents(0)
        fit_height(table, _MAX_ROWS)
        table.blockSignals(False)


def _reason(state: EngineState) -> str:
    texts = {
        Readiness.NEEDS_DOWNLOAD: _("needs a download"),
        Readiness.NEEDS_INSTALL: _("needs an installation"),
    }
    return texts.get(state.readiness, "" if state.reason is None else error_text(state.reason))
