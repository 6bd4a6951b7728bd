"""Cells of tables that people open in a spreadsheet program, which runs text as a formula if it looks like one."""

from __future__ import annotations

import re

# What begins a formula, also behind blanks and in full width, and the same with the apostrophes that keep it a text.
_FORMULA = re.compile(r"'*[\s\x00-\x1f]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def as_text(cell: str) -> str:
    """A cell that no spreadsheet program takes for a formula: an apostrophe is put before what looks like one."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def from_text(cell: str) -> str:
    """The inverse of `as_text`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
