"""The start of a worker process of a batch, before what runs its cases is loaded; see `LocalProcesses`."""

from __future__ import annotations

import gc

TYPE_CHECKING = False  # of typing, which takes long to import
if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def start(connection: Connection, host_pid: int) -> None:
    """Load what runs cases, and run those that arrive until the connection is closed."""
    gc.disable()  # nothing that loads is garbage
    from ..core.scipy_loading import load_scipy

    load_scipy()
    from .worker_loop import run_cases

    gc.freeze()
    gc.enable()
    try:
        run_cases(connection, host_pid)
    finally:
        gc.freeze()  # the process ends with all its memory
