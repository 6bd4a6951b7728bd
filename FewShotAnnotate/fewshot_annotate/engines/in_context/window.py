"""Window: the square part of a slice that a network of fixed input size looks at, and the way back to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

# A label thinner than a pixel of the network is kept where at least this share of its densest pixel is covered.
COVERED = 0.5


@dataclass(frozen=True)
class Window:
    """Rows and columns of a slice; parts may lie outside it.

    Attributes
    ----------
    rows, columns : (int, int)
        First pixel, and the one after the last.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]

    @classmethod
    def around(cls, centre: tuple[float, float], sides: tuple[float, float], spacing: tuple[float, float]) -> Window:
        """The window of `sides` mm around a pixel (row, column), with pixels of `spacing` mm."""
        spans = []
        for place, side, size in zip(centre, sides, spacing, strict=True):
            count = max(1, round(side / size))
            start = round(place + 0.5 - count / 2)
            spans.append((start, start + count))
        return cls(spans[0], spans[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns in pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def cut(self, slice_: np.ndarray, outside: float = 0) -> np.ndarray:
        """The window's part of `[h, w]`, `outside` where there is no pixel."""
        inner = self._inside(slice_.shape)
        result = np.full(self.shape, outside, dtype=slice_.dtype)
        result[self._of(inner)] = slice_[inner]
        return result

    def shrunk(self, slice_: np.ndarray, size: int) -> np.ndarray:
        """The window's part of an image `[h, w]` at `size` x `size` pixels, float32."""
        return resized(self.cut(slice_), (size, size))

    def shrunk_mask(self, mask: np.ndarray, size: int) -> np.ndarray:
        """The window's part of a bool mask `[h, w]` at `size` x `size` pixels, 0 and 1; what is there stays there."""
        share = resized(self.cut(mask), (size, size))
        most = float(share.max())
        return (share >= min(COVERED, COVERED * most) if most > 0 else share > 0).astype(np.float32)

    def put(self, values: np.ndarray, into: np.ndarray) -> None:
        """Write `[size, size]` values into the pixels of this part of `[h, w]`, interpolated."""
        inner = self._inside(into.shape)
        into[inner] = resized(values, self.shape)[self._of(inner)]

    def _inside(self, shape: Sequence[int]) -> tuple[slice, slice]:
        return (
            slice(max(0, self.rows[0]), max(0, min(shape[0], self.rows[1]))),
            slice(max(0, self.columns[0]), max(0, min(shape[1], self.columns[1]))),
        )

    def _of(self, inner: tuple[slice, slice]) -> tuple[slice, slice]:
        rows, columns = inner
        return (
            slice(rows.start - self.rows[0], rows.stop - self.rows[0]),
            slice(columns.start - self.columns[0], columns.stop - self.columns[0]),
        )


def resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Float32 `[h, w]` at another size: linear interpolation, smoothed first where it gets smaller."""
    if image.shape == tuple(shape):
        return image.astype(np.float32, copy=False)
    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    result = functional.interpolate(tensor, size=tuple(shape), mode="bilinear", antialias=True)
    array: np.ndarray = result[0, 0].numpy()
    return array


def bounds(masks: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First row and the one after the last, and so for columns, of all that is true in bool `[n, h, w]`."""
    rows, columns = np.flatnonzero(masks.any(axis=(0, 2))), np.flatnonzero(masks.any(axis=(0, 1)))
    if not len(rows):
        return None
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def tiles(spans: Sequence[tuple[float, float]], side: int, overlap: float) -> list[Window]:
    """Windows of `side` pixels square that cover rows and columns; neighbours share at least `overlap` of theirs."""
    starts = []
    for start, stop in spans:
        length = max(side, stop - start)
        count = 1 if length <= side else 1 + int(np.ceil((length - side) / (side * (1 - overlap))))
        first = (start + stop - length) / 2
        starts.append([round(first + part) for part in np.linspace(0, length - side, count)])
    return [Window((row, row + side), (column, column + side)) for row in starts[0] for column in starts[1]]


class Blend:
    """Overlapping windows joined: where they overlap, each counts the less the nearer its edge is.

    Parameters
    ----------
    shape : (int, int)
        Of the slice.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape, dtype=np.float32)
        self._weight = np.zeros(shape, dtype=np.float32)

    def add(self, window: Window, values: np.ndarray) -> None:
        """Take in the `[side, side]` values of a window."""
        ramp = np.minimum(np.arange(1, len(values) + 1), np.arange(len(values), 0, -1)).astype(np.float32)
        weight = np.minimum(ramp[:, None], ramp[None])
        for total, part in ((self._sum, values * weight), (self._weight, weight)):
            one = np.zeros_like(total)
            window.put(part, one)
            total += one

    def put(self, into: np.ndarray) -> None:
        """Write the joined values where any window is."""
        there = self._weight > 0
        into[there] = self._sum[there] / self._weight[there]
