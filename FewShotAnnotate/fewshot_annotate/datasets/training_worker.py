"""The worker that trains a task, in a process of its own. Started by path, see `background.py`."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # until `run_program`: nothing that loads is garbage
    # Replaces this file's folder, so that the package of this file is imported even if another one is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from fewshot_annotate.core.events import Cancelled, Event, Finished, Progress, Warned
from fewshot_annotate.core.job import Device
from fewshot_annotate.datasets.background import RequestFolder
from fewshot_annotate.datasets.task.training import TrainingRequest, train_task
from fewshot_annotate.engines.base import RunContext, Stopped
from fewshot_annotate.jobs.worker_program import EventWriter, run_program, run_worker, worker_parser

_PROGRESS_SECONDS = 0.5


def run(folder: RequestFolder, report: EventWriter, stop: Callable[[], bool]) -> Event:
    """Train a task, or continue its interrupted training, and return how it ended."""
    request = folder.read_request()
    began = reported = time.monotonic()

    def show(fraction: float) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= _PROGRESS_SECONDS:
            reported = now
            report(Progress(done=0, total=0, eta=None, fraction=min(fraction, 1.0)))

    context = RunContext(on_progress=show, warn=lambda message: report(Warned.of(message)), stop=stop)
    training = TrainingRequest(
        task=Path(request["task"]), seconds=float(request["seconds"]), device=Device(request["device"])
    )
    try:
        train_task(training, context)
    except Stopped:
        return Cancelled()
    return Finished(round(time.monotonic() - began, 3))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    options = worker_parser("Train a model on the examples of a task.").parse_args(arguments)
    folder = RequestFolder(options.folder)
    return run_worker(folder, Path(__file__), options.host_pid, lambda report, stop: run(folder, report, stop))


if __name__ == "__main__":
    sys.exit(run_program(main))
