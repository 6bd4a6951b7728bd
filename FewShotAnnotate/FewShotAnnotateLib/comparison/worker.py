"""The comparison's worker: runs one comparison folder to its end in a process of its own. See `process.py`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    # In place of this file's folder: the package must be the one this file belongs to, whatever is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from FewShotAnnotateLib.comparison.clock import Step
from FewShotAnnotateLib.comparison.compare import compare
from FewShotAnnotateLib.comparison.folder import ComparisonFolder
from FewShotAnnotateLib.comparison.report import comparison_png, missing_packages, write_report
from FewShotAnnotateLib.comparison.trial import EngineFailed, Interrupted
from FewShotAnnotateLib.core.event import Cancelled, Event, Failed, Finished, Progress
from FewShotAnnotateLib.core.storage import write_json
from FewShotAnnotateLib.run.fill import run_in_worker
from FewShotAnnotateLib.run.worker import Orphaned, Reporter, exit_code, serve


def run(folder: ComparisonFolder, report: Reporter, orphaned: Orphaned, python: str) -> Event:
    """Run the trials that are not finished, write what was found, and return how it ended."""
    began = time.monotonic()
    request, case = folder.read()

    def require_going() -> None:
        if orphaned or folder.cancel_requested():
            raise Interrupted

    def tell(step: Step) -> None:
        require_going()
        report(Progress(step.done, step.total, step.eta, round(step.fraction, 4)))

    runner = partial(run_in_worker, python=python, check=require_going)
    try:
        found = compare(case, request.contenders, request.wish, folder.trials_path, tell, True, runner)
    except Interrupted:
        return Cancelled()
    except EngineFailed as failure:
        return Failed(f"No engine finished. {failure}")
    write_json(folder.result_path, found.to_json())
    if not missing_packages():
        write_report(folder.report_path, case, found, request.contenders, request.wish, comparison_png(found))
    return Finished(round(time.monotonic() - began, 3))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare engines on the labelled slices of one folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host-pid", type=int, required=True)
    parser.add_argument("--python", required=True, help="program that runs the trials")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the host's; it asks by the cancel file
    folder = ComparisonFolder(options.folder)
    return serve(
        folder, Path(__file__), lambda report: run(folder, report, Orphaned(options.host_pid), options.python)
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
