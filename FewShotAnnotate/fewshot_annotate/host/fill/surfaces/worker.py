"""The worker that makes the closed surfaces of one folder, in a process of its own. Started by path."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # until `run_program`: nothing that loads is garbage
    # Replaces this file's folder, so that the package of this file is imported even if another one is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[4])

import numpy as np

from fewshot_annotate.core.events import Cancelled, Event, Finished
from fewshot_annotate.host.fill.surfaces.conversion import closed_surface
from fewshot_annotate.host.fill.surfaces.folder import SurfaceFolder
from fewshot_annotate.jobs.worker_program import run_program, run_worker, worker_parser


def make_surfaces(folder: SurfaceFolder, stop: Callable[[], bool]) -> Event:
    """Make the surfaces that are not there yet, and return how it ended."""
    began = time.monotonic()
    request = folder.request()
    matrix = np.array(request.ijk_to_ras).reshape(4, 4)
    for name, first in request.first.items():
        if stop():
            return Cancelled()
        if not folder.has_surface(name):
            folder.write_surface(name, closed_surface(folder.read_mask(name), first, matrix, request.settings))
    return Finished(round(time.monotonic() - began, 3))


def main(arguments: list[str]) -> int:
    """Make the surfaces of the folder named on the command line; returns the exit code."""
    options = worker_parser("Make the closed surfaces of one folder.").parse_args(arguments)
    folder = SurfaceFolder(options.folder)
    return run_worker(folder, Path(__file__), options.host_pid, lambda _report, stop: make_surfaces(folder, stop))


if __name__ == "__main__":
    sys.exit(run_program(main))
