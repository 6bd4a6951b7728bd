"""Settings: choices of the user for all scenes, stored by the application; without Qt."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ..core.data_folder import HOME_VARIABLE
from ..core.job import Device
from ..engines.registry import engine_class
from ..engines.threads import THREADS_VARIABLE
from ..weights.catalog import Checkpoint

GROUP = "FewShotAnnotate"
# Upper limit of the number of cores.
MAX_THREADS = 1024


class LogLevel(StrEnum):
    """What is written to the log file."""

    ERRORS = "errors"
    RUNS = "runs"


class Store(Protocol):
    """Storage of settings, with the interface of `QSettings`; `slicer.app.userSettings()` in Slicer."""

    def value(self, key: str, default: Any = None) -> Any:
        """Value stored under a key."""

    def setValue(self, key: str, value: Any) -> None:
        """Store a text under a key."""

    def remove(self, key: str) -> None:
        """Remove the value of a key."""


class Settings:
    """Settings of the user.

    An invalid value, from another version or edited by hand, counts as not set. Only texts are stored, because stores
    differ in the types that they return.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def data_folder(self) -> Path | None:
        """Folder for weights, runs and the log; None: the default folder."""
        text = self._text("dataFolder")
        return Path(text) if text else None

    @data_folder.setter
    def data_folder(self, folder: Path | None) -> None:
        self._set_text("dataFolder", "" if folder is None else str(folder))

    @property
    def device(self) -> Device:
        """Device of engines that have a choice."""
        text = self._text("device")
        return Device(text) if text in tuple(Device) else Device.AUTO

    @device.setter
    def device(self, device: Device) -> None:
        self._set_text("device", str(device))

    def device_for(self, engine_name: str) -> Device:
        """The device for an engine: the user's where the engine has it, else its own choice."""
        return self.device if self.device in engine_class(engine_name).devices else Device.AUTO

    @property
    def threads(self) -> int:
        """Processor cores that the worker may use; 0: each engine chooses."""
        text = self._text("threads")
        count = int(text) if text.isascii() and text.isdigit() else 0
        return count if count <= MAX_THREADS else 0

    @threads.setter
    def threads(self, count: int) -> None:
        self._set_text("threads", str(count))

    @property
    def log_level(self) -> LogLevel:
        """What the log file takes."""
        text = self._text("logLevel")
        return LogLevel(text) if text in tuple(LogLevel) else LogLevel.RUNS

    @log_level.setter
    def log_level(self, level: LogLevel) -> None:
        self._set_text("logLevel", str(level))

    # --- consent

    @property
    def consents(self) -> dict[str, str]:
        """Licences that the user agreed to: name of weights -> licence."""
        return dict(_parsed_consents(self._text("consents")))

    def add_consent(self, checkpoint: Checkpoint) -> None:
        """The user agrees."""
        self._set_text("consents", json.dumps({**self.consents, checkpoint.name: checkpoint.licence}))

    def remove_consent(self, name: str) -> None:
        """The user no longer agrees to the licence of the weights of this name."""
        self._set_text("consents", json.dumps({key: value for key, value in self.consents.items() if key != name}))

    # --- what follows

    def apply(self) -> None:
        """Apply the settings to this process and to the workers that it starts from now on."""
        _set_variable(HOME_VARIABLE, "" if self.data_folder is None else str(self.data_folder))
        _set_variable(THREADS_VARIABLE, str(self.threads) if self.threads else "")

    def _text(self, key: str) -> str:
        value = self._store.value(f"{GROUP}/{key}", "")
        return value if isinstance(value, str) else ""

    def _set_text(self, key: str, text: str) -> None:
        if text:
            self._store.setValue(f"{GROUP}/{key}", text)
        else:
            self._store.remove(f"{GROUP}/{key}")


# Environment variables as they were before a setting replaced them; None: not set.
ORIGINAL_ENVIRONMENT: dict[str, str | None] = {}


def _set_variable(name: str, text: str) -> None:
    before = ORIGINAL_ENVIRONMENT.setdefault(name, os.environ.get(name))
    value = text or before
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@lru_cache(maxsize=1)
def _parsed_consents(text: str) -> dict[str, str]:
    """Consents from their JSON text; cached, because the panel asks for them every few seconds."""
    try:
        stored = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(stored, dict):
        return {}
    return {name: licence for name, licence in stored.items() if isinstance(licence, str)}
