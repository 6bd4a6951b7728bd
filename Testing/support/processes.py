"""Real processes for tests: started, watched, stopped and killed; none outlives its test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fewshot_annotate
import numpy as np
from fewshot_annotate.core.events import Event, SliceDone, Started
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.jobs.process import WorkerProcess
from fewshot_annotate.jobs.run_folder import JobFolder

from support.labels import every_nth
from support.run_folders import create_folder

PACKAGE_PARENT = Path(fewshot_annotate.__file__).parents[1]
WAIT_SECONDS = 120.0


def make_folder(
    path: Path, volume: Volume, label_map: LabelMap, axis: SliceAxis, step: int, engine: str = "propagate", **job: Any
) -> JobFolder:
    """A job over the whole volume, with every `step`-th slice of labels as support; `job` are further fields."""
    support = Support.from_label_map(label_map, axis, every_nth(label_map, axis, step))
    slices = tuple(support.unlabelled(range(axis.count(volume.geometry))))
    return create_folder(path, Job(engine=engine, slices=slices, **job), volume, support)


def wait_for(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Return once `condition` holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


def poll_while_busy(controller: Any) -> None:
    """Poll a controller of the host until nothing is under way."""
    while controller.busy:
        controller.poll()


def poll_until(process: WorkerProcess, condition: Callable[[list[Event]], bool]) -> list[Event]:
    """Poll until the events so far fulfil `condition`; fail if the worker ends before."""
    events: list[Event] = []
    end = time.monotonic() + WAIT_SECONDS
    while not condition(events):
        assert process.running, f"ended before: {events[-3:]}"
        assert time.monotonic() < end, f"timed out: {events[-3:]}"
        events += process.poll()
        time.sleep(0.002)
    return events


def poll_to_end(process: WorkerProcess) -> list[Event]:
    """All events until the end."""
    events: list[Event] = []
    end = time.monotonic() + WAIT_SECONDS
    while process.running:
        assert time.monotonic() < end, f"timed out: {events[-3:]}"
        events += process.poll()
        time.sleep(0.002)
    return events


def poll_to_third_slice(process: WorkerProcess) -> tuple[list[Event], int]:
    """Events up to the third slice, and the worker's process id."""
    events = poll_until(process, lambda events: len(slices_done(events)) >= 3)
    return events, worker_pid(events)


def worker_pid(events: list[Event]) -> int:
    """Process id that the worker reported."""
    (pid,) = [event.pid for event in events if isinstance(event, Started)]
    return pid


def slices_done(events: list[Event]) -> list[int]:
    """Indices in the order in which they arrived."""
    return [event.index for event in events if isinstance(event, SliceDone)]


def finished_slices(folder: JobFolder) -> dict[int, np.ndarray]:
    """Label values of the slices that are finished, by index."""
    return {int(index): folder.result_slice(int(index)) for index in np.flatnonzero(folder.finished())}


def write_launcher(job: JobFolder, text: str) -> str:
    """Write a shell script beside a job that starts its worker as a launcher does; returns its path."""
    return write_program(job.path.parent / "launcher", text)


def write_exit_code_recorder(job: JobFolder, python: str) -> tuple[str, Path]:
    """Write a launcher of a job's worker that writes its exit code to a file; returns the paths of both."""
    code = job.path.parent / "exit code"
    return write_launcher(job, f'"{python}" "$@"; code=$?; echo $code > "{code}"; exit $code'), code


def write_program(path: Path, script: str) -> str:
    """Write an executable shell script, for example one that starts Python as a launcher does; returns its path."""
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Suspend a process during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: state(pid) in "T")
        yield
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGCONT)


def state(pid: int) -> str:
    """Linux: R running, S sleeping, T stopped, Z zombie; X if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def alive(pid: int) -> bool:
    """Whether a process runs or is stopped, and is no zombie."""
    return state(pid) not in "XZ"


def python(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python that finds the package, its output captured, with further environment variables."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **(environment or {})}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )


class Spawned:
    """Processes of one test; those still alive at its end are killed."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[str]] = []
        self._workers: list[WorkerProcess] = []

    def worker(self, folder: JobFolder, python: str = sys.executable) -> WorkerProcess:
        """A started worker."""
        process = WorkerProcess(folder, python)
        self._workers.append(process)
        process.start()
        return process

    def python(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """As the function of this name."""
        self._children.append(python(*arguments, environment=environment))
        return self._children[-1]

    def cli(self, *arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """The command line in a process of its own."""
        words = list(map(str, arguments))
        if words[0] in ("fill", "demo") and "--engine" not in words:
            words += ["--engine", "propagate"]  # quick; most tests are not about the engine
        return self.python("-m", "fewshot_annotate.cli", *words, environment=environment)

    def __enter__(self) -> Spawned:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.communicate()
        for process in self._workers:
            process.kill()
            assert process.wait(10)
