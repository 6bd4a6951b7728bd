"""Checks of the types of arguments of the Python API, so that each wrong one is refused in one clear line."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..core.errors import InputError
from ..core.volume import LabelMap, Volume

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_REAL_AND_COMPLEX_NUMBERS = "biufc"


@dataclass(frozen=True)
class Kind:
    """What an argument may be.

    Attributes
    ----------
    accepts : function
        Whether a value may be used.
    expected : str
        The type in Python's notation, for the error message.
    """

    accepts: Callable[[Any], bool]
    expected: str

    def or_type(self, other: type) -> Kind:
        """The kind that also accepts objects of another type."""
        return Kind(
            lambda value: isinstance(value, other) or self.accepts(value), f"{other.__name__} | {self.expected}"
        )

    def items(self) -> Kind:
        """A list or tuple of such values: a path or an array would be taken for the sequence of its parts."""
        return Kind(
            lambda value: isinstance(value, list | tuple) and all(map(self.accepts, value)), f"list[{self.expected}]"
        )


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path)


def _is_image(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in _REAL_AND_COMPLEX_NUMBERS
    itk = sys.modules.get("SimpleITK")  # whoever has an image has imported it
    return itk is not None and isinstance(value, itk.Image)


def _maps_names(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def is_mapping_of_names(value: Any) -> bool:
        return isinstance(value, Mapping) and all(isinstance(name, str) and accepts(value[name]) for name in value)

    return is_mapping_of_names


_PATH = Kind(_is_path, "str | Path")
_FLAG = Kind(lambda value: isinstance(value, int | np.bool_) and value in (0, 1), "bool")
_VOLUME = Kind(
    lambda value: isinstance(value, Volume) or _is_path(value) or _is_image(value),
    "str | Path | SimpleITK.Image | ndarray | Volume",
)
_LABEL_MAPS = Kind(lambda value: isinstance(value, LabelMap), "LabelMap").items()
TEXT = Kind(lambda value: isinstance(value, str), "str")
LABELS = Kind(
    lambda value: isinstance(value, LabelMap) or _is_path(value) or _is_image(value) or _LABEL_MAPS.accepts(value),
    "str | Path | SimpleITK.Image | ndarray | LabelMap | list[LabelMap]",
)
_KINDS = {
    "path": _PATH,
    "reference": _PATH,
    "task": _PATH,
    "volume": _VOLUME,
    "labels": LABELS,
    "also": _VOLUME.items(),
    "engines": Kind(
        lambda value: isinstance(value, Collection) and not isinstance(value, str) and len(value) > 0, "list[str]"
    ),
    "options": Kind(_maps_names(lambda value: True), "dict[str, number | bool | str]"),
    "codes": Kind(_maps_names(lambda value: isinstance(value, str)), "dict[str, str]"),
    "on_event": Kind(callable, "Callable[[Event], None]"),
    "on_note": Kind(callable, "Callable[[Message], None]"),
    **dict.fromkeys(("resample", "crop", "partial", "suggest_codes", "default_code", "overwrite"), _FLAG),
}
_NOT_EMPTY = ("path", "reference", "volume", "labels")


def checked_arguments(**kinds: Kind) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Decorator: `InputError` for an argument of a type that the function cannot use, or for an empty path.

    Parameters
    ----------
    **kinds : Kind
        For arguments of this function that may be something else than in other functions.
    """

    def decorate(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        signature = inspect.signature(function)
        checked_kinds = {name: kind for name, kind in (_KINDS | kinds).items() if name in signature.parameters}

        @functools.wraps(function)
        def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                if name in checked_kinds and value is not signature.parameters[name].default:
                    _require(checked_kinds[name], name, value)
            return function(*args, **kwargs)

        return checked

    return decorate


def _require(kind: Kind, name: str, value: Any) -> None:
    if name in _NOT_EMPTY and isinstance(value, str) and not value:
        raise InputError("argument_path_empty", argument=name)
    if not kind.accepts(value):
        raise InputError("argument_type", argument=name, found=_type_of(value), expected=kind.expected)


def _type_of(value: Any) -> str:
    """Type of a value, with those of the items of a list or dictionary."""
    if isinstance(value, np.ndarray):
        return f"ndarray[{value.dtype}]"
    name = type(value).__name__
    if isinstance(value, dict) and value:
        return f"{name}[{_types_of(value)}, {_types_of(value.values())}]"
    if isinstance(value, list | tuple | dict):
        return f"{name}[{_types_of(value)}]"
    return name


def _types_of(items: Collection[Any]) -> str:
    return " | ".join(sorted({type(item).__name__ for item in items}))
