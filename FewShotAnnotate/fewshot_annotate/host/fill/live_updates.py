"""LiveUpdates: which slices a live run fills again after a stroke."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from functools import partial

import numpy as np

from ...core.errors import InputError
from ...core.support import Support
from ...jobs.live_requests import LiveRequest
from ..tasks import BackgroundTasks
from .active_run import ActiveRun
from .preparation import PaintedInput


class LiveUpdates:
    """The labelled slices as they were last sent to the worker of live runs; outlives a commit.

    After a change of a labelled slice, the slices between it and the neighbouring labelled ones are filled again.

    Parameters
    ----------
    tasks : BackgroundTasks
        Determine which slices have changed.
    changed : function
        Called after each request.
    """

    def __init__(self, tasks: BackgroundTasks, changed: Callable[[], object]) -> None:
        self._tasks = tasks
        self._changed = changed
        self._node_ids = ("", "")
        self._sent = SentSlices()

    def begin(self, run: ActiveRun, painted: PaintedInput) -> None:
        """Begin a live run with a first request."""
        node_ids = (run.volume_id, run.segmentation_id)
        if node_ids != self._node_ids:
            self.reset()
        self._node_ids = node_ids
        self.request(run, painted)

    def has_pending_slices(self, run: ActiveRun) -> bool:
        """Whether a live run still has slices to fill or to request."""
        return run.live and (run.outstanding > 0 or self._tasks.has_pending_results)

    def request(self, run: ActiveRun, painted: PaintedInput) -> None:
        """Request from the worker of a live run the slices next to those that have changed."""

        def send(request: LiveRequest | None) -> None:
            if request is not None:
                run.send_request(request)
                self._changed()

        plan = run.plan
        self._tasks.start(partial(self._sent.next_request, painted, plan.segment_ids, plan.query_slices), send)

    def reset(self) -> None:
        """Fill everything with the next request."""
        self._sent = SentSlices()  # a new object, as a cancelled call may still change the old one


class SentSlices:
    """The labelled slices as they were last sent to a worker. For a background thread, one call at a time."""

    def __init__(self) -> None:
        self._segment_ids: tuple[str, ...] = ()
        self._digests: dict[int, int] = {}  # labelled slice -> checksum of its masks when the worker got them

    def next_request(
        self, painted: PaintedInput, segment_ids: Collection[str], fillable: Collection[int]
    ) -> LiveRequest | None:
        """The next request to the worker.

        Parameters
        ----------
        painted : PaintedInput
            The present labelled slices.
        segment_ids : collection of str
            Segments of the run, in the order of their labels.
        fillable : collection of int
            Slices of the run.

        Returns
        -------
        LiveRequest or None
            None if nothing has changed.

        Raises
        ------
        InputError
            Segments overlap or were added: the run has to be started again.
        """
        layers = painted.layers()
        if len(layers) != 1 or tuple(layers[0][0]) != tuple(segment_ids):
            raise InputError("live_segments_changed")
        support = layers[0][1].support
        if self._segment_ids != tuple(segment_ids):
            self._segment_ids, self._digests = tuple(segment_ids), {}
        sent, digests = self._digests, _digests(support)
        changed = {index for index in {*digests, *sent} if digests.get(index) != sent.get(index)}
        self._digests = digests
        asked = slices_beside(changed, support, fillable)
        return LiveRequest(support, asked) if changed else None


def slices_beside(changed: Collection[int], support: Support, fillable: Collection[int]) -> tuple[int, ...]:
    """Slices of the gaps, between labelled slices, that a changed slice borders on or lies in; ascending."""
    asked: list[int] = []
    for gap in support.gaps(sorted(set(fillable) & set(support.labelled_range()))):
        if gap.before is None or gap.after is None:
            continue
        first, last = support.indices[gap.before], support.indices[gap.after]
        if any(first <= index <= last for index in changed):
            asked += gap.slices
    return tuple(asked)


def _digests(support: Support) -> dict[int, int]:
    masks = zip(support.indices, support.masks, strict=True)
    return {index: zlib.crc32(np.ascontiguousarray(mask).data) for index, mask in masks}
