"""Script: the live worker, which fills slices repeatedly while the user paints, in a separate process.

It keeps the volume, the intensities and the flow between slices in memory, so that a request takes little more than
the label vote.
"""

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

from fewshot_annotate.core.channels import coverage_notes, on_one_grid
from fewshot_annotate.core.events import Cancelled, Event, RequestTaken, SliceDone, Warned
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.propagate.composed_flow import FlowCache
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation, label_window
from fewshot_annotate.jobs.live_requests import LiveRequest, LiveRequests
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from fewshot_annotate.jobs.worker_program import EventWriter, run_program, run_worker, worker_parser

POLL_SECONDS = 0.01
# Enough for the flow from both sides to each of 250 slices of 256 x 256 pixels, and for that to the labelled slices.
MAX_FLOW_BYTES = 512 << 20
# Margin of the window around the labels, and the margin below which a new window is prepared.
MARGIN_PIXELS, MIN_MARGIN_PIXELS = 64, 24


class LiveEngine:
    """Optical flow of engine `propagate` on one volume, for changing labelled slices.

    Simpler candidates are left out, because evaluating them on held-out slices takes longer than a brush stroke.

    Parameters
    ----------
    volume : Volume
        Its further channels may be on grids of their own.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = on_one_grid(volume)
        self._flow: FlowPropagation | None = None

    def propagation(self, request: LiveRequest) -> FlowPropagation:
        """Propagation from the labelled slices of a request."""
        support = request.support
        if self._flow is None or not _contains(self._flow.window, label_window(support.masks, MIN_MARGIN_PIXELS)):
            window, flows = label_window(support.masks, MARGIN_PIXELS), FlowCache(MAX_FLOW_BYTES)
            self._flow = FlowPropagation(self._volume, support, window, flows=flows)
        return self._flow.with_support(support)


def _contains(outer: tuple[slice, slice], inner: tuple[slice, slice]) -> bool:
    pairs = zip(outer, inner, strict=True)
    return all(wide.start <= narrow.start and narrow.stop <= wide.stop for wide, narrow in pairs)


def outdated_slices(finished: np.ndarray, request: LiveRequest) -> list[int]:
    """Finished slices, given bool [n], that a request fills again, or that are not between labelled slices now."""
    fillable = {*request.support.unlabelled(request.support.labelled_range())} - {*request.slices}
    return [index for index in map(int, np.flatnonzero(finished)) if index not in fillable]


def serve(folder: JobFolder, report: EventWriter, stop: Callable[[], bool]) -> Event:
    """Fill requested slices until the host cancels or exits; a newer request ends the current one."""
    volume = folder.read_volume()
    for note in coverage_notes(volume):
        report(Warned.of(note))
    requests, engine, served = LiveRequests(folder), LiveEngine(volume), 0
    with SliceWriter(folder) as writer:
        while not stop():
            number = requests.latest()
            if number == served:
                time.sleep(POLL_SECONDS)
                continue
            served, request = number, requests.read(number)
            requests.remove_before(number)
            writer.withdraw(outdated_slices(folder.finished(), request))
            report(RequestTaken(number))
            for index, probabilities in engine.propagation(request).predict(request.slices):
                writer.write(index, *label_slice(probabilities, request.support.labels))
                report(SliceDone(index))
                if stop() or requests.latest() > number:
                    break
    return Cancelled()


def main(arguments: list[str]) -> int:
    """Serve the folder named on the command line; returns the exit code."""
    parser = worker_parser("Fill slices of one run folder as its labelled slices change.")
    parser.add_argument("--layer", type=int, default=0)
    options = parser.parse_args(arguments)
    folder = JobFolder.open(options.folder, options.layer)
    return run_worker(folder, Path(__file__), options.host_pid, lambda report, stop: serve(folder, report, stop))


if __name__ == "__main__":
    sys.exit(run_program(main))
