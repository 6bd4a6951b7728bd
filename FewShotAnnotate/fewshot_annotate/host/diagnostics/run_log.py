"""RunLog: a rotating log file without patient data; it holds only words of this program and numbers."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ...core.data_folder import data_folder
from ...core.errors import InputError
from ...engines.registry import engine_names
from ...weights import catalog
from ..messages import sentences
from ..settings import GROUP, LogLevel, Settings

LOG_NAME = "few-shot-annotate.log"
_BYTES, _FILES = 1_000_000, 3
_KEPT_ERRORS = 10
_LEVELS = {LogLevel.ERRORS: logging.ERROR, LogLevel.RUNS: logging.INFO}
_LEFT_OUT = "..."
_VERSION = re.compile(r"\d+(\.\d+)*")

# Code of an error whose reason only the worker knew.
WORKER = "worker"
# States of controllers in which something went wrong.
_FAILURES = ("STOPPED", "FAILED")

Fact = str | int | float | Enum


class RunLog:
    """Log of runs, errors and versions.

    A text among the facts is written only if it is one of ours: an engine, weights, an error code, or a version.
    Anything else, a segment's name or a path, is left out.

    Parameters
    ----------
    settings : Settings
        Folder and log level, read by `open`.

    Attributes
    ----------
    errors : deque of (datetime, str)
        Codes of the last errors, oldest first.
    path : Path or None
        The file; None if it cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self.errors: deque[tuple[datetime, str]] = deque(maxlen=_KEPT_ERRORS)
        self.path: Path | None = None
        self._settings = settings
        self._handler: logging.Handler | None = None
        self._states: dict[str, Enum] = {}
        self._allowed_texts = {
            WORKER,
            *sentences(),
            *engine_names(),
            "auto",
            *(checkpoint.name for checkpoint in catalog.checkpoints()),
        }

    def open(self) -> None:
        """Write to the file that the settings say, from now on."""
        self.close()
        try:
            folder = data_folder() / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            handler = RotatingFileHandler(
                folder / LOG_NAME, maxBytes=_BYTES, backupCount=_FILES, encoding="ascii", errors="backslashreplace"
            )
        except OSError:  # no room, or no right
            return
        handler.setLevel(_LEVELS[self._settings.log_level])
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._handler, self.path = handler, folder / LOG_NAME

    def close(self) -> None:
        """Release the file."""
        if self._handler is not None:
            self._handler.close()
        self._handler, self.path = None, None

    def info(self, what: str, **facts: Fact) -> None:
        """Log an event.

        Parameters
        ----------
        what : str
            In the source's own words, such as 'run started'.
        **facts
            Numbers, and words of ours.
        """
        self._write(logging.INFO, what, facts.items())

    def error(self, code: str) -> None:
        """Log an error by the code of its `InputError`, or `WORKER`."""
        code = self._safe(code)
        self.errors.append((datetime.now().replace(microsecond=0), code))
        self._write(logging.ERROR, f"error {code}", ())

    def log_state(self, what: str, state: Enum, error: InputError | None, **facts: Fact) -> None:
        """Log the state of a controller if it has changed.

        Parameters
        ----------
        what : str
            Which controller, in the source's own words.
        error : InputError or None
            Reason of a failure, if it is known.
        """
        before, self._states[what] = self._states.get(what), state
        if state is not before:
            self.info(f"{what} {state.value}", **facts)
            if error is not None:
                self.error(error.code)
            elif state.name in _FAILURES:
                self.error(WORKER)

    def _write(self, level: int, what: str, facts: Iterable[tuple[str, Fact]]) -> None:
        handler = self._handler
        if handler is None or level < handler.level:
            return
        details = ", ".join(f"{name} {self._safe(value)}" for name, value in facts)
        text = f"{what}: {details}" if details else what
        handler.handle(logging.LogRecord(GROUP, level, "", 0, text, None, None))

    def _safe(self, fact: Fact) -> str:
        if isinstance(fact, Enum):
            return str(fact.value)
        if isinstance(fact, (int, float)):
            return f"{fact:g}"
        return fact if fact in self._allowed_texts or _VERSION.fullmatch(fact) else _LEFT_OUT
