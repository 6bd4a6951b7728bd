"""Builds the stand-in `qt` module, including a QUiLoader that knows the ctk and qMRML stand-ins."""

from __future__ import annotations

import types
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools

from support.slicer_standin.pythonqt import export_names

# Class name in a .ui file -> Python class, for classes that are not Qt's.
CUSTOM_WIDGETS: dict[str, type] = {}


def custom_widget(cls: type) -> type:
    """Class decorator: .ui files may name this class, and its instances take no new public attributes."""
    CUSTOM_WIDGETS[cls.__name__] = cls
    cls._stands_in = True  # type: ignore[attr-defined]
    return cls


def _make_qt() -> Any:
    module: Any = types.ModuleType("qt", "Stand-in for Slicer's PythonQt module `qt`, on PySide6.")
    vars(module).update(export_names())
    return module


qt = _make_qt()


class QUiLoader(QtUiTools.QUiLoader):
    """Loads .ui files into the exported classes, and makes the connections stored in them."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Make one widget of a .ui file; called by Qt for each of them."""
        cls = CUSTOM_WIDGETS.get(class_name) or getattr(qt, class_name, None)
        if cls is None:
            raise RuntimeError(f"The stand-in has no widget class {class_name}")
        widget = cls(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: Any, parent: Any = None) -> Any:
        """Load a .ui file from an open device."""
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        device.close()
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in connections if connections is not None else ():
            _connect(widget, *(connection.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")))
        return widget


def _connect(root: Any, sender: str, signal: str, receiver: str, slot: str) -> None:
    def by_name(name: str) -> Any:
        return root if root.objectName == name else root.findChild(qt.QObject, name)

    by_name(sender).connect(signal, by_name(receiver), slot)


qt.QUiLoader = QUiLoader
