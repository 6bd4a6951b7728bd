"""FurtherList: the list in step 1 in which further volumes are ticked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

_MAX_ROWS = 4


class FurtherList:
    """A list with a check box for each volume; it is hidden while there is none to choose.

    Parameters
    ----------
    widget : QListWidget
    label : QLabel
        Title of the list, hidden with it.
    choose : function
        Called with the ids of the ticked volumes after the user has changed one.
    """

    def __init__(self, widget: Any, label: Any, choose: Callable[[list[str]], None]) -> None:
        self._widget = widget
        self._label = label
        self._choose = choose
        self._shown: tuple[object, ...] | None = None
        widget.connect("itemChanged(QListWidgetItem*)", self._on_changed)

    def show(self, volumes: Sequence[tuple[str, str]], chosen: Sequence[str], enabled: bool) -> None:
        """Show volumes, as pairs of id and name, those whose ids are `chosen` ticked."""
        shown = (tuple(volumes), tuple(chosen), enabled)
        if shown == self._shown:
            return
        self._shown = shown
        widget = self._widget
        widget.visible = self._label.visible = bool(volumes)
        widget.blockSignals(True)
        while widget.count > len(volumes):
            widget.takeItem(widget.count - 1)
        while widget.count < len(volumes):
            widget.addItem("")
        flags = qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled if enabled else qt.Qt.NoItemFlags
        for row, (identifier, name) in enumerate(volumes):
            item = widget.item(row)
            item.setText(name)
            item.setData(qt.Qt.UserRole, identifier)
            item.setFlags(flags)
            item.setCheckState(qt.Qt.Checked if identifier in chosen else qt.Qt.Unchecked)
        widget.blockSignals(False)
        rows = min(len(volumes), _MAX_ROWS)
        height = qt.QFontMetrics(widget.font).height() + 4
        widget.setFixedHeight(rows * height + 2 * widget.frameWidth)

    def _on_changed(self, item: Any) -> None:
        items = [self._widget.item(row) for row in range(self._widget.count)]
        self._choose([item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked])
