"""Faults inside a process: events of Python's audit hooks are counted, and a fault is injected at one of them.

Only the standard library is used: every Python process that a command starts imports this file, too, by a
`sitecustomize` on PYTHONPATH, with the plan in an environment variable.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

VARIABLE = "FAULT_PLAN"
STAGES = ("start", "reading", "filling", "writing", "after")
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR
_RENAMES = ("os.rename", "os.link")


def install_from_environment() -> None:
    """Carry out the plan that an environment variable names, if any."""
    text = os.environ.get(VARIABLE)
    if text:
        TreeFaults(json.loads(text)).install()


class Stages:
    """Delivers a signal at the n-th event of a stage of the process; without a plan it only counts.

    Parameters
    ----------
    marks : mapping of str to list of str
        Texts, one of which in the arguments of an event begins the stage, once the one before it has begun.
    writes : int or None
        Number of files renamed while writing, after which stage 'after' begins.
    """

    def __init__(self, marks: dict[str, list[str]], writes: int | None = None) -> None:
        self.counts = dict.fromkeys(STAGES, 0)
        self.renames = 0
        self.signalled = False
        self._marks = marks
        self._writes = writes
        self._stage = STAGES[0]
        self._plan: tuple[str, int, int, bool] | None = None

    def plan(self, stage: str, at: int, number: int, group: bool) -> None:
        """Send the signal `number`, to this process or to all of its group."""
        self._plan = stage, at, number, group

    def install(self) -> None:
        """Start counting."""
        sys.addaudithook(self._observe)

    def _observe(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not event.startswith(("open", "os.", "subprocess.", "shutil.", "tempfile.")) or event == "os.putenv":
            return
        text = f"{event} " + " ".join(str(word) for word in arguments[:2])
        later = next((one for one in STAGES[STAGES.index(self._stage) + 1 :] if self._marks.get(one)), None)
        if later is not None and any(mark in text for mark in self._marks[later]):
            self._stage = later
        if self._stage == "writing" and event in _RENAMES:
            self.renames += 1
            if self.renames == self._writes:
                self._stage = "after"
        self.counts[self._stage] += 1
        if self._plan is not None and not self.signalled:
            stage, at, number, group = self._plan
            if stage == self._stage and self.counts[stage] >= at:
                self.signalled = True
                os.killpg(0, number) if group else os.kill(os.getpid(), number)


class TreeFaults:
    """Counts over all processes of a command: renames, files opened for writing, and files flushed to the disk.

    Parameters
    ----------
    plan : mapping
        `kind`: 'rename' kills at the n-th rename, 'open' and 'sync' simulate a full disk from the n-th file on;
        'none' only counts. `at`: n, from 1. `under`: the folder whose files count. `notes`: a folder for the counts.
        `all`: whether all processes are killed.
    """

    kinds = ("rename", "open", "sync")

    def __init__(self, plan: dict[str, Any]) -> None:
        self._kind, self._at, self._under = plan["kind"], plan["at"], plan["under"]
        self._notes, self._all = Path(plan["notes"]), plan.get("all", False)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._counters = {kind: os.open(self._notes / f"count-{kind}", flags, 0o600) for kind in self.kinds}
        self._pids = os.open(self._notes / "pids", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def install(self) -> None:
        """Start counting."""
        os.write(self._pids, f"{os.getpid()}\n".encode())
        self._true_fsync = os.fsync
        os.fsync = self._fsync  # type: ignore[assignment]
        sys.addaudithook(self._observe)

    def _observe(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _RENAMES and self._concerns(arguments[1]):
            if self._is_reached("rename"):
                self._kill()
        elif event == "open" and self._concerns(arguments[0]):
            mode, flags = arguments[1], arguments[2]
            for_writing = any(letter in "wax+" for letter in mode) if isinstance(mode, str) else flags & _WRITE_FLAGS
            if for_writing and self._is_reached("open"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

    def _fsync(self, file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if self._concerns(Path(f"/proc/self/fd/{number}").readlink()) and self._is_reached("sync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._true_fsync(file)

    def _is_reached(self, kind: str) -> bool:
        """Count an event of a kind; True if the fault is due. A full disk stays full."""
        counter = self._counters[kind]
        os.write(counter, b".")
        count = os.lseek(counter, 0, os.SEEK_CUR)
        return kind == self._kind and (count == self._at if kind == "rename" else count >= self._at)

    def _concerns(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(self._under)  # noqa: PTH100

    def _kill(self) -> None:
        if self._all:
            for line in (self._notes / "pids").read_text().split():
                if int(line) != os.getpid():
                    try:
                        os.kill(int(line), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
        os.kill(os.getpid(), signal.SIGKILL)
