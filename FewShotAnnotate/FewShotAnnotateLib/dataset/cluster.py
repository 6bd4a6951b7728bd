"""Cluster: runs the cases of a batch on the workers of a dask scheduler.

Whoever reaches the port of a scheduler, or of a worker, can run programs as its user, unless both ask for
certificates. So the certificates that dask is configured with are used, and users are told of an address without.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from .. import __version__
from ..core.errors import InputError
from .batch import PoolLost
from .case import Task, run_case
from .local_processes import CANCEL_GRACE_SECONDS, died_status
from .status import CaseStatus, Status

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECT_SECONDS = 20
_GONE = "The dask scheduler is gone; start it again and go on with --resume."
# Voxels hardly share a process: where a worker has several threads, its cases take turns.
_TURN = threading.Lock()


class Cluster:
    """Dask workers, each with one case at a time; the scheduler never holds more cases than there are workers.

    So a case that runs on a worker which is lost is the one at fault, if any is, and the scheduler's memory does not
    grow with the number of cases. The scheduler gives the case of a lost worker to another one.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: dict[Future, Task] = {}
        self._batch = uuid.uuid4().hex
        self._count = 0

    def slots(self) -> int:
        """The number of workers at this moment; 0 while the scheduler does not answer."""
        try:
            return len(self._client.nthreads())
        except OSError:  # what is known of the scheduler's end is told by `ended`
            return 0

    def submit(self, task: Task) -> None:
        """Give a case to the scheduler."""
        self._count += 1
        # Keys that differ in their second part only: the scheduler keeps books on the first ones for good.
        key = (f"fewshot-annotate-{self._batch}", self._count)
        self._running[self._client.submit(_run_in_turn, task, key=key, pure=False)] = task

    def ended(self, seconds: float) -> list[CaseStatus]:
        """The cases that ended since the last call; waits for the first one, but no longer than `seconds`.

        Raises
        ------
        PoolLost
            The scheduler is gone.
        """
        from distributed import wait

        if self._running:
            with contextlib.suppress(TimeoutError, CancelledError):
                wait(list(self._running), timeout=seconds, return_when="FIRST_COMPLETED")
        else:
            time.sleep(seconds)  # there are no workers now
        if self._client.status != "running":
            raise PoolLost(_GONE)
        ended = [future for future in self._running if future.done()]
        for future in [future for future in ended if future.status in ("cancelled", "lost")]:
            ended.remove(future)
            self.submit(self._running.pop(future))
        return [self._status(future) for future in ended]

    def close(self) -> None:
        """Leave the scheduler and its workers."""
        if self._running and self._client.status == "running":
            from distributed import wait

            with contextlib.suppress(Exception):
                wait(list(self._running), timeout=CANCEL_GRACE_SECONDS)
        self._running.clear()
        with contextlib.suppress(Exception):
            self._client.close()

    def _status(self, future: Future) -> CaseStatus:
        from distributed import KilledWorker

        task = self._running.pop(future)
        try:
            status: CaseStatus = future.result()
        except KilledWorker as killed:
            return died_status(task, killed.allowed_failures + 1)
        except OSError:  # on the way here: a case tells its own errors
            raise PoolLost(_GONE) from None
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            return CaseStatus(task.case.name, Status.FAILED, None, f"row {task.case.row}: {words[:300]}")
        return status


def scheduler_cluster(address: str) -> Cluster:
    """The workers of a dask scheduler that runs already, such as one of dask-jobqueue.

    Raises
    ------
    InputError
        No scheduler answers there, or a worker does not have this program in this version.
    """
    require_distributed()
    from distributed import Client

    _hush()
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError("scheduler_unreachable", address=address, detail=detail) from None
    try:
        versions = set(client.run(_version).values())
    except Exception as error:
        client.close()
        raise InputError("scheduler_workers", address=address, detail=type(error).__name__) from None
    if versions - {__version__}:
        client.close()
        found = f"version {', '.join(sorted(versions - {__version__}))}"
        raise InputError("scheduler_workers", address=address, detail=found)
    return Cluster(client)


def is_open(address: str) -> bool:
    """Whether a scheduler at this address asks nobody for a certificate."""
    return not address.startswith("tls://")


def require_distributed() -> None:
    """Raise `InputError` if the package is missing."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        install = '"fewshot-annotate[cluster]"'
        raise InputError("package_missing", package="distributed", install=install) from None


def _hush() -> None:
    """What dask logs about workers that come and go is told to users in our own words."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _run_in_turn(task: Task) -> CaseStatus:
    with _TURN:
        return run_case(task)


def _version() -> str:
    return __version__
