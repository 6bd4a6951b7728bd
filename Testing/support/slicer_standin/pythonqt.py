"""Stand-in for PythonQt's conventions, on top of PySide6.

Slicer's `qt` module is made by PythonQt, where a Qt property is an attribute without parentheses, a signal is
connected by its C++ signature, `name` is another word for `objectName`, and a C++ object takes no new
attributes. Properties are installed on PySide6's own classes; `connect` needs the Python subclasses that
`python_class` makes, because PySide6 does not let it be replaced.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

# Computed by Qt for each layout, which asks Python for an override of them: methods of the classes of PySide6 alone.
_COMPUTED = ("sizeHint", "minimumSizeHint")
# PythonQt has no such names in Slicer; leaving them out keeps product code from relying on PySide6.
_NOT_IN_PYTHONQT = {"Signal", "SignalInstance", "Slot", "Property", "ClassInfo", "QEnum", "QFlag"}

_native_connect = QtCore.QObject.__dict__["connect"].__get__(None, QtCore.QObject)
_native_find_children = QtCore.QObject.findChildren
_native_find_child = QtCore.QObject.findChild


class _QtProperty:
    """A Qt property as an attribute of instances; on the class it stays what PySide6 had there."""

    def __init__(self, name: str, original: Any, writable: bool) -> None:
        self._name = name
        self._original = original
        self._writable = writable

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            if self._original is None:
                raise AttributeError(self._name)
            return self._original.__get__(None, owner)
        if isinstance(self._original, types.MethodDescriptorType):
            return self._read(self._original.__get__(instance, owner)())
        return instance.property(self._name)

    def _read(self, value: Any) -> Any:
        """As Slicer gives it, whose application makes rich text of plain tool tips, so that their lines wrap."""
        if self._name == "toolTip" and value and not QtGui.Qt.mightBeRichText(value):
            return QtGui.Qt.convertFromPlainText(value, QtCore.Qt.WhiteSpaceMode.WhiteSpaceNormal)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        if not self._writable:
            raise AttributeError(f"Property '{self._name}' of {type(instance).__name__} is read-only")
        setter = getattr(instance, f"set{self._name[0].upper()}{self._name[1:]}", None)
        if setter is not None:
            setter(value)
        elif not instance.setProperty(self._name, value):
            raise TypeError(f"Property '{self._name}' does not take {value!r}")


def install_properties(native: type) -> None:
    """Make the properties that `native` itself declares readable and writable without parentheses."""
    meta = native.staticMetaObject  # type: ignore[attr-defined]
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        meta_property = meta.property(index)
        name = meta_property.name()
        original = inspect.getattr_static(native, name, None)
        if name in _COMPUTED or isinstance(original, _QtProperty):
            continue
        setattr(native, name, _QtProperty(name, original, meta_property.isWritable()))
    if native is QtCore.QObject:
        native.name = _QtProperty("objectName", native.__dict__["objectName"]._original, True)  # type: ignore[attr-defined]


def _install_class_checks() -> None:
    """Let `isinstance(button, qt.QWidget)` hold, although each exported class is a separate Python subclass.

    A metaclass of our own would be the usual way, but Shiboken crashes on deleted objects of such classes.
    """

    def is_instance(cls: type, instance: Any) -> bool:
        native = cls.__dict__.get("_native")
        return type.__instancecheck__(cls, instance) or (native is not None and isinstance(instance, native))

    def is_subclass(cls: type, subclass: type) -> bool:
        native = cls.__dict__.get("_native")
        return type.__subclasscheck__(cls, subclass) or (native is not None and issubclass(subclass, native))

    meta: Any = type(QtCore.QObject)
    meta.__instancecheck__, meta.__subclasscheck__ = is_instance, is_subclass


def accepted_arguments(function: Callable[..., Any]) -> int | None:
    """Return how many positional arguments `function` takes, None for any number."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


class PythonQtObject:
    """Mixin of every exported QObject class: signals by signature, and no invented attributes."""

    # C++ signature of signals that Python declares with other argument types -> name of the Python signal.
    SIGNALS: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """PySide6 finds its own connect and disconnect first, unless the class itself has them."""
        super().__init_subclass__(**arguments)
        cls.connect = cls.__dict__.get("connect", PythonQtObject.connect)  # type: ignore[method-assign]
        cls.disconnect = cls.__dict__.get("disconnect", PythonQtObject.disconnect)  # type: ignore[method-assign]

    def connect(self, signature: str, target: Any, slot: str | None = None) -> bool:
        """Connect ``connect("clicked(bool)", function)`` or ``connect("clicked()", receiver, "slot()")``."""
        function = target if slot is None else getattr(target, slot.split("(")[0])
        if not callable(function):
            raise ValueError(f"Cannot connect {signature} to {function!r}: not callable")
        limit = accepted_arguments(function)

        def call(*arguments: Any) -> None:
            function(*arguments[:limit])

        try:
            alias = self._declared_signal(signature)
        except ValueError as error:  # PythonQt prints and goes on; tests ask for what was printed
            sys.excepthook(type(error), error, None)
            return False
        if alias is not None:
            connection = getattr(self, alias).connect(call)
        else:
            connection = _native_connect(self, QtCore.SIGNAL(signature), call)
        self.__dict__.setdefault("_connections", []).append((signature, function, connection, call))
        return True

    def disconnect(self, signature: str, target: Any = None, slot: str | None = None) -> bool:
        """Undo `connect`, without a target for every function connected. False if there was none."""
        function = target if slot is None else getattr(target, slot.split("(")[0])
        self._declared_signal(signature)
        kept, dropped = [], []
        for entry in self.__dict__.get("_connections", []):
            matches = entry[0] == signature and (function is None or entry[1] == function)
            (dropped if matches else kept).append(entry)
        for entry in dropped:
            QtCore.QObject.__dict__["disconnect"].__get__(None, QtCore.QObject)(entry[2])
        self.__dict__["_connections"] = kept
        return bool(dropped)

    def _declared_signal(self, signature: str) -> str | None:
        for cls in type(self).__mro__:
            alias = cls.__dict__.get("SIGNALS", {}).get(signature)
            if alias is not None:
                return alias
        meta = self.metaObject()  # type: ignore[attr-defined]
        normalized = QtCore.QMetaObject.normalizedSignature(signature)
        if meta.indexOfSignal(bytes(normalized.data()).decode()) < 0:
            raise ValueError(f"{type(self).__name__} has no signal {signature}")
        return None

    def findChildren(self, cls: type = QtCore.QObject, *arguments: Any) -> tuple[Any, ...]:
        """Find children by an exported class, which stands for every PySide6 subclass of its native class."""
        return tuple(_native_find_children(self, native_class(cls), *arguments))

    def findChild(self, cls: type = QtCore.QObject, *arguments: Any) -> Any:
        """Find one child, as `findChildren` does."""
        return _native_find_child(self, native_class(cls), *arguments)

    def className(self) -> str:
        """Return the name of the object's class."""
        return type(self).__name__

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        invented = not name.startswith("_") and inspect.getattr_static(cls, name, None) is None
        # QUiLoader makes named children attributes of the root, where PythonQt finds them too.
        is_child = isinstance(value, QtCore.QObject) and value.objectName == name  # type: ignore[comparison-overlap]
        if invented and not is_child and cls.__dict__.get("_stands_in", False):
            raise AttributeError(
                f"Attribute '{name}' does not exist on {cls.__name__}: Qt objects take no new attributes"
            )
        super().__setattr__(name, value)


def native_class(cls: type) -> type:
    """Return the PySide6 class that an exported class stands for, or the class itself."""
    return cls.__dict__.get("_native", cls)


def python_class(native: type) -> type:
    """Return the Python subclass that `qt` exports for a native QObject class."""
    body: dict[str, Any] = {"_native": native, "_stands_in": True, "__module__": "qt"}
    if issubclass(native, QtWidgets.QWidget):
        body.update({name: _computed_property(native, name) for name in _COMPUTED})
    return type(QtCore.QObject)(native.__name__, (PythonQtObject, native), body)


def _computed_property(native: type, name: str) -> property:
    """A size that Qt computes, without parentheses."""
    compute = getattr(native, name)
    return property(lambda self: compute(self), doc=f"{name} of {native.__name__}.")


def export_names() -> dict[str, Any]:
    """Return every public name of QtCore, QtGui and QtWidgets in the form PythonQt gives it."""
    _install_class_checks()
    names: dict[str, Any] = {}
    native_classes = []
    for library in (QtCore, QtGui, QtWidgets):
        for name in dir(library):
            if name.startswith("_") or name in _NOT_IN_PYTHONQT:
                continue
            value = getattr(library, name)
            names[name] = value
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                native_classes.append(value)
    for native in native_classes:
        install_properties(native)
        names[native.__name__] = python_class(native)
    return names
