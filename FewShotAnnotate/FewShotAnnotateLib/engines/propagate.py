"""Engine `propagate`: labels carried from slice to slice along dense optical flow, from both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from ..core.support import Support
from ..core.volume import Volume
from .base import Engine
from .flow import compose, flow, pyramid, smooth, warp

# Pixels around the labels that take part in the flow.
MARGIN = 32
# How fast a side loses its say where the slice does not look like what was carried there.
MISMATCH = 10.0


class Propagate(Engine):
    """Optical-flow propagation. Between labelled slices labels come from both, outside them from the nearest."""

    name = "propagate"
    title = "Propagate"
    summary = "Carries labels from slice to slice along optical flow. No download, no GPU."
    licence = "Apache-2.0 (built in)"

    def prepare(self, volume: Volume, support: Support) -> None:
        """Keep views, and the range of intensities."""
        self._support = support
        self._slices = support.axis.slices(volume.array)
        thinned = np.ascontiguousarray(self._slices[:: max(1, len(self._slices) // 64)])
        self._low, self._high = (float(value) for value in np.percentile(thinned, [0.5, 99.5]))
        if self._low == self._high:
            self._low, self._high = float(thinned.min()), float(thinned.max()) + 1e-6
        self._window = _window(support.masks)

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Gap by gap between labelled slices."""
        support = self._support
        asked = set(slice_indices)
        bounds = [-1, *support.indices, len(self._slices)]
        for gap, (before, after) in enumerate(pairwise(bounds)):
            wanted = sorted(asked.intersection(range(before + 1, after)))
            if wanted:
                sources = [row for row in (gap - 1, gap) if 0 <= row < len(support.indices)]
                yield from self._fill_gap(wanted, sources)

    def _fill_gap(self, wanted: list[int], sources: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        chains = {row: self._chain(self._support.indices[row], wanted) for row in sources}
        for index in wanted:
            yield index, self._blend(index, {row: chains[row][index] for row in sources})

    def _image(self, index: int) -> np.ndarray:
        """One slice in the window, intensities from 0 to 1."""
        image = self._slices[index][self._window].astype(np.float32)
        return np.clip((image - np.float32(self._low)) / np.float32(self._high - self._low), 0, 1)

    def _chain(self, source: int, wanted: list[int]) -> dict[int, np.ndarray]:
        """Fields from each wanted slice to the source slice, composed outward."""
        path = range(source + 1, wanted[-1] + 1) if source < wanted[0] else range(source - 1, wanted[0] - 1, -1)
        last = pyramid(self._image(source))
        field = np.zeros((2, *last[0].shape), dtype=np.float32)
        chain = {}
        for index in path:
            current = pyramid(self._image(index))
            field = compose(flow(current, last), field)
            last = current
            if index in wanted:
                chain[index] = field
        return chain

    def _blend(self, index: int, fields: dict[int, np.ndarray]) -> np.ndarray:
        support = self._support
        image = self._image(index)
        weights = {}
        for row, field in fields.items():
            carried = warp(self._image(support.indices[row]), field)
            mismatch = smooth(np.abs(image - carried), 2.0)
            weights[row] = np.exp(-MISMATCH * mismatch) / abs(index - support.indices[row])
        total = sum(weights.values())
        result = np.zeros((len(support.labels) + 1, *support.masks.shape[1:]), dtype=np.float32)
        for row, field in fields.items():
            share = weights[row] / total
            mask = support.masks[row][self._window]
            for place, label in enumerate(support.labels, start=1):
                one_hot = (mask == label).astype(np.float32)
                if one_hot.any():
                    result[(place, *self._window)] += share * warp(one_hot, field)
        result[0] = np.maximum(0, 1 - result[1:].sum(axis=0))
        return result


def _window(masks: np.ndarray) -> tuple[slice, slice]:
    """Bounding box of all labels and a margin around it."""
    labelled = (masks != 0).any(axis=0)
    window = []
    for axis in (0, 1):
        hit = np.flatnonzero(labelled.any(axis=1 - axis))
        window.append(slice(max(0, int(hit[0]) - MARGIN), int(hit[-1]) + 1 + MARGIN))
    return window[0], window[1]
