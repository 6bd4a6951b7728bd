"""Stand-in for `slicer.parameterNodeWrapper`: typed attributes on a real parameter node, connected to widgets.

Parameter packs, lists, dictionaries and createGui are left out. Values are read from the node at each access,
where Slicer keeps a copy that it renews at each ModifiedEvent.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import slicer
import vtk

from support.slicer_standin.parameter_connectors import Connector, make_connector
from support.slicer_standin.parameter_types import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    make_parameter,
    split_annotations,
)
from support.slicer_standin.qt_module import qt

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Parameter:
    """One typed attribute; a data descriptor of the wrapped class."""

    def __init__(self, name: str, hint: Any, assigned: Any) -> None:
        self.name, self.hint = name, hint
        kind, annotations = split_annotations(hint)
        self._storage = make_parameter(kind)
        self._validators = [a for a in annotations if hasattr(a, "validate")]
        given = [a for a in annotations if isinstance(a, Default)]
        self.default = assigned or (given[0] if given else Default(self._storage.default))

    def __get__(self, wrapper: Any, owner: type | None = None) -> Any:
        if wrapper is None:
            return self
        if not self._storage.is_in(wrapper.parameterNode, self.name):
            self.__set__(wrapper, self.default.value)
        return self._storage.read(wrapper.parameterNode, self.name)

    def __set__(self, wrapper: Any, value: Any) -> None:
        for validator in self._validators:
            validator.validate(value)
        with slicer.util.NodeModify(wrapper.parameterNode):
            self._storage.write(wrapper.parameterNode, self.name, value)

    def write_default_if_missing(self, wrapper: Any) -> None:
        """Give the node the default where it has no value."""
        if not self._storage.is_in(wrapper.parameterNode, self.name):
            self.__set__(wrapper, self.default.value)


class _Wrapper:
    """What the decorator adds to a class."""

    allParameters: dict[str, _Parameter]
    is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[dict[str, Connector], int]] = {}
        self._next_tag = 0
        self._updating_gui = False
        for parameter in self.allParameters.values():
            parameter.write_default_if_missing(self)

    def default(self, name: str) -> Default:
        """Return the default of a parameter."""
        return self._parameter(name).default

    @classmethod
    def dataType(cls, name: str) -> Any:
        """Return the type hint of a parameter."""
        return cls.allParameters[name].hint

    def isCached(self, name: str) -> bool:
        """Return False: the stand-in always reads from the node."""
        return False

    def getValue(self, name: str) -> Any:
        """Return the value of a parameter by name."""
        return self._parameter(name).__get__(self)

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter by name."""
        self._parameter(name).__set__(self, value)

    def connectGui(self, gui: Any) -> int:
        """Connect each widget with the property SlicerParameterName to that parameter; returns a tag."""
        is_widget = isinstance(gui, qt.QWidget)
        widgets = gui.findChildren(qt.QWidget) if is_widget else vars(gui).values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Connect parameters to widgets by name; returns a tag."""
        connectors = {n: make_connector(widget, self._parameter(n).hint) for n, widget in mapping.items()}
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._gui_callback(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_guis())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        """Disconnect the widgets of a `connectGui`; an unknown tag does nothing."""
        if tag in self._guis:
            connectors, observer = self._guis.pop(tag)
            self.RemoveObserver(observer)
            for connector in connectors.values():
                connector.disconnect()

    def StartModify(self) -> int:
        """Begin to defer ModifiedEvents."""
        return self.parameterNode.StartModify()

    def EndModify(self, was_modifying: int) -> int:
        """End the deferral of ModifiedEvents."""
        return self.parameterNode.EndModify(was_modifying)

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        """Observe the parameter node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """End an observation."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Invoke ModifiedEvent."""
        self.parameterNode.Modified()

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"There is no parameter {name}, only {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def _gui_callback(self, name: str, connector: Connector) -> Callable[[], None]:
        def on_changed() -> None:
            if not self._updating_gui:
                self.setValue(name, connector.read())

        return on_changed

    def _update_guis(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            for connectors, _ in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating_gui = False


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Class decorator: annotated attributes become parameters of the node given to the constructor."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    reserved = sorted(set(hints) & set(dir(_Wrapper)))
    if reserved:
        raise ValueError(f"Cannot use reserved name '{reserved[0]}' in a parameterNodeWrapper")
    parameters = {
        name: _Parameter(name, hint, Default(vars(cls)[name]) if name in vars(cls) else None)
        for name, hint in hints.items()
    }
    body = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__")}
    return type(cls.__name__, (_Wrapper,), body | parameters | {"allParameters": parameters})


def isParameterNodeWrapper(candidate: Any) -> bool:
    """Return whether a class or an object was made by `parameterNodeWrapper`."""
    return bool(getattr(candidate, "is_parameter_node_wrapper", False))


def findChildWidgetForParameter(widget: Any, name: str) -> Any:
    """Return the child widget that shows a parameter, or None."""
    children = widget.findChildren(qt.QWidget)
    return next((w for w in children if w.property(SlicerParameterNamePropertyName) == name), None)
