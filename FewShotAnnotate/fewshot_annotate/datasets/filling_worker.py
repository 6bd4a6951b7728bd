"""The worker that fills the cases of a data set, in a process of its own. Started by path, see `background.py`."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # until `run_program`: nothing that loads is garbage
    # Replaces this file's folder, so that the package of this file is imported even if another one is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from fewshot_annotate.core.events import Cancelled, Event, Finished, Progress
from fewshot_annotate.core.job import Device
from fewshot_annotate.datasets.background import RequestFolder
from fewshot_annotate.datasets.batch import BadRowsError, run_batch
from fewshot_annotate.datasets.batch_folder import BatchFolder
from fewshot_annotate.datasets.batch_state import BatchProgress
from fewshot_annotate.datasets.case_plan import BatchSettings
from fewshot_annotate.datasets.listed_cases import cases_path, dataset_task
from fewshot_annotate.datasets.local_processes import LocalProcesses
from fewshot_annotate.datasets.manifest import read_manifest
from fewshot_annotate.datasets.status import CaseStatus, Status
from fewshot_annotate.engines.threads import max_threads
from fewshot_annotate.jobs.worker_program import EventWriter, run_program, run_worker, worker_parser


class _StoppablePool(LocalProcesses):
    """Worker processes; the batch is cancelled as soon as the host asks for it or is gone.

    Parameters
    ----------
    batch : BatchFolder
    stop : function
    """

    def __init__(self, batch: BatchFolder, stop: Callable[[], bool]) -> None:
        # Half of the processor is left to whoever reviews meanwhile.
        super().__init__(1, max_threads(max(1, (os.cpu_count() or 1) // 2)))
        self._batch = batch
        self._stop = stop

    def poll(self, seconds: float) -> list[CaseStatus]:
        """Cases that ended since the last call."""
        if self._stop():
            self._batch.request_cancel()
        return super().poll(seconds)


def run(folder: RequestFolder, report: EventWriter, stop: Callable[[], bool]) -> Event:
    """Fill the cases of a data set by the model of its task, and return how it ended."""
    request = folder.read_request()
    began = time.monotonic()
    batch = BatchFolder(request["dataset"])
    manifest = read_manifest(cases_path(batch), dataset_task(batch))
    done = {name for name, row in batch.status.read().items() if row.status is Status.DONE}
    bad_rows = tuple(row for row in manifest.bad_rows if row.name not in done)  # such as of images that are gone
    manifest = replace(manifest, bad_rows=bad_rows)

    def show(progress: BatchProgress) -> None:
        ended = progress.done + progress.failed
        fraction = ended / progress.total
        report(Progress(done=ended, total=progress.total, eta=None, fraction=fraction))

    settings = BatchSettings(slices="all", device=Device(request["device"]))
    try:
        run_batch(
            manifest,
            batch.path,
            settings,
            lambda: _StoppablePool(batch, stop),
            resume=True,
            skip_bad_rows=True,
            report=show,
        )
    except BadRowsError as bad:
        raise bad.errors[0] from None
    return Cancelled() if stop() else Finished(round(time.monotonic() - began, 3))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    options = worker_parser("Fill the cases of a data set.").parse_args(arguments)
    folder = RequestFolder(options.folder)
    return run_worker(folder, Path(__file__), options.host_pid, lambda report, stop: run(folder, report, stop))


if __name__ == "__main__":
    sys.exit(run_program(main))
