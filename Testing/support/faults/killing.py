"""Code that is killed at each of its renames and removals in turn."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_MAX_STEPS = 50


def at_every_rename(begin: Callable[[], object], act: Callable[[], object], observe: Callable[[], T]) -> list[T]:
    """State of the files after `act` was killed before its first rename, its second, ..., and without a kill.

    It forks, so the calling program must not have threads.

    Parameters
    ----------
    begin : function
        Called before each run.
    """
    found = []
    for step in range(1, _MAX_STEPS):
        begin()
        pid = os.fork()
        if pid == 0:
            _act(act, step)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL)
        found.append(observe())
        if status == 0:
            break
    return found


def _act(act: Callable[[], object], step: int) -> None:
    count = 0

    def observe(event: str, _arguments: object) -> None:
        nonlocal count
        if event in ("os.rename", "os.remove"):
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(observe)
        act()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
