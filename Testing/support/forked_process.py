"""What a forked process runs; see `forked_processes.py`. Imports little, because each of them does."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Continued:
    """A function, and the environment and output that it has in a forked process."""

    def __init__(self, function: Callable[..., None], environment: dict[str, str], output: list[Any]) -> None:
        self._started = function, environment, [descriptor.detach() for descriptor in output]

    def __call__(self, *arguments: Any) -> None:
        function, environment, output = self._started
        _enter(environment, *output)
        function(*arguments)


def run_script(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Run a script as a worker in a forked process."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _enter(environment, os.open(os.devnull, os.O_WRONLY), os.open(log, os.O_WRONLY))
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


def _enter(environment: dict[str, str], stdout: int, stderr: int) -> None:
    """Put a forked process into the state in which Python starts with this environment and output."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    for folder in filter(None, reversed(environment.get("PYTHONPATH", "").split(os.pathsep))):
        sys.path.insert(0, folder)
        if (Path(folder) / "sitecustomize.py").exists():
            runpy.run_path(str(Path(folder) / "sitecustomize.py"), run_name="sitecustomize")
