"""Parsing of numbers that users write, within limits."""

from __future__ import annotations

import re

from .errors import InputError

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")


def int_or_none(text: str) -> int | None:
    """Parse an integer of at most 18 digits; None if the text is not one."""
    return int(text) if _INTEGER.fullmatch(text.strip()) else None


def float_or_none(text: str) -> float | None:
    """Parse a floating-point number; None if the text is not one. A large exponent gives infinity."""
    return float(text) if _FLOAT.fullmatch(text.strip()) else None


def parse_ints(text: str) -> list[int] | None:
    """Parse integers separated by commas, semicolons or spaces; None if an entry is not one, or if there is none."""
    numbers = [int_or_none(entry) for entry in re.split(r"\s*[,;]\s*|\s+", text.strip())]
    integers = [number for number in numbers if number is not None]
    return integers if len(integers) == len(numbers) else None


def parse_int(text: str, what: str, least: int, most: int) -> int:
    """Parse an integer in the range `least`..`most`.

    Parameters
    ----------
    text : str
    what : str
        What the number counts, for the error message.
    least, most : int
        Limits of the range, inclusive.

    Raises
    ------
    InputError
        The text is not an integer, or it is out of range.
    """
    value = int_or_none(text)
    if value is None or not least <= value <= most:
        raise InputError("number_invalid", text=text, what=what, least=least, most=most)
    return value
