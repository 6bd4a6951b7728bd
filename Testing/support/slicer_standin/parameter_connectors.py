"""Which widget may show a parameter of which type, as in Slicer's parameterNodeWrapper."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.slicer_standin import ctk_widgets as ctk
from support.slicer_standin.node_combo_box import qMRMLNodeComboBox
from support.slicer_standin.parameter_types import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    is_enum,
    is_node_type,
    split_annotations,
)
from support.slicer_standin.qt_module import qt

_INT_LIMIT = 2**31 - 1


@dataclass
class Connector:
    """One widget: how its value is read and written, and which signal reports a change."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    changed: Any

    def connect(self, callback: Callable[[], None]) -> None:
        """Call `callback()` at each change."""
        self._slot = lambda *_: callback()
        self.changed.connect(self._slot)

    def disconnect(self) -> None:
        """Stop calling."""
        self.changed.disconnect(self._slot)


def make_connector(widget: Any, hint: Any) -> Connector:
    """Return the connector of a widget for a parameter; RuntimeError where Slicer has none."""
    kind, annotations = split_annotations(hint)
    cls = type(widget)
    if kind is bool and cls in (qt.QCheckBox, ctk.ctkCheckBox):
        return Connector(widget.isChecked, widget.setChecked, widget.stateChanged)
    if kind is bool and cls is qt.QPushButton:
        widget.setCheckable(True)
        return Connector(widget.isChecked, widget.setChecked, widget.toggled)
    if kind is int and cls in (qt.QSpinBox, qt.QSlider):
        return _number(widget, annotations, (-_INT_LIMIT - 1, _INT_LIMIT), bounded=cls is qt.QSlider)
    if kind in (int, float) and cls in (qt.QDoubleSpinBox, ctk.ctkDoubleSpinBox, ctk.ctkSliderWidget):
        return _number(widget, annotations, (-1e300, 1e300), bounded=cls is ctk.ctkSliderWidget, kind=kind)
    if cls in (qt.QComboBox, ctk.ctkComboBox) and (is_enum(kind) or kind in (int, float, str, bool)):
        return _combo_box(widget, kind, annotations)
    if kind is str and cls in (qt.QLineEdit, qt.QLabel):
        changed = widget.textChanged if cls is qt.QLineEdit else widget.windowTitleChanged
        return Connector(lambda: widget.text, widget.setText, changed)
    if kind is str and cls is qt.QTextEdit:
        return Connector(widget.toPlainText, widget.setPlainText, widget.textChanged)
    if kind is Path and cls is ctk.ctkPathLineEdit:
        return Connector(lambda: Path(widget.currentPath), widget.set_path, widget.currentPathChanged)
    if kind is Path and cls is ctk.ctkDirectoryButton:
        return Connector(lambda: Path(widget.directory), widget.set_path, widget.directoryChanged)
    node_types = _node_types(kind)
    if cls is qMRMLNodeComboBox and node_types:
        widget.nodeTypes = node_types
        return Connector(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)
    raise RuntimeError(f"No connection between parameter type {hint} and widget {cls.__name__}")


def _node_types(kind: Any) -> list[str]:
    parts = typing.get_args(kind) or (kind,)
    parts = [part for part in (split_annotations(p)[0] for p in parts) if part is not type(None)]
    return [part.__name__ for part in parts] if all(map(is_node_type, parts)) else []


def _number(
    widget: Any, annotations: tuple[Any, ...], limits: tuple[float, float], bounded: bool, kind: type = int
) -> Connector:
    low, high = limits
    given = set()
    for annotation in annotations:
        if isinstance(annotation, (Minimum, WithinRange)):
            low = annotation.minimum
            given.add("minimum")
        if isinstance(annotation, (Maximum, WithinRange)):
            high = annotation.maximum
            given.add("maximum")
        if isinstance(annotation, Decimals):
            widget.decimals = annotation.value
        if isinstance(annotation, SingleStep):
            widget.singleStep = annotation.value
    if bounded and len(given) < 2:
        raise RuntimeError(f"{type(widget).__name__} needs a parameter with a minimum and a maximum")
    widget.minimum, widget.maximum = low, high

    def write(value: float) -> None:
        widget.value = value

    return Connector(lambda: kind(widget.value), write, widget.valueChanged)


def _combo_box(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector:
    if is_enum(kind):
        values = list(kind)
        label = getattr(kind, "label", lambda member: member.name)
        texts = [label(member) for member in values]
    else:
        choices = [a.choices for a in annotations if isinstance(a, Choice)]
        if not choices:
            raise RuntimeError("A combo box needs a parameter with the Choice annotation")
        values = list(choices[0])
        texts = [str(value) for value in values]
    widget.clear()
    widget.addItems(texts)

    def write(value: Any) -> None:
        widget.setCurrentIndex(values.index(value))

    return Connector(lambda: values[widget.currentIndex], write, widget.currentIndexChanged)
