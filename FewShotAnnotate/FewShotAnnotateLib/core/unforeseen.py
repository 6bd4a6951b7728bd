"""Errors that nobody foresaw: told in one line with a code, and written where developers find them.

What an error says, and what the variables held, may be a patient's name. So only the kind of error and the places in
the program are kept.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import traceback
import zlib
from pathlib import Path

from .paths import size

# If this variable is set, an unforeseen error is shown in full and not in one line.
SHOW_VARIABLE = "FEWSHOT_ANNOTATE_TRACEBACK"
LOG_NAME = "errors.log"
MAX_LOG_BYTES = 1 << 20
_PACKAGE = Path(__file__).resolve().parents[2]
_MEMORY_WORDS = ("bad alloc", "bad_alloc", "allocate memory", "allocating memory", "out of memory", "cannot allocate")


def is_memory_short(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory; libraries in C have words of their own for it."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def places(error: BaseException) -> list[str]:
    """The kind of an error and where in the program it came from, outermost first, and those that led to it."""
    lines = []
    told: set[int] = set()
    while error is not None and id(error) not in told:
        told.add(id(error))
        lines.append(type(error).__name__)
        lines += [f"  {_short(frame.filename)}:{frame.lineno} {frame.name}: {frame.line}" for frame in _frames(error)]
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return lines


def code_of(error: BaseException) -> str:
    """Eight digits that are the same for the same kind of error at the same place."""
    return f"{zlib.crc32(os.linesep.join(places(error)).encode('utf-8', 'replace')):08x}"


def keep(error: BaseException, log: Path, version: str) -> bool:
    """Append an error to a log, and say whether that was possible. A log that has grown long begins anew."""
    system = f"{version}, Python {platform.python_version()}, {sys.platform}"
    text = "\n".join([f"{code_of(error)} {system}", *places(error)]) + "\n\n"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        mode = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if size(log) > MAX_LOG_BYTES else os.O_APPEND)
        descriptor = os.open(log, mode | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
    except (OSError, ValueError):
        return False
    return True


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def _short(name: str) -> str:
    """A file's path without the folders that it is installed in, which may name a user."""
    path = Path(name)
    if path.is_relative_to(_PACKAGE):
        return path.relative_to(_PACKAGE).as_posix()
    return "/".join(path.parts[-2:])
