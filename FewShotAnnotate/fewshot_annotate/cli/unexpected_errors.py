"""Handling of unexpected errors: one line for the user, and a traceback in a log."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .. import __version__
from ..core.data_folder import data_folder
from ..core.errors import InputError
from ..core.temporary import system_folder
from ..core.unexpected_errors import LOG_NAME, TRACEBACK_VARIABLE, append_to_log, fingerprint, is_out_of_memory

NO_MEMORY = "there is not enough memory; close other programs, or crop the volume."


def shows_traceback() -> bool:
    """Whether full tracebacks are requested by the environment."""
    return bool(os.environ.get(TRACEBACK_VARIABLE))


def log_and_describe(error: Exception) -> str:
    """Log an unexpected error; returns one line about it for the user."""
    if is_out_of_memory(error):
        return NO_MEMORY
    written_log = next((log for log in _logs() if append_to_log(error, log, __version__)), None)
    where = (
        f"please report it with what is in {written_log}"
        if written_log
        else f"set {TRACEBACK_VARIABLE}=1 to see where"
    )
    return f"an unexpected error ended this command ({type(error).__name__}, code {fingerprint(error)}); {where}."


def _logs() -> list[Path]:
    """Possible paths of the log, best first."""
    folders = []
    with contextlib.suppress(InputError, OSError, RuntimeError):
        folders.append(data_folder() / LOG_NAME)
    with contextlib.suppress(OSError):
        folders.append(system_folder() / f"fewshot-annotate-{LOG_NAME}")
    return folders
