"""Script: the worker, which fills one layer of a run folder in a separate process, see `process`."""

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

import numpy as np

from fewshot_annotate.core.events import Cancelled, Event, Expected, Finished, Warned
from fewshot_annotate.engines.base import Engine, RunContext, Stopped, label_slice
from fewshot_annotate.engines.registry import engine_for
from fewshot_annotate.jobs.filling import Filling, SliceResults
from fewshot_annotate.jobs.progress import RunProgress
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from fewshot_annotate.jobs.worker_program import run_program, run_worker, worker_parser


def run(
    folder: JobFolder,
    report: Callable[[Event], None],
    stop: Callable[[], bool],
    drafts_only: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Event:
    """Fill the pending slices of a folder, first with drafts if the engine makes any, and return the last event."""
    progress = RunProgress(folder, report, clock)
    progress.report_progress()
    if folder.pending():
        try:
            _fill(folder, report, progress, stop, drafts_only)
        except Stopped:
            if folder.pending():
                return Cancelled()
    return Finished(round(progress.seconds, 3))


def _fill(
    folder: JobFolder,
    report: Callable[[Event], None],
    progress: RunProgress,
    stop: Callable[[], bool],
    drafts_only: bool,
) -> None:
    job, support = folder.job, folder.read_support()
    engine = engine_for(job)
    with SliceWriter(folder) as writer:

        def write(index: int, probabilities: np.ndarray, draft: bool) -> None:
            writer.write(index, *label_slice(probabilities, support.labels), draft)
            progress.slice_written(index, draft)

        def write_all(results: SliceResults, draft: bool) -> None:
            count = 0
            for count, (index, probabilities) in enumerate(results, start=1):  # noqa: B007
                write(index, probabilities, draft)
            if count:
                _report_expected_dice(engine, folder, report)

        context = RunContext(
            on_progress=progress.report_fraction,
            warn=lambda message: report(Warned.of(message)),
            report_draft=lambda index, probabilities: write(index, probabilities, draft=True),
            stop=stop,
            deadline=progress.deadline,
            names=job.names,
            model=None if job.model is None else Path(job.model),
        )
        filling = Filling(engine, folder.read_volume(), support, folder.pending(), context)
        write_all(filling.drafts(np.flatnonzero(folder.finished())), draft=True)
        if not drafts_only:
            write_all(filling.results(), draft=False)


def _report_expected_dice(engine: Engine, folder: JobFolder, report: Callable[[Event], None]) -> None:
    expected = engine.expected_dice()
    if expected:
        folder.write_expected_dice(expected)
    for label_dice in expected:
        report(Expected(**label_dice.to_json()))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    parser = worker_parser("Fill the slices of one run folder.")
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--drafts-only", action="store_true")
    options = parser.parse_args(arguments)
    folder = JobFolder.open(options.folder, options.layer)
    return run_worker(
        folder,
        Path(__file__),
        options.host_pid,
        lambda report, stop: run(folder, report, stop, options.drafts_only),
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
