"""LiveProcess: the host's interface to the live worker, which fills slices while the user paints."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..core.events import Event, RequestTaken, SliceDone
from ..core.support import Support
from .live_requests import LiveRequest, LiveRequests
from .process import WorkerProcess
from .run_folder import JobFolder


class LiveProcess(WorkerProcess):
    """A live worker on one folder; `poll` reports only slices of the latest request.

    Attributes
    ----------
    outstanding : set of int
        Slices that were requested and have not been filled yet.
    """

    script: ClassVar[Path] = Path(__file__).resolve().with_name("live_worker.py")

    def __init__(self, folder: JobFolder, python: str) -> None:
        super().__init__(folder, python)
        self.outstanding: set[int] = set()
        self._requests = LiveRequests(folder)
        self._number = self._taken = 0
        self._support: Support | None = None  # of the latest request

    @property
    def pending(self) -> bool:
        """Whether a request is still to be taken or filled."""
        return bool(self.outstanding) or self._taken != self._number

    @property
    def unfinished(self) -> LiveRequest | None:
        """What is left of the requests, for another process if this one has failed; None if nothing is."""
        if self._support is None or not self.pending:
            return None
        return LiveRequest(self._support, tuple(sorted(self.outstanding)))

    def start(self) -> None:
        """Start the worker. A failure to start is reported by `poll`, like any other."""
        self._requests.clear()
        super().start()

    def request(self, request: LiveRequest) -> None:
        """Request slices; unfilled slices of earlier requests are requested again.

        Slices that are labelled, or not between labelled ones, are left out.

        Raises
        ------
        OSError, InputError
            The request cannot be written.
        """
        support = request.support
        fillable = set(support.unlabelled(support.labelled_range()))
        self.outstanding = (self.outstanding | set(request.slices)) & fillable
        self._number += 1
        self._support = support
        self._requests.write(self._number, LiveRequest(support, tuple(sorted(self.outstanding))))

    def poll(self) -> list[Event]:
        """Events since the last call, see `WorkerProcess.poll`."""
        events: list[Event] = []
        for event in super().poll():
            if isinstance(event, RequestTaken):
                self._taken = event.number
            elif isinstance(event, SliceDone):
                if self._taken == self._number:
                    self.outstanding.discard(event.index)
                    events.append(event)
            else:
                events.append(event)
        return events
