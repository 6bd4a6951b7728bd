"""The comparison's worker: runs one comparison folder to its end in a process of its own. See `process.py`."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # until `run_program`: nothing that loads is garbage
    # Replaces this file's folder, so that the package of this file is imported even if another one is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from fewshot_annotate.core.events import Cancelled, Event, Failed, Finished, Progress
from fewshot_annotate.core.storage import write_json
from fewshot_annotate.evaluation.compare import compare
from fewshot_annotate.evaluation.comparison_folder import ComparisonFolder
from fewshot_annotate.evaluation.report.page import comparison_png, missing_packages, write_report
from fewshot_annotate.evaluation.time_estimate import ComparisonProgress
from fewshot_annotate.evaluation.trials import EngineFailed, Interrupted
from fewshot_annotate.jobs.process import run_in_worker
from fewshot_annotate.jobs.worker_program import EventWriter, run_program, run_worker, worker_parser


def run(folder: ComparisonFolder, report: EventWriter, stop: Callable[[], bool], python: str) -> Event:
    """Run the trials that are not finished, write what was found, and return how it ended."""
    began = time.monotonic()
    request, case = folder.read()

    def raise_if_stopped() -> None:
        if stop():
            raise Interrupted

    def report_step(step: ComparisonProgress) -> None:
        raise_if_stopped()
        report(Progress(done=step.done, total=step.total, eta=step.eta, fraction=round(step.fraction, 4)))

    runner = partial(run_in_worker, python=python, check=raise_if_stopped)
    try:
        comparison = compare(
            case, request.engine_settings, request.design, folder.trials_path, report_step, True, runner
        )
    except Interrupted:
        return Cancelled()
    except EngineFailed as failure:
        return Failed.of(failure.content)
    write_json(folder.result_path, comparison.to_json())
    if not missing_packages():
        write_report(
            folder.report_path, case, comparison, request.engine_settings, request.design, comparison_png(comparison)
        )
    return Finished(round(time.monotonic() - began, 3))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    parser = worker_parser("Compare engines on the labelled slices of one folder.")
    parser.add_argument("--python", required=True, help="program that runs the trials")
    options = parser.parse_args(arguments)
    folder = ComparisonFolder(options.folder)
    return run_worker(
        folder, Path(__file__), options.host_pid, lambda report, stop: run(folder, report, stop, options.python)
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
