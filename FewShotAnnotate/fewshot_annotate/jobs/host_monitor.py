"""Check whether the process that started the worker is still running."""

from __future__ import annotations

import os
from collections.abc import Callable


def host_liveness_check(pid: int) -> Callable[[], bool]:
    """Function that returns whether the host process is alive; created once, when the worker starts."""
    if os.name == "nt":
        return _windows_liveness_check(pid)
    if os.getppid() == pid:
        return lambda: os.getppid() == pid
    return lambda: _process_exists(pid)  # the host started the worker through a launcher


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _windows_liveness_check(pid: int) -> Callable[[], bool]:
    """As `host_liveness_check`, on Windows; the open handle prevents the process id from being reused."""
    import ctypes

    synchronize, wait_timeout = 0x00100000, 0x00000102
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(synchronize, False, pid)
    return lambda: bool(handle) and kernel.WaitForSingleObject(handle, 0) == wait_timeout
