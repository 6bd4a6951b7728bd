"""DaskCluster: runs the cases of a batch on the workers of a dask scheduler.

Anyone who can reach the port of a scheduler or worker can run programs as its user, unless both require
certificates. So dask's configured certificates are used, and users are warned of an address without them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.errors import InputError, Message
from .batch import WorkersLost
from .case import CaseJob, run_case
from .local_processes import CANCEL_GRACE_SECONDS, crashed_status
from .status import CaseStatus, Status

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 20
# Memory is planned for one case per process, so a worker with several threads runs its cases one by one.
_CASE_LOCK = threading.Lock()


class DaskCluster:
    """Dask workers with one case each; the scheduler never holds more cases than there are workers.

    So a lost worker can be attributed to its case, and the scheduler's memory does not grow with the number of
    cases. The scheduler gives the case of a lost worker to another one.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: dict[Future[Any], CaseJob] = {}
        self._batch = uuid.uuid4().hex
        self._count = 0

    def slots(self) -> int:
        """Current number of workers; 0 while the scheduler does not answer."""
        try:
            return len(self._client.nthreads())
        except OSError:  # `poll` raises if the scheduler is lost
            return 0

    def submit(self, case_job: CaseJob) -> None:
        """Submit a case to the scheduler."""
        self._count += 1
        # Keys differ in their second part only, as the scheduler keeps statistics by the first part forever.
        key = (f"fewshot-annotate-{self._batch}", self._count)
        self._running[self._client.submit(_run_exclusively, case_job, key=key, pure=False)] = case_job

    def poll(self, seconds: float) -> list[CaseStatus]:
        """Cases that ended since the last call; waits at most `seconds` for the first one.

        Raises
        ------
        WorkersLost
            The scheduler is gone.
        """
        from distributed import wait

        if self._running:
            with contextlib.suppress(TimeoutError, CancelledError):
                wait(list(self._running), timeout=seconds, return_when="FIRST_COMPLETED")
        else:
            time.sleep(seconds)  # there are no workers now
        if self._client.status != "running":
            raise WorkersLost(InputError("scheduler_lost"))
        ended = [future for future in self._running if future.done()]
        for future in [future for future in ended if future.status in ("cancelled", "lost")]:
            ended.remove(future)
            self.submit(self._running.pop(future))
        return [self._status(future) for future in ended]

    def close(self) -> None:
        """Disconnect from the scheduler."""
        if self._running and self._client.status == "running":
            from distributed import wait

            with contextlib.suppress(Exception):
                wait(list(self._running), timeout=CANCEL_GRACE_SECONDS)
        self._running.clear()
        with contextlib.suppress(Exception):
            self._client.close()

    def _status(self, future: Future[Any]) -> CaseStatus:
        from distributed import KilledWorker

        case_job = self._running.pop(future)
        try:
            status: CaseStatus = future.result()
        except KilledWorker as killed:
            return crashed_status(case_job, killed.allowed_failures + 1)
        except OSError:  # of the connection; errors of the case are in its status
            raise WorkersLost(InputError("scheduler_lost")) from None
        except Exception as error:
            description = " ".join(f"{type(error).__name__}: {error}".split())
            return CaseStatus(
                name=case_job.case.name,
                status=Status.FAILED,
                seconds=None,
                message=f"row {case_job.case.row}: {description[:300]}",
            )
        return status


def scheduler_cluster(address: str) -> DaskCluster:
    """The workers of a dask scheduler that runs already, such as one of dask-jobqueue; raises as `connect`."""
    return DaskCluster(connect(address))


def connect(address: str) -> Client:
    """Connection to a dask scheduler whose workers have this version of the program.

    Raises
    ------
    InputError
        No scheduler answers, or a worker has another version of this program.
    """
    require_distributed()
    from distributed import Client

    _silence_dask_logging()
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
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
        found = Message("versions_found", versions=", ".join(sorted(versions - {__version__})))
        raise InputError("scheduler_workers", address=address, detail=found)
    return client


def lacks_certificates(address: str) -> bool:
    """Whether a scheduler at this address does not require certificates."""
    return not address.startswith("tls://")


def require_distributed() -> None:
    """Raise `InputError` if the package is missing."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        install = '"fewshot-annotate[cluster]"'
        raise InputError("package_missing", package="distributed", install=install) from None


def _silence_dask_logging() -> None:
    """Silence dask's log messages about workers; users get messages of this program instead."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _run_exclusively(case_job: CaseJob) -> CaseStatus:
    with _CASE_LOCK:
        return run_case(case_job)


def _version() -> str:
    return __version__
