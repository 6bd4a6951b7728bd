"""Stand-in for qMRMLWidget, and the observation of MRML objects that the qMRML stand-ins share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import shiboken6
from PySide6.QtCore import Signal

from support.mrml import observe_node_event
from support.slicer_standin.qt_module import custom_widget, qt


class Observations:
    """VTK observations of one widget; they end when its C++ object is gone."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget
        self._observed: list[tuple[Any, int]] = []

    def add(self, observed: Any, event: Any, callback: Callable[[], None]) -> None:
        """Call `callback()` at each `event`."""
        self._observed.append((observed, observed.AddObserver(event, lambda *_: self._call(callback))))

    def add_node_event(self, scene: Any, event: int, callback: Callable[[Any], None]) -> None:
        """Call `callback(node)` at each scene event that has a node as call data."""
        tag = observe_node_event(scene, event, lambda node: self._call(lambda: callback(node)))
        self._observed.append((scene, tag))

    def clear(self) -> None:
        """End all observations."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()

    def _call(self, callback: Callable[[], None]) -> None:
        if shiboken6.isValid(self._widget):
            callback()
        else:
            self.clear()


@custom_widget
class qMRMLWidget(qt.QWidget):
    """A widget with a scene, and a signal for its changes."""

    mrmlSceneChanged = Signal(object)
    SIGNALS: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene and emit `mrmlSceneChanged`."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)
