"""FlowCache: optical flow composed outward from labelled slices, kept while their labels change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

# Composed flow depends on the two slices, those between and its regularisation, within one window.
FlowKey = tuple[int, int, float]


class FlowCache:
    """Fields that were computed last, up to a size in memory; may be used by several threads.

    Parameters
    ----------
    max_bytes : int
        0 keeps nothing.
    """

    def __init__(self, max_bytes: int = 0) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._fields: OrderedDict[FlowKey, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: FlowKey, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The field of a key, computed if it is not kept.

        Parameters
        ----------
        key : (int, int, float)
            Labelled slice, slice from which the field leads to it, regularisation.
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
