"""Script: the worker that finds the slice to label next in a run folder, in a separate process."""

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

from fewshot_annotate.core.events import Cancelled, Event, Finished
from fewshot_annotate.core.reading import read_json_as
from fewshot_annotate.core.storage import write_json
from fewshot_annotate.engines.base import Stopped
from fewshot_annotate.jobs.labelled_layers import LabelledLayer
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.suggestion_process import names_path, suggestion_path
from fewshot_annotate.jobs.suggestions import suggest_slices
from fewshot_annotate.jobs.worker_program import run_program, run_worker, worker_parser


def run(folder: JobFolder, stop: Callable[[], bool]) -> Event:
    """Write the best slice to label next, if there is any, and return the last event."""
    began = time.monotonic()
    names_of_layers = read_json_as(names_path(folder), lambda content: [dict(pairs) for pairs in content])
    opened = zip(JobFolder.open_layers(folder.path), names_of_layers, strict=True)
    layers = [LabelledLayer(number, layer.read_support(), names) for number, (layer, names) in enumerate(opened)]
    try:
        suggestions = suggest_slices(folder.read_volume(), layers, folder.job.slices, 1, stop)
    except Stopped:
        return Cancelled()
    write_json(suggestion_path(folder), [suggestion.to_json() for suggestion in suggestions])
    return Finished(round(time.monotonic() - began, 3))


def main(arguments: list[str]) -> int:
    """Run the folder named on the command line; returns the exit code."""
    parser = worker_parser("Find the slice to label next of one run folder.")
    parser.add_argument("--layer", type=int, default=0, help="ignored: all layers are read")
    options = parser.parse_args(arguments)
    folder = JobFolder.open(options.folder)
    return run_worker(folder, Path(__file__), options.host_pid, lambda _report, stop: run(folder, stop))


if __name__ == "__main__":
    sys.exit(run_program(main))
