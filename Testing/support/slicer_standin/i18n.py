"""Stand-in for `slicer.i18n`: every text is its own translation, unless a test sets another `language`."""

from __future__ import annotations

from collections.abc import Callable

language: Callable[[str], str] = str


def tr(text: str) -> str:
    """Return `text` in the language."""
    return language(text)


def translate(context: str, text: str) -> str:
    """Return `text` in the language."""
    return language(text)


def getContext(source_file: str) -> str:
    """Return the translation context of a source file."""
    return source_file.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py")
