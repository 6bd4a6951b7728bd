"""The last resort of the command line: an error that nobody foresaw is one line, and its place is in a log."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .. import __version__
from ..core.errors import InputError
from ..core.unforeseen import LOG_NAME, SHOW_VARIABLE, code_of, is_memory_short, keep
from ..engines.pretrained.weights import home

NO_MEMORY = "there is not enough memory; close other programs, or crop the volume."


def is_shown() -> bool:
    """Whether a developer wants to see errors in full."""
    return bool(os.environ.get(SHOW_VARIABLE))


def sentence_of(error: Exception) -> str:
    """One line about an unforeseen error, whose place in the program is kept in a log."""
    if is_memory_short(error):
        return NO_MEMORY
    kept = next((log for log in _logs() if keep(error, log, __version__)), None)
    where = f"please report it with what is in {kept}" if kept else f"set {SHOW_VARIABLE}=1 to see where"
    return f"an unforeseen error ended this command ({type(error).__name__}, code {code_of(error)}); {where}."


def _logs() -> list[Path]:
    """Where the log may lie, best first."""
    places = [Path(tempfile.gettempdir()) / f"fewshot-annotate-{LOG_NAME}"]
    try:
        return [home() / LOG_NAME, *places]
    except (InputError, OSError, RuntimeError):
        return places
