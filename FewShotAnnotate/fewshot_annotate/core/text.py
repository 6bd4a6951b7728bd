"""Names and messages: their escaping before they are printed or displayed, and lists of names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from .errors import Message

# Unicode categories of control characters, format characters (bidirectional and invisible ones), surrogates (bytes of
# file names that are not UTF-8), and line and paragraph separators: they could move a terminal's cursor, hide text or
# break a line.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


# Characters that reverse the text after them, beyond the name that holds them.
_DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_one_line(name: str) -> bool:
    """Whether a name can stand in a line of text: no control characters, line breaks or direction overrides.

    Format characters pass, such as the joiners that Persian and Hindi words hold.
    """
    return not any(
        character in _DIRECTION_OVERRIDES or unicodedata.category(character) in _UNSAFE - {"Cf"} for character in name
    )


def printable(text: object) -> str:
    r"""Escape unprintable characters of a name or message, as `\x1b` or `\n`, so that it stays on one line."""
    return "".join(map(_escape, str(text)))


def printable_lines(text: str) -> str:
    """Escape unprintable characters of a text, but keep its line breaks and tabs."""
    return "".join(character if character in "\n\t" else _escape(character) for character in text)


# A word longer than most paths; its beginning and end identify it.
_LONG_WORD = re.compile(r"(\S{120})\S{400,}(\S{60})")


def shortened(line: str) -> str:
    """Cut very long words of a line in the middle."""
    return _LONG_WORD.sub(r"\1...\2", line)


def _escape(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) in _UNSAFE:
        return character.encode("unicode_escape", "backslashreplace").decode("ascii")
    return character


def all_of(names: Sequence[str]) -> Message | str:
    """Names joined by 'and', for a placeholder of a message."""
    return (
        "".join(names) if len(names) < 2 else Message("names_and_last", names=", ".join(names[:-1]), last=names[-1])
    )


def first_of(names: Sequence[str], count: int) -> Message | str:
    """The first names and how many more there are, for a placeholder of a message."""
    first, more = ", ".join(names[:count]), len(names) - count
    return Message("names_and_more", names=first, count=more) if more > 0 else first


def any_of(names: Sequence[str]) -> Message | str:
    """Names joined by 'or', for a placeholder of a message."""
    return "".join(names) if len(names) < 2 else Message("names_or_last", names=", ".join(names[:-1]), last=names[-1])
