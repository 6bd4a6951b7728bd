"""LiveUpdates: which slices a live run fills again after a stroke."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np

from ...core.errors import InputError
from ...core.support import Support
from ...jobs.live_requests import LiveRequest
from ..annotation.painted_slices import slice_digests
from ..mrml.chosen_nodes import ChosenNodes
from ..tasks import BackgroundTasks, Signal
from .active_run import ActiveRun
from .preparation import PaintedInput
from .run_outcome import RunOutcome
from .run_plan import RunPlan


class LiveUpdates:
    """The labelled slices as they were last sent to the worker of live runs; outlives a commit.

    After a change of a labelled slice, the slices that depend on it are filled again, see `slices_beside`. So are
    slices that were committed, once that was undone.

    Parameters
    ----------
    tasks : BackgroundTasks
        Determine which slices have changed.
    changed : function
        Called after each request.
    committed : Signal
        Emitted with the RunOutcome of a run whose slices were committed.
    """

    def __init__(
        self, tasks: BackgroundTasks, changed: Callable[[], object], committed: Signal[[RunOutcome]]
    ) -> None:
        self._tasks = tasks
        self._changed = changed
        self._node_ids: tuple[str, ...] = ()
        self._sent = SentSlices()
        committed.connect(lambda outcome: self._sent.add_committed(outcome.checksums))

    def begin(self, run: ActiveRun, nodes: ChosenNodes, painted: PaintedInput) -> None:
        """Begin a live run with a first request."""
        node_ids = _node_ids(nodes)
        if node_ids != self._node_ids:
            self.reset()
        self._node_ids = node_ids
        self._request(run, painted, None)

    def require_same(self, nodes: ChosenNodes) -> None:
        """Raise `InputError` unless these are the nodes of the last live run."""
        if not nodes.complete or _node_ids(nodes) != self._node_ids:
            raise InputError("live_choice_changed")

    def has_pending_slices(self, run: ActiveRun) -> bool:
        """Whether a live run still has slices to fill or to request."""
        return run.live and (run.has_pending_request or self._tasks.has_pending_results)

    def request(self, run: ActiveRun, painted: PaintedInput) -> None:
        """Request from the worker of a live run the slices next to those that have changed."""
        assert run.prepared is not None
        self._request(run, painted, tuple(run.prepared.layers[0]))

    def _request(self, run: ActiveRun, painted: PaintedInput, segment_ids: tuple[str, ...] | None) -> None:
        def send(request: LiveRequest | None) -> None:
            if request is not None:
                run.send_request(request)
                self._changed()

        self._tasks.start(partial(self._sent.next_request, painted, run.plan, segment_ids), send)

    def reset(self) -> None:
        """Fill everything with the next request."""
        self._sent = SentSlices()  # a new object, as a cancelled call may still change the old one


class SentSlices:
    """The labelled slices as they were last sent to a worker. For a background thread, one call at a time."""

    def __init__(self) -> None:
        self._sent_for: tuple[object, ...] = ()  # axis and segments
        self._digests: dict[int, int] = {}  # labelled slice -> checksum of its labels when the worker got them
        self._committed: dict[int, int] = {}  # filled slice -> checksum of its voxels after the commit

    def add_committed(self, checksums: Mapping[int, int]) -> None:
        """Note slices that were committed, with their checksums."""
        self._committed = {**self._committed, **checksums}

    def next_request(
        self, painted: PaintedInput, plan: RunPlan, segment_ids: tuple[str, ...] | None
    ) -> LiveRequest | None:
        """The next request to the worker.

        Parameters
        ----------
        painted : PaintedInput
            The present labelled slices.
        plan : RunPlan
            Plan of the run.
        segment_ids : tuple of str or None
            Segments that the worker fills, in the order of their labels; None for the first request of a run.

        Returns
        -------
        LiveRequest or None
            None if nothing has changed.

        Raises
        ------
        InputError
            The run has to be started again: segments overlap, were added or removed; another axis was chosen; or a
            slice that was labelled when the run began is not, so that the run does not fill it.
        """
        layers = painted.layers()
        present = tuple(layers[0][0])
        if len(layers) != 1 or segment_ids not in (None, present):
            raise InputError("live_segments_changed")
        support = layers[0][1].support
        if support.axis != plan.axis:
            raise InputError("live_choice_changed")
        if unlabelled := {*plan.labelled} - {*support.indices}:
            raise InputError("live_slice_unlabelled", index=min(unlabelled))
        if self._sent_for != (support.axis, present):
            self._sent_for, self._digests, self._committed = (support.axis, present), {}, {}
        sent, digests = self._digests, _digests(support)
        changed = {index for index in {*digests, *sent} if digests.get(index) != sent.get(index)}
        self._digests = digests
        changed |= self._undone(painted, {*plan.query_slices} - {*support.indices})
        asked = slices_beside(changed, support, plan.query_slices)
        return LiveRequest(support, asked) if changed else None

    def _undone(self, painted: PaintedInput, slices: Collection[int]) -> set[int]:
        """Those of the slices that do not hold any more what was committed; each is returned once."""
        committed = [index for index in slices if index in self._committed]
        present = slice_digests(painted.grid, tuple(painted.names), painted.axis, committed)
        undone = {index for index, checksum in present.items() if checksum != self._committed[index]}
        self._committed = {index: value for index, value in self._committed.items() if index not in undone}
        return undone


def slices_beside(changed: Collection[int], support: Support, fillable: Collection[int]) -> tuple[int, ...]:
    """Slices, ascending, whose labels depend on a changed slice.

    For each label, they lie between the nearest labelled slices on both sides on which it is annotated.
    """
    asked: set[int] = set()
    for index in changed:
        for annotated in support.annotated.T:
            labelled = np.array(support.indices)[annotated]
            before, after = labelled[labelled < index], labelled[labelled > index]
            first = before[-1] if before.size else support.indices[0] - 1
            asked.update(range(first + 1, after[0] if after.size else support.indices[-1]))
    return tuple(sorted(asked & set(support.unlabelled(support.labelled_range())) & set(fillable)))


def _node_ids(nodes: ChosenNodes) -> tuple[str, ...]:
    return tuple(node.GetID() for node in (nodes.volume, nodes.segmentation, *nodes.further))


def _digests(support: Support) -> dict[int, int]:
    slices = zip(support.indices, support.masks, support.annotated, strict=True)
    return {
        index: zlib.crc32(np.ascontiguousarray(mask).data, zlib.crc32(annotated.tobytes()))
        for index, mask, annotated in slices
    }
