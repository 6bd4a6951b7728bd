"""PlotClicks: a click on a point of the plot of confidence goes to its slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from .confidence_plot import slice_of_point

_SIGNAL = "dataSelected(vtkStringArray*,vtkCollection*)"


class PlotClicks:
    """Follows the plot views of the application, where it has any.

    Parameters
    ----------
    go : function
        Called with the slice of the point that was clicked.
    """

    def __init__(self, go: Callable[[int], None]) -> None:
        self._go = go
        self._views: list[Any] = []

    def follow(self) -> None:
        """Follow the plot views of the present layout, in place of those of an earlier one."""
        layout = slicer.app.layoutManager()
        if layout is None:
            return
        self.close()
        for number in range(layout.plotViewCount):
            view = layout.plotWidget(number).plotView()
            view.connect(_SIGNAL, self._on_points)
            self._views.append(view)

    def close(self) -> None:
        """Follow no view any more."""
        for view in self._views:
            view.disconnect(_SIGNAL, self._on_points)
        self._views = []

    def _on_points(self, series_ids: Any, points: Any) -> None:
        for number in range(series_ids.GetNumberOfValues()):
            chosen = points.GetItemAsObject(number)
            series = slicer.mrmlScene.GetNodeByID(series_ids.GetValue(number))
            if series is not None and chosen is not None and chosen.GetNumberOfValues():
                index = slice_of_point(series, chosen.GetValue(0))
                if index is not None:
                    self._go(index)
                    return
