"""HostMonitor: ends a worker whose host, the process that started it, is gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from ..core.exit_codes import ExitCode

HOST_CHECK_SECONDS = 1.0
# Time that a worker has to finish its current slice after its host has exited.
ORPHAN_SECONDS = 10.0


class HostMonitor:
    """Watches the host process; once that has exited, ends this process if the run does not end soon."""

    def __init__(self, host_pid: int) -> None:
        self._alive = host_liveness_check(host_pid)
        self._gone = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def host_is_gone(self) -> bool:
        """Whether the host process has exited."""
        return self._gone.is_set()

    def _watch(self) -> None:
        while self._alive():
            time.sleep(HOST_CHECK_SECONDS)
        self._gone.set()
        time.sleep(ORPHAN_SECONDS)
        os._exit(ExitCode.CANCELLED)


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
