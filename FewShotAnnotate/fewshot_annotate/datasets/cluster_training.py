"""Training of a task as a job of a dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ..core.errors import InputError
from ..engines.base import Stopped
from .cluster import connect
from .local_processes import CANCEL_GRACE_SECONDS
from .task.models import TaskModel
from .task.task import read_task
from .task.training import TrainingRequest, request_stop, train_task

_WAIT_SECONDS = 0.5


def train_on_cluster(
    request: TrainingRequest, address: str, report: Callable[[], object] = lambda: None
) -> TaskModel:
    """Train a task on a worker of a dask scheduler. The folder of the task must have the same path there.

    Parameters
    ----------
    request : TrainingRequest
    address : str
        Of the scheduler.
    report : function
        Called several times a second while training runs.

    Raises
    ------
    InputError
        As `train_task`; no scheduler answers, or it is lost.
    KeyboardInterrupt
        Training was asked to stop before; its checkpoints stay.
    """
    client = connect(address)
    from distributed import CancelledError, KilledWorker, wait

    try:
        future = client.submit(train_task, request, pure=False)
        try:
            while not future.done():
                report()
                with contextlib.suppress(TimeoutError):
                    wait([future], timeout=_WAIT_SECONDS)
        except KeyboardInterrupt:
            request_stop(read_task(request.task))
            with contextlib.suppress(TimeoutError):
                wait([future], timeout=CANCEL_GRACE_SECONDS)
            raise
        try:
            model: TaskModel = future.result()
        except (InputError, Stopped):
            raise
        except (KilledWorker, CancelledError, OSError):
            raise InputError("scheduler_lost") from None
        return model
    finally:
        with contextlib.suppress(Exception):
            client.close()
