"""How the stand-in for `slicer.parameterNodeWrapper` keeps typed values on a vtkMRMLScriptedModuleNode.

Keys and texts are those that Slicer writes, so a scene saved by either can be read by the other.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer


@dataclass(frozen=True)
class Default:
    """Annotation: the value before anything was set."""

    value: Any


@dataclass(frozen=True)
class Minimum:
    """Annotation: the least value."""

    minimum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError below the minimum."""
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum:
    """Annotation: the greatest value."""

    maximum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError above the maximum."""
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclass(frozen=True)
class WithinRange:
    """Annotation: least and greatest value."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        """Raise ValueError outside the range."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Choice:
    """Annotation: the values allowed."""

    choices: Sequence[Any]

    def validate(self, value: Any) -> None:
        """Raise ValueError for another value."""
        if value not in self.choices:
            raise ValueError(f"Value must be one of {list(self.choices)}, is {value}")


@dataclass(frozen=True)
class Decimals:
    """Annotation: digits that a spin box shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """Annotation: step of a spin box."""

    value: float


_TO_TEXT: dict[type, Callable[[Any], str]] = {int: str, float: str, str: str, bool: str, Path: str}
_FROM_TEXT: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    str: str,
    bool: "True".__eq__,
    Path: Path,
}


def is_node_type(kind: Any) -> bool:
    """Return whether `kind` is a MRML node class."""
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def is_enum(kind: Any) -> bool:
    """Return whether `kind` is an enumeration."""
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def split_annotations(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the bare type and the annotations of a type hint."""
    if typing.get_origin(hint) is typing.Annotated:
        kind, *annotations = typing.get_args(hint)
        return kind, tuple(annotations)
    return hint, ()


class PlainParameter:
    """A value of one plain type: number, text, truth value, path, enumeration or node."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    @property
    def default(self) -> Any:
        """Value where none is given."""
        if is_node_type(self.kind):
            return None
        return next(iter(self.kind)) if is_enum(self.kind) else self.kind()  # type: ignore[call-overload]

    def accepts(self, value: Any) -> bool:
        """Return whether `value` is of this type; an int is accepted for a float, None for a node."""
        if self.kind is float:
            return isinstance(value, (int, float))
        return isinstance(value, self.kind) or (value is None and is_node_type(self.kind))

    def is_in(self, node: Any, name: str) -> bool:
        """Return whether the parameter node has a value."""
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store a value; a node is stored as a reference."""
        if not self.accepts(value):
            raise TypeError(f"Parameter {name} must be of type {self.kind.__name__}, is {value!r}")
        if is_node_type(self.kind):
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(name, value.name if is_enum(self.kind) else _TO_TEXT[self.kind](value))

    def read(self, node: Any, name: str) -> Any:
        """Return the stored value."""
        if is_node_type(self.kind):
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        return self.kind[text] if is_enum(self.kind) else _FROM_TEXT[self.kind](text)  # type: ignore[index]

    def remove(self, node: Any, name: str) -> None:
        """Remove the stored value."""
        node.UnsetParameter(name)
        if is_node_type(self.kind):
            node.RemoveNodeReferenceIDs(name)


class NoneParameter(PlainParameter):
    """The value None, one side of an Optional."""

    def __init__(self) -> None:
        super().__init__(type(None))

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store that the value is None."""
        node.SetParameter(name, "True")

    def read(self, node: Any, name: str) -> Any:
        """Return None."""
        return None


class UnionParameter:
    """`Optional[X]` and `Union[X, Y]`: each alternative is stored under its own number."""

    def __init__(self, alternatives: list[PlainParameter]) -> None:
        self.alternatives = alternatives

    @property
    def default(self) -> Any:
        """None for an Optional, else the first alternative's."""
        optional = len(self.alternatives) == 2 and isinstance(self.alternatives[1], NoneParameter)
        return None if optional else self.alternatives[0].default

    def _find(self, node: Any, name: str) -> tuple[int, PlainParameter] | None:
        for index, alternative in enumerate(self.alternatives):
            if alternative.is_in(node, f"{name}_{index}"):
                return index, alternative
        return None

    def is_in(self, node: Any, name: str) -> bool:
        """Return whether any alternative has a value."""
        return self._find(node, name) is not None

    def write(self, node: Any, name: str, value: Any) -> None:
        """Store under the first alternative whose type fits exactly."""
        for index, alternative in enumerate(self.alternatives):
            if isinstance(value, alternative.kind):
                with slicer.util.NodeModify(node):
                    self.remove(node, name)
                    alternative.write(node, f"{name}_{index}", value)
                return
        raise TypeError(f"Parameter {name} does not take {value!r}")

    def read(self, node: Any, name: str) -> Any:
        """Return the value of the alternative that has one."""
        found = self._find(node, name)
        assert found is not None
        return found[1].read(node, f"{name}_{found[0]}")

    def remove(self, node: Any, name: str) -> None:
        """Remove the values of all alternatives."""
        for index, alternative in enumerate(self.alternatives):
            alternative.remove(node, f"{name}_{index}")


def make_parameter(kind: Any) -> PlainParameter | UnionParameter:
    """Return what stores values of type `kind`."""
    if kind is type(None):
        return NoneParameter()
    if kind in _TO_TEXT or is_node_type(kind) or is_enum(kind):
        return PlainParameter(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [make_parameter(split_annotations(arg)[0]) for arg in typing.get_args(kind)]
        return UnionParameter(typing.cast(list[PlainParameter], parts))
    raise TypeError(f"The stand-in cannot store parameters of type {kind}")
