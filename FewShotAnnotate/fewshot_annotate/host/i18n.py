"""Translation of the panel's texts, remembered: the panel says the same many times a second."""

from __future__ import annotations

import sys
from functools import cache

import slicer.i18n as i18n


def tr(text: str) -> str:
    """A text in the language of the application, which changes only when it is started anew.

    `slicer.i18n.tr` looks at files on the disk at every call. The context of a text is, as there, the file of whoever
    calls.
    """
    return translated(sys._getframe(1).f_code.co_filename, text)


@cache
def translated(source_file: str, text: str) -> str:
    """A text of a source file in the language of the application."""
    return str(i18n.translate(i18n.getContext(source_file), text))
