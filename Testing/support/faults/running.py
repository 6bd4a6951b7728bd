"""Commands in forked processes, which start quickly: interrupted, and watched until all processes have ended."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fewshot_annotate.core.data_folder import HOME_VARIABLE

from support.faults.hook import VARIABLE, Stages
from support.processes import PACKAGE_PARENT

T = TypeVar("T")
_PR_SET_CHILD_SUBREAPER = 36
_MAX_SECONDS = 600.0  # far more than any command takes, on a busy machine too
_TESTING = Path(__file__).resolve().parents[2]


@dataclass
class Workspace:
    """The folders of one round."""

    folder: Path

    @property
    def inputs(self) -> Path:
        """The user's input files."""
        return self.folder / "in"

    @property
    def outputs(self) -> Path:
        """What the command writes."""
        return self.folder / "out"

    @property
    def tmp(self) -> Path:
        """The folder for temporary files."""
        return self.folder / "tmp"

    @property
    def data(self) -> Path:
        """The program's data folder."""
        return self.folder / "data"

    @property
    def records(self) -> Path:
        """Files of the round itself."""
        return self.folder.with_name(self.folder.name + "-notes")

    def make(self) -> None:
        """Make the folders anew, empty."""
        self.remove()
        for folder in (self.inputs, self.outputs, self.tmp, self.data, self.folder / "home", self.records):
            folder.mkdir(parents=True)

    def restore(self, template: Path) -> None:
        """Restore the folders from a template, with the times of files."""
        for folder in (self.folder, self.records):
            _empty(folder)
        shutil.copytree(template, self.folder, symlinks=True, dirs_exist_ok=True)
        self.records.mkdir(exist_ok=True)

    def remove(self) -> None:
        """Remove all folders."""
        for folder in (self.folder, self.records):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(kw_only=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str
    seconds: float
    left: int = 0  # number of processes that had to be killed
    counts: dict[str, int] = field(default_factory=dict)
    renames: int = 0
    signalled: bool = False


@dataclass
class Disturbance:
    """A fault to inject into a command.

    Attributes
    ----------
    stages : Stages or None
        A signal at an event of the process itself.
    tree : dict or None
        A plan for all of its processes, see `TreeFaults`.
    after : (float, int, bool) or None
        Seconds until a signal is sent from outside, its number, and whether the whole group gets it.
    largest : int or None
        Maximum size of a file in bytes.
    """

    stages: Stages | None = None
    tree: dict[str, Any] | None = None
    after: tuple[float, int, bool] | None = None
    largest: int | None = None


def become_subreaper() -> None:
    """Become the parent of processes whose own parent has ended, so that they can be waited for."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(program: Callable[[], int], workspace: Workspace, disturbance: Disturbance | None = None) -> CommandResult:
    """Run a program in a process of its own and wait until all processes that it started have ended."""
    disturbance = disturbance or Disturbance()
    began = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run_child(program, workspace, disturbance)
    code, left = _wait(pid, disturbance.after)
    seconds = time.monotonic() - began
    completed = CommandResult(
        code=code,
        out=_text(workspace.records / "stdout"),
        err=_text(workspace.records / "stderr"),
        seconds=seconds,
        left=left,
    )
    with contextlib.suppress(OSError, ValueError):
        counted = json.loads((workspace.records / "stages").read_text())
        completed.counts, completed.renames, completed.signalled = counted
    return completed


@dataclass(frozen=True)
class Prepared:
    """A program after a preparation without faults, such as the start of an application."""

    prepare: Callable[[], object]
    program: Callable[[], int]

    def __call__(self) -> int:
        return self.program()


def in_child(function: Callable[[], T], workspace: Workspace) -> T:
    """Call a function in a process of its own, so that no library with threads is loaded into this one."""

    def program() -> int:
        (workspace.records / "result").write_bytes(pickle.dumps(function()))
        return 0

    completed = run(program, workspace)
    if completed.code:
        raise RuntimeError(completed.err)
    return pickle.loads((workspace.records / "result").read_bytes())


def _run_child(program: Callable[[], int], workspace: Workspace, disturbance: Disturbance) -> None:
    """The forked process: runs a program between the steps that Python takes at its start and at its end."""
    code = 1
    try:
        os.setsid()
        os.chdir(workspace.folder)
        _redirect(workspace)
        environment = {"TMPDIR": workspace.tmp, "HOME": workspace.folder / "home", HOME_VARIABLE: workspace.data}
        os.environ.update({name: str(path) for name, path in environment.items()})
        tempfile.tempdir = None
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.modules["__main__"] = types.ModuleType("__main__")  # for processes started by multiprocessing
        # The system may deliver a signal to another thread than the main one; numeric libraries start such threads.
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        if isinstance(program, Prepared):
            program.prepare()
        if disturbance.tree is not None:
            site = workspace.records / "site"
            site.mkdir(exist_ok=True)
            lines = "from support.faults.hook import install_from_environment\ninstall_from_environment()\n"
            (site / "sitecustomize.py").write_text(lines)
            os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (site, PACKAGE_PARENT, _TESTING)))
            os.environ[VARIABLE] = json.dumps(disturbance.tree)
            from support.faults.hook import install_from_environment

            install_from_environment()
        if disturbance.largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (disturbance.largest, disturbance.largest))
        if disturbance.stages is not None:
            disturbance.stages.install()
        try:
            code = program()
        except KeyboardInterrupt:
            traceback.print_exc()
            code = 130
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        if disturbance.stages is not None:
            stages = disturbance.stages
            with contextlib.suppress(OSError):
                (workspace.records / "stages").write_text(
                    json.dumps([stages.counts, stages.renames, stages.signalled])
                )
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        os._exit(code)


def _redirect(workspace: Workspace) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(workspace.records / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.close(null)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115


def _wait(pid: int, after: tuple[float, int, bool] | None) -> tuple[int, int]:
    """Exit code of a process, and how many of its processes had to be killed."""
    code, left, began = 0, 0, time.monotonic()
    main_ended = False
    while True:
        passed = time.monotonic() - began
        if after is not None and passed > after[0]:
            if not main_ended:
                (os.killpg if after[2] else os.kill)(pid, after[1])
            after = None
        try:
            found, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code, left
        if found == pid:
            code, main_ended = os.waitstatus_to_exitcode(status), True
        if found == 0:
            if passed > _MAX_SECONDS:
                for one in _children():
                    left += 1
                    os.kill(one, signal.SIGKILL)
                began = time.monotonic()
            time.sleep(0.002)


def _children() -> Sequence[int]:
    return [int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _empty(folder: Path) -> None:
    """Remove the content of a folder; disks mounted there stay mounted, and are emptied."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_mount():
            _empty(path)
        else:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
