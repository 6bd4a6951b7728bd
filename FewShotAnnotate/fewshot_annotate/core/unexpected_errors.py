"""Logging of unexpected errors: users see one line with a code, developers find the traceback in a log.

Error messages and variables may hold a patient's name, so only error types and source lines are logged.
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

# If this environment variable is set, the full traceback is shown instead of one line.
TRACEBACK_VARIABLE = "FEWSHOT_ANNOTATE_TRACEBACK"
LOG_NAME = "errors.log"
MAX_LOG_BYTES = 1 << 20
_PACKAGE = Path(__file__).resolve().parents[2]
_OUT_OF_MEMORY_PHRASES = (
    "bad alloc",
    "bad_alloc",
    "allocate memory",
    "allocating memory",
    "out of memory",
    "cannot allocate",
    "can't start new thread",  # for its stack
    "failed to map segment",  # of a library that is loaded
)
# All that torch's convolutions on the CPU report: oneDNN gives no reason. Messages that continue, such as with
# "descriptor", are about operations that it does not support.
_ONEDNN_OUT_OF_MEMORY = "could not create a primitive"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; C libraries report that in various messages."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if not isinstance(error, RuntimeError | ImportError):
        return False
    text = str(error).lower()
    return text == _ONEDNN_OUT_OF_MEMORY or any(phrase in text for phrase in _OUT_OF_MEMORY_PHRASES)


def traceback_lines(error: BaseException) -> list[str]:
    """Error type and source lines of a traceback, outermost first, and of the errors that led to it."""
    lines = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        lines.append(type(error).__name__)
        lines += [
            f"  {_short_path(frame.filename)}:{frame.lineno} {frame.name}: {frame.line}" for frame in _frames(error)
        ]
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return lines


def error_fingerprint(error: BaseException) -> str:
    """Eight hexadecimal digits, equal for errors of the same type and traceback."""
    return f"{zlib.crc32(os.linesep.join(traceback_lines(error)).encode('utf-8', 'replace')):08x}"


def append_to_log(error: BaseException, log: Path, version: str) -> bool:
    """Append an error to a log, which is truncated when it has grown long; returns whether it could be written."""
    system = f"{version}, Python {platform.python_version()}, {sys.platform}"
    text = "\n".join([f"{error_fingerprint(error)} {system}", *traceback_lines(error)]) + "\n\n"
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


def _short_path(name: str) -> str:
    """Path of a source file without its installation folder, which may contain a user name."""
    path = Path(name)
    if path.is_relative_to(_PACKAGE):
        return path.relative_to(_PACKAGE).as_posix()
    return "/".join(path.parts[-2:])
