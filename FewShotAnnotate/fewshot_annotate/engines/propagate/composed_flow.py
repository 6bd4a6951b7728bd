"""Optical flow composed outward from labelled slices, and a cache of that between adjacent slices."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .optical_flow import compose, flow, pyramid

# Regularisation of the flow times the number of slices between labelled slices: the nearer they are, the less the
# labels move, and the more the flow is drawn towards zero. `ablation.py --parts propagate.composed_flow` compares it
# with half and twice the value.
FLOW_REGULARISATION = 2.8e-3

# Within one window, a field depends on the two slices and on the regularisation of each step from the second to the
# first.
FlowKey = tuple[int, int, tuple[float, ...]]
# Field of each slice, by slice index.
Fields = dict[int, np.ndarray]


class FlowCache:
    """Cache of the most recently used fields; safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Maximum size of all fields; with 0, nothing is cached.
    """

    def __init__(self, max_bytes: int = 0) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._fields: OrderedDict[FlowKey, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: FlowKey, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The field of a key, computed if it is not cached.

        Parameters
        ----------
        key : (int, int, tuple of float)
            The slice, the one that the field leads to, regularisation of each step.
        compute : function
        """
        with self._lock:
            if key in self._fields:
                self._fields.move_to_end(key)
                return self._fields[key]
        field = compute()
        with self._lock:
            if key not in self._fields and field.nbytes <= self._max_bytes:
                self._fields[key] = field
                self._bytes += field.nbytes
                while self._bytes > self._max_bytes:
                    self._bytes -= self._fields.popitem(last=False)[1].nbytes
        return field


def composed_fields(
    images: Callable[[int], np.ndarray],
    start: int,
    query: Sequence[int],
    regularisation: Callable[[int, int], float],
    cache: FlowCache | None = None,
    on_flow: Callable[[], object] = lambda: None,
) -> Fields:
    """Field from each query slice to a labelled slice, composed outward from that slice.

    Parameters
    ----------
    images : function
        Slice index to the images that are compared, float32 `[images, h, w]`.
    start : int
        Slice index of the labelled slice.
    query : sequence of int, ascending
        Slices on one side of it.
    regularisation : function
        Two adjacent slice indices to the regularisation of the flow between them, as of `flow`.
    cache : FlowCache, optional
        Of the flow between adjacent slices, and of the composed fields.
    on_flow : function
        Called after each flow between adjacent slices.
    """
    cache = cache or FlowCache()
    path_flow = _PathFlow(images)
    path = range(start + 1, query[-1] + 1) if start < query[0] else range(start - 1, query[0] - 1, -1)
    field = np.zeros(0, dtype=np.float32)
    steps: tuple[float, ...] = ()
    fields: Fields = {}

    def composed(index: int, adjacent: int, step: float, field: np.ndarray) -> np.ndarray:
        between = cache.get((index, adjacent, (step,)), partial(path_flow.between, index, adjacent, step))
        return compose(between, field) if field.size else between

    for index in path:
        adjacent = index - path.step
        step = regularisation(index, adjacent)
        steps = (*steps, step)
        field = cache.get((index, start, steps), partial(composed, index, adjacent, step, field))
        on_flow()
        if index in query:
            fields[index] = field
    return fields


class _PathFlow:
    """Flow along a path of adjacent slices; the image pyramid of each slice is computed once."""

    def __init__(self, images: Callable[[int], np.ndarray]) -> None:
        self._images = images
        self._pyramids: dict[int, list[np.ndarray]] = {}

    def between(self, index: int, adjacent: int, regularisation: float) -> np.ndarray:
        """Field from a slice to an adjacent one, by slice index."""
        self._pyramids = {
            needed: self._pyramids.get(needed) or pyramid(self._images(needed)) for needed in (adjacent, index)
        }
        return flow(self._pyramids[index], self._pyramids[adjacent], regularisation)
