"""Workers that are forked from a process which has loaded their modules, for tests that are not about their start.

They are real processes that run the real scripts; only to load numpy and scipy anew, which takes most of the time of
a short fill, is left out. Tests of the start, of signals and of memory start workers as users do, and so do those
that search among the children of their process, because the forked ones are not among them.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import reduction, spawn
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from fewshot_annotate.datasets import local_processes
from fewshot_annotate.datasets.worker import start
from fewshot_annotate.jobs import process

from support.forked_process import Continued, run_script
from support.processes import PACKAGE_PARENT

_LOADED = (
    "fewshot_annotate.jobs.worker",
    "fewshot_annotate.datasets.local_processes",
    "fewshot_annotate.engines.propagate.fusion",
    "fewshot_annotate.engines.propagate.flow_propagation",
    "scipy.optimize",
    "torch",
)


@pytest.fixture(scope="session")
def fork_server() -> Any:
    """Context of multiprocessing whose processes are forked from one started now; None except on Linux."""
    if sys.platform != "linux":
        return None
    from multiprocessing import forkserver  # cannot be imported everywhere

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PACKAGE_PARENT))  # the package under test, whichever is installed
        forkserver.ensure_running()
    return context


@pytest.fixture
def forked_workers(fork_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers that this process starts by its own Python or a stand-in for it are forked; none outlives the test."""
    if fork_server is None:
        yield
        return
    started: list[_ForkedWorker] = []

    def popen(command: Sequence[str], **options: Any) -> Any:
        if command[0] == sys.executable:
            script = command[1:]
        elif Path(command[0]).read_bytes().startswith(f"#!{sys.executable}\n".encode()):  # see `python_program`
            script = command
        else:
            return subprocess.Popen(command, **options)
        started.append(_ForkedWorker(fork_server, script, **options))
        return started[-1]

    def get_context(method: str) -> Any:
        forked = os.fsdecode(spawn.get_executable()) == sys.executable
        return fork_server if forked else multiprocessing.get_context(method)

    monkeypatch.setattr(process, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": popen}))
    monkeypatch.setattr(local_processes, "multiprocessing", SimpleNamespace(get_context=get_context))
    monkeypatch.setattr(local_processes, "start", _InThisEnvironment(start))
    yield
    for worker in started:
        worker.kill()


class _ForkedWorker:
    """A started script, with what `WorkerProcess` uses of `subprocess.Popen`."""

    def __init__(self, context: Any, script: Sequence[str], *, env: Mapping[str, str], stderr: IO[bytes], **_: Any):
        self._process = context.Process(target=run_script, args=(list(script), dict(env), stderr.name))
        self._process.start()
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> None:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("worker", timeout)


class _InThisEnvironment:
    """A function that runs in a forked process as in one that was started: with the environment and the output."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __reduce__(self) -> tuple[Any, ...]:
        output = [reduction.DupFd(number) for number in (1, 2)]
        return Continued, (self._function, dict(os.environ), output)
