"""Bug report: facts about computer, packages and settings, without patient data and without the user's name."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ... import __version__
from ...core.errors import InputError
from ...core.reading import DamagedContentError, decoding, parse_json
from ...engines.threads import worker_environment
from ...jobs.worker_description import WorkerDescription
from ..messages import error_text
from ..settings import Settings

_SCRIPT = Path(__file__).resolve().parents[2] / "jobs" / "worker_description.py"
# Importing torch alone may take long on a slow disk.
_TIMEOUT_SECONDS = 120.0
_USER = "(user)"


def describe_worker(python: str) -> WorkerDescription:
    """Describe the Python that runs the worker. Takes seconds: for a background thread.

    Raises
    ------
    InputError
        It does not run.
    """
    try:
        printed = subprocess.run(
            [python, str(_SCRIPT)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            env=worker_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            check=True,
        ).stdout
        with decoding():
            return WorkerDescription(**parse_json(printed.splitlines()[-1].decode("ascii")))
    except (OSError, subprocess.SubprocessError, DamagedContentError) as error:
        raise InputError("worker_silent", detail=type(error).__name__) from None


def bug_report(
    application: str,
    worker: WorkerDescription | InputError,
    settings: Settings,
    errors: Sequence[tuple[datetime, str]],
) -> str:
    """The report as text.

    Parameters
    ----------
    application : str
        Name and version of the program around the module.
    worker : WorkerDescription or InputError
        Result of `describe_worker`, or its error.
    settings : Settings
    errors : sequence of (datetime, str)
        Codes of the last errors.
    """
    sections = [
        f"Few-Shot Annotate {__version__} in {application}",
        *_worker_sections(worker),
        _section("Settings", _settings(settings)),
        _section("Last errors", [f"{when.isoformat(' ')} {code}" for when, code in errors] or ["none"]),
    ]
    return without_user("\n\n".join(sections) + "\n")


def without_user(text: str) -> str:
    """A text without the user's home folder and name."""
    home = str(Path.home())
    for folder in (home, home.replace("\\", "/"), home.replace("\\", "\\\\")):
        if len(folder) > 1:
            text = text.replace(folder, "~")
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # the system knows no name
        return text
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _USER, text) if name else text


def _worker_sections(worker: WorkerDescription | InputError) -> list[str]:
    if isinstance(worker, InputError):
        return [_section("Worker", [error_text(worker)])]
    version = "" if worker.version == __version__ else f" (worker: {worker.version})"
    computer = [
        f"System: {worker.system}{version}",
        f"Processor: {worker.processor}, {worker.cores} cores, {worker.memory}",
        f"GPU: {worker.gpu}",
        f"Python: {worker.python}",
    ]
    return [
        _section("Computer", computer),
        _section("Packages", [f"{name} {version}" for name, version in worker.packages.items()]),
        _section("Engines", [f"{name}: {state}" for name, state in worker.engines.items()]),
    ]


def _settings(settings: Settings) -> list[str]:
    return [
        f"Data folder: {'usual' if settings.data_folder is None else 'chosen'}",
        f"Device: {settings.device}",
        f"Threads: {settings.threads or 'automatic'}",
        f"Log: {settings.log_level}",
        f"Licences agreed to: {', '.join(settings.consents) or 'none'}",
    ]


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])
