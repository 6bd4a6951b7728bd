"""Cached translation of the panel's texts: the panel sets the same texts many times a second."""

from __future__ import annotations

import sys
from functools import cache

import slicer.i18n as i18n


def tr(text: str) -> str:
    """A text in the language of the application, which changes only when the application is restarted.

    `slicer.i18n.tr` reads files on disk at every call. As there, the context of a text is the file of the caller.
    """
    return translated(sys._getframe(1).f_code.co_filename, text)


@cache
def translated(source_file: str, text: str) -> str:
    """A text of a source file in the language of the application."""
    return str(i18n.translate(i18n.getContext(source_file), text))
