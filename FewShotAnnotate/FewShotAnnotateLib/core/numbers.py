"""Numbers that people write: one way to read them, always within limits."""

from __future__ import annotations

import re

from .errors import InputError

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")


def whole_number(text: str) -> int | None:
    """The whole number that a text is, of 18 digits at most; None if it is none."""
    return int(text) if _WHOLE.fullmatch(text.strip()) else None


def real_number(text: str) -> float | None:
    """The number that a text is; None if it is none. It may be infinite only by its exponent."""
    return float(text) if _REAL.fullmatch(text.strip()) else None


def parse_whole(text: str, what: str, least: int, most: int) -> int:
    """The whole number that a text is.

    Parameters
    ----------
    what : str
        What it counts, for the error.

    Raises
    ------
    InputError
        It is none, or not within `least`..`most`.
    """
    value = whole_number(text)
    if value is None or not least <= value <= most:
        raise InputError("number_invalid", text=text, what=what, least=least, most=most)
    return value
