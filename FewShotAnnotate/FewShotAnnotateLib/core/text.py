"""Names and messages from files, made harmless to show."""

from __future__ import annotations

import unicodedata

# Control characters, those that turn the direction of writing or are invisible, halves of characters (bytes of file
# names that are not UTF-8), and separators of lines and paragraphs: they could move a terminal's cursor, hide what is
# written or make one line look like two.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def shown(text: object) -> str:
    r"""What stands in a line for a name or message of others: characters that are no text, as `\x1b` or `\n`."""
    return "".join(map(_shown, str(text)))


def shown_lines(text: str) -> str:
    """The same of text of ours, whose ends of lines and tabs are meant."""
    return "".join(letter if letter in "\n\t" else _shown(letter) for letter in text)


def _shown(letter: str) -> str:
    if letter.isascii() and letter.isprintable():
        return letter
    if unicodedata.category(letter) in _UNSAFE:
        return letter.encode("unicode_escape", "backslashreplace").decode("ascii")
    return letter
