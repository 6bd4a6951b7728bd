"""Suppression of warnings from libraries: they may quote header values such as a patient's name."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def suppress_library_warnings() -> Iterator[None]:
    """Context manager: warnings and log records of libraries are not printed.

    Filters that turn warnings into errors, and log handlers that the program has set, work as before.
    """
    null_handler = logging.NullHandler()
    before = warnings.showwarning
    warnings.showwarning = _ignore
    logging.getLogger().addHandler(null_handler)  # without any handler, Python prints warnings to stderr
    try:
        yield
    finally:
        logging.getLogger().removeHandler(null_handler)
        warnings.showwarning = before


def _ignore(*_: object, **__: object) -> None:
    """Replacement of `warnings.showwarning`."""
