"""An error that no code of the product expects."""

from __future__ import annotations


class UnexpectedError(Exception):
    """Raised by tests where the product calls something that may fail in any way."""
