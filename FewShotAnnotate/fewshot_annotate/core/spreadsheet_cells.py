"""Escaping of CSV cells that spreadsheet programs would run as formulas."""

from __future__ import annotations

import re

# Start of a formula, also after white space or in full width, with or without apostrophes that mark it as text.
_FORMULA = re.compile(r"'*[\s\x00-\x1f]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# The same within a cell, after a semicolon, tab or line break. Spreadsheet programs that split cells at semicolons,
# as in most of Europe, split at those inside a quoted cell too.
_SIGN = r"[^\S;\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20]"
_INSIDE = re.compile(rf"([;\t\r\n])('*{_SIGN})")
_ESCAPED_INSIDE = re.compile(rf"([;\t\r\n])'('*{_SIGN})")


def escape_formula(cell: str) -> str:
    """Put an apostrophe before what looks like a formula."""
    cell = _INSIDE.sub(r"\1'\2", cell)
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape_formula(cell: str) -> str:
    """The inverse of `escape_formula`."""
    if "'" not in cell:
        return cell
    cell = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _ESCAPED_INSIDE.sub(r"\1\2", cell)
