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

# Within one window, flow depends on the two slices and the regularisation.
FlowKey = tuple[int, int, float]
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
        key : (int, int, float)
            The slice, the adjacent one that the field leads to, regularisation.
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
        Of the flow between adjacent slices.
    on_flow : function
        Called after each flow between adjacent slices.
    """
    cache = cache or FlowCache()
    path_flow = _PathFlow(images)
    path = range(start + 1, query[-1] + 1) if start < query[0] else range(start - 1, query[0] - 1, -1)
    field, fields = np.zeros(0, dtype=np.float32), {}
    for index in path:
        key = index, index - path.step, regularisation(index, index - path.step)
        between = cache.get(key, partial(path_flow.between, *key))
        field = compose(between, field) if field.size else between
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
