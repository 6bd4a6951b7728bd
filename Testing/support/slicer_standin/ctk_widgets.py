"""Stand-in for the few CTK widgets that scripted modules use, by the names and properties of CTK."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar

from PySide6.QtCore import Property, Qt, Signal

from support.slicer_standin.qt_module import custom_widget, qt

_HEADER = 24


@custom_widget
class ctkCollapsibleButton(qt.QAbstractButton):
    """A header with a triangle, and a body that is shown unless `collapsed`."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        policy = qt.QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Preferred)
        self._applying = False
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, _HEADER, 0, 0)
        self.toggled.connect(self._show_contents)

    def _get_collapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        """Hide or show the body."""
        self.setChecked(not collapsed)

    collapsed = Property(bool, _get_collapsed, setCollapsed)

    def _show_contents(self, shown: bool) -> None:
        self._apply()
        self.setMaximumHeight(16777215 if shown else _HEADER)
        self.contentsCollapsed.emit(not shown)

    def _apply(self) -> None:
        """Hide all of the body, or show what others have not hidden, also while the body was hidden."""
        self._applying = True
        for child in filter(qt.QObject.isWidgetType, self.children()):
            known = child.property("_visible_to_parent")
            if known is None:
                known = not child.isHidden() or not child.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
                child.setProperty("_visible_to_parent", known)
                child.installEventFilter(self)
            child.setVisible(bool(known) and self.isChecked())
        self._applying = False

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Record what others show and hide."""
        kinds = (qt.QEvent.Type.ShowToParent, qt.QEvent.Type.HideToParent)
        if event.type() in kinds and not self._applying:
            watched.setProperty("_visible_to_parent", event.type() == kinds[0])
            if not self.isChecked() and event.type() == kinds[0]:
                self._apply()
        return False

    def showEvent(self, event: Any) -> None:
        """Hide what was added while collapsed."""
        super().showEvent(event)
        self._apply()

    def minimumSizeHint(self) -> Any:
        """Leave room for the header, the whole of its text, and what is shown below it."""
        header = qt.QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, _HEADER)
        body = qt.QWidget.layout(self)
        return header if body is None or not self.isChecked() else header.expandedTo(body.totalMinimumSize())

    def paintEvent(self, event: Any) -> None:
        """Draw the header bar."""
        painter = qt.QPainter(self)
        bar = qt.QRect(0, 0, qt.QWidget.width(self), _HEADER - 4)
        painter.fillRect(bar, qt.QPalette.color(self.palette, qt.QPalette.ColorRole.Midlight))
        mark = (
            "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
            if self.isChecked()
            else "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        )
        painter.drawText(bar.adjusted(6, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, f"{mark} {self.text}")
        painter.end()


@custom_widget
class ctkCollapsibleGroupBox(qt.QGroupBox):
    """A group box whose contents are hidden when `collapsed`."""

    def _get_collapsed(self) -> bool:
        return bool(self.property("_collapsed"))

    def setCollapsed(self, collapsed: bool) -> None:
        """Hide or show the contents."""
        self.setProperty("_collapsed", collapsed)
        for child in filter(qt.QObject.isWidgetType, self.children()):
            child.setVisible(not collapsed)

    collapsed = Property(bool, _get_collapsed, setCollapsed)


@custom_widget
class ctkComboBox(qt.QComboBox):
    """A combo box with a text for the empty choice."""

    defaultText = Property(str, lambda self: self.placeholderText, lambda self, text: self.setPlaceholderText(text))


@custom_widget
class ctkCheckBox(qt.QCheckBox):
    """A check box."""


@custom_widget
class ctkDoubleSpinBox(qt.QDoubleSpinBox):
    """A spin box of real numbers."""


@custom_widget
class ctkSliderWidget(qt.QWidget):
    """A slider and a spin box that show one real number."""

    valueChanged = Signal(float)
    SIGNALS: ClassVar[dict[str, str]] = {"valueChanged(double)": "valueChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider, self._box = qt.QSlider(Qt.Orientation.Horizontal, self), qt.QDoubleSpinBox(self)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._slider.setRange(0, 1000)
        self._slider.valueChanged.connect(self._on_slider)
        self._box.valueChanged.connect(self._on_box)

    def _on_slider(self, position: int) -> None:
        self._box.setValue(self._box.minimum + position / 1000 * (self._box.maximum - self._box.minimum))

    def _on_box(self, value: float) -> None:
        span = self._box.maximum - self._box.minimum
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self._box.minimum) / span) if span else 0)
        self._slider.blockSignals(blocked)
        self.valueChanged.emit(value)

    def _forward(name: str, kind: type) -> Any:  # type: ignore[misc]
        return Property(
            kind, lambda self: getattr(self._box, name), lambda self, value: setattr(self._box, name, value)
        )

    value = _forward("value", float)
    minimum = _forward("minimum", float)
    maximum = _forward("maximum", float)
    singleStep = _forward("singleStep", float)
    decimals = _forward("decimals", int)
    suffix = _forward("suffix", str)

    def setValue(self, value: float) -> None:
        """Set the number."""
        self._box.setValue(value)


class _PathWidget(qt.QWidget):
    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit, self._button = qt.QLineEdit(self), qt.QToolButton(self)
        self._button.text = "..."
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._button)

    def get_path(self) -> str:
        return self._edit.text

    def set_path(self, path: str | Path) -> None:
        self._edit.setText(str(path))


@custom_widget
class ctkPathLineEdit(_PathWidget):
    """A line edit for a path, with a button that would open a file dialog."""

    currentPathChanged = Signal(str)
    Files, Dirs, Writable = 2, 1, 0x20

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit.textChanged.connect(self._on_text)

    def _on_text(self, text: str) -> None:
        """As CTK's, it emits no signal when it is emptied."""
        if text:
            self.currentPathChanged.emit(text)

    def setCurrentPath(self, path: str) -> None:
        """Set the path."""
        self.set_path(path)

    def addCurrentPathToHistory(self) -> None:
        """Do nothing: the stand-in has no history."""

    currentPath = Property(str, _PathWidget.get_path, _PathWidget.set_path)
    settingKey = Property(str, lambda self: self.property("_key"), lambda self, key: self.setProperty("_key", key))
    filters = Property(int, lambda self: 2, lambda self, filters: None)
    nameFilters = Property("QStringList", lambda self: [], lambda self, filters: None)


@custom_widget
class ctkDirectoryButton(_PathWidget):
    """A button that shows a folder."""

    directoryChanged = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit.textChanged.connect(self.directoryChanged)

    directory = Property(str, _PathWidget.get_path, _PathWidget.set_path)


@custom_widget
class ctkMessageBox(qt.QMessageBox):
    """A message box with an option not to show it again."""

    dontShowAgainSettingsKey = Property(
        str, lambda self: self.property("_key") or "", lambda self, key: self.setProperty("_key", key)
    )

    def exec_(self) -> int:
        """Show the box, unless an answer is stored in the settings."""
        stored = qt.QSettings().value(self.dontShowAgainSettingsKey) if self.dontShowAgainSettingsKey else None
        return int(stored) if stored is not None else super().exec_()


def make_ctk() -> Any:
    """Return the stand-in `ctk` module."""
    module: Any = types.ModuleType("ctk", "Stand-in for a few CTK widgets, on PySide6.")
    vars(module).update({name: value for name, value in globals().items() if name.startswith("ctk")})
    return module
