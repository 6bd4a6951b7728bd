"""Option: a setting of an engine, with its range, from the command line or the panel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import InputError, Message
from ..core.numbers import float_or_none, int_or_none

# Limits that only prevent overflow, and are not shown to users.
_OPEN_ENDS = (-math.inf, math.inf, 2**31 - 1, 2**32 - 1, 2**63 - 1)


@dataclass(frozen=True)
class Option:
    """A setting of an engine that users can change.

    Attributes
    ----------
    default : bool, int, float or str
        Its type is the type of the option.
    minimum, maximum : number
        Allowed range, inclusive, of a numeric option.
    choices : tuple of str
        Allowed values of a string option; if empty, any string is allowed.
    help : str
        One line for users, including the unit.
    """

    default: Any
    help: str
    minimum: float = -np.inf
    maximum: float = np.inf
    choices: tuple[str, ...] = ()

    def check(self, engine: str, name: str, value: Any) -> Any:
        """Validate a value and convert it to the type of this option.

        Raises
        ------
        InputError
            The value has another type, is out of range, or is not one of the choices.
        """
        kind = type(self.default)
        valid = isinstance(value, bool) == (kind is bool)
        valid = valid and isinstance(value, (int, float) if kind is float else kind)
        if valid and kind in (int, float):
            valid = self.minimum <= value <= self.maximum and math.isfinite(value)
        if valid and self.choices:
            valid = value in self.choices
        if not valid:
            expected = Message("option_must_be", allowed=self.allowed())
            raise InputError("option_invalid", option=name, engine=engine, value=value, expected=expected)
        return kind(value)

    def allowed(self) -> Message:
        """Description of the allowed values, such as 'a whole number from 1 to 64'."""
        if self.choices:
            return Message("value_of", known=", ".join(self.choices))
        kind = type(self.default)
        if kind not in (int, float):
            return Message("value_true_or_false" if kind is bool else "value_text")
        low, high = (None if limit in _OPEN_ENDS else _in_digits(limit) for limit in (self.minimum, self.maximum))
        is_int = kind is int
        if low and high:
            return Message("whole_number_between" if is_int else "number_between", least=low, most=high)
        if low:
            return Message("whole_number_at_least" if is_int else "number_at_least", least=low)
        if high:
            return Message("whole_number_at_most" if is_int else "number_at_most", most=high)
        return Message("whole_number" if is_int else "number")

    def parse(self, engine: str, name: str, text: str) -> Any:
        """Parse and validate a value given as text on the command line.

        Raises
        ------
        InputError
            The text is not a valid value of this option.
        """
        kind = type(self.default)
        parsers: dict[type, Callable[[str], Any]] = {
            bool: lambda text: {"true": True, "false": False}.get(text.lower()),
            int: int_or_none,
            float: float_or_none,
        }
        value = parsers[kind](text) if kind in parsers else text
        return self.check(engine, name, text if value is None else value)


def _in_digits(limit: float) -> str:
    """A limit without an exponent, such as 1000000."""
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"
