"""The worker that fills slices again and again while the user paints, in a process of its own. Started by path.

It keeps the volume, the intensities and the flow between slices, so that a request takes little more than
the vote of the labels.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    # In place of this file's folder: the package must be the one this file belongs to, whatever is installed.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from fewshot_annotate.core.events import Cancelled, Event, RequestTaken, SliceDone
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.propagate.composed_flow import FlowCache
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from fewshot_annotate.jobs.live_requests import LiveRequest, LiveRequests
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.jobs.slice_writer import SliceWriter
from fewshot_annotate.jobs.worker import EventWriter, HostMonitor, run_program, run_worker, worker_parser

POLL_SECONDS = 0.01
# Flow from both sides to each of 500 slices of 256 x 256 pixels takes this much.
MAX_FLOW_BYTES = 512 << 20
# Slices are worked on as far as this beyond the labels; they are prepared again when labels come near its border.
MARGIN_PIXELS, LEAST_MARGIN_PIXELS = 64, 24


class LiveEngine:
    """Optical flow of engine `propagate` on one volume, for labelled slices that change.

    Simpler candidates are left out: to judge them on held-out slices takes longer than a stroke.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._volume = folder.read_volume()
        self._flow: FlowPropagation | None = None

    def take(self, request: LiveRequest) -> FlowPropagation:
        """Propagation from the labelled slices of a request."""
        support = request.support
        if self._flow is None or not _contains(self._flow.window, label_window(support.masks, LEAST_MARGIN_PIXELS)):
            window, flows = label_window(support.masks, MARGIN_PIXELS), FlowCache(MAX_FLOW_BYTES)
            self._flow = FlowPropagation(self._volume, support, window, flows=flows)
        return self._flow.with_support(support)


def label_window(masks: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Bounding box of all labels of slices [m, h, w] with a margin, within the slices."""
    labelled = (masks != 0).any(axis=0)
    if not labelled.any():
        return slice(0, 1), slice(0, 1)
    bounds = []
    for axis, size in enumerate(labelled.shape):
        used = np.flatnonzero(labelled.any(axis=1 - axis))
        bounds.append(slice(max(0, int(used[0]) - margin), min(size, int(used[-1]) + 1 + margin)))
    return bounds[0], bounds[1]


def _contains(outer: tuple[slice, slice], inner: tuple[slice, slice]) -> bool:
    pairs = zip(outer, inner, strict=True)
    return all(wide.start <= narrow.start and narrow.stop <= wide.stop for wide, narrow in pairs)


def serve(folder: JobFolder, report: EventWriter, host_monitor: HostMonitor) -> Event:
    """Fill what is asked for until the host ends this; a newer request ends the one before it."""
    requests, engine, served = LiveRequests(folder), LiveEngine(folder), 0
    with SliceWriter(folder) as writer:
        while not (host_monitor or folder.cancel_requested()):
            number = requests.latest()
            if number == served:
                time.sleep(POLL_SECONDS)
                continue
            served, request = number, requests.read(number)
            requests.remove_before(number)
            report(RequestTaken(number))
            for index, probabilities in engine.take(request).predict(request.slices):
                writer.write(index, *label_slice(probabilities, request.support.labels))
                report(SliceDone(index))
                if folder.cancel_requested() or requests.latest() > number:
                    break
    return Cancelled()


def main(arguments: list[str]) -> int:
    """Serve the folder named on the command line; returns the exit code."""
    parser = worker_parser("Fill slices of one job folder as its labelled slices change.")
    parser.add_argument("--layer", type=int, default=0)
    options = parser.parse_args(arguments)
    folder = JobFolder.open(options.folder, options.layer)
    return run_worker(folder, Path(__file__), lambda report: serve(folder, report, HostMonitor(options.host_pid)))


if __name__ == "__main__":
    sys.exit(run_program(main))
