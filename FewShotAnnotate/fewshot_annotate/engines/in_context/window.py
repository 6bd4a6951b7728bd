"""Window: square region of a slice that is resampled to a network's fixed input size, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ...core.bounding_box import bounding_box

# A label thinner than a pixel of the network is kept where its coverage is at least this fraction of its maximum.
MIN_COVERAGE = 0.5


@dataclass(frozen=True)
class Window:
    """Range of rows and of columns of a slice; a window may extend beyond the slice.

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
        for position, side, size in zip(centre, sides, spacing, strict=True):
            count = max(1, round(side / size))
            start = round(position + 0.5 - count / 2)
            spans.append((start, start + count))
        return cls(spans[0], spans[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns in pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def crop(self, slice_: np.ndarray, outside: float = 0) -> np.ndarray:
        """Crop a slice `[h, w]` to the window, padded with `outside`."""
        inner = self._inside(slice_.shape)
        result = np.full(self.shape, outside, dtype=slice_.dtype)
        result[self._in_window(inner)] = slice_[inner]
        return result

    def resample(self, slice_: np.ndarray, size: int) -> np.ndarray:
        """Crop an image `[h, w]` and resample it to `size` x `size` pixels, float32."""
        return resized(self.crop(slice_), (size, size))

    def resample_mask(self, mask: np.ndarray, size: int) -> np.ndarray:
        """Crop a bool mask `[h, w]` and resample it to `size` x `size` pixels, 0 and 1; thin labels do not vanish."""
        coverage = resized(self.crop(mask), (size, size))
        maximum = float(coverage.max())
        return (coverage >= min(MIN_COVERAGE, MIN_COVERAGE * maximum) if maximum > 0 else coverage > 0).astype(
            np.float32
        )

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """Resample `[size, size]` values to the window and write them into a slice `[h, w]`."""
        inner = self._inside(out.shape)
        out[inner] = resized(values, self.shape)[self._in_window(inner)]

    def _inside(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """The part of a slice that the window covers."""
        return (
            slice(max(0, self.rows[0]), max(0, min(shape[0], self.rows[1]))),
            slice(max(0, self.columns[0]), max(0, min(shape[1], self.columns[1]))),
        )

    def _in_window(self, inner: tuple[slice, slice]) -> tuple[slice, slice]:
        """A part of a slice in coordinates of the window."""
        rows, columns = inner
        return (
            slice(rows.start - self.rows[0], rows.stop - self.rows[0]),
            slice(columns.start - self.columns[0], columns.stop - self.columns[0]),
        )


def resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample an image `[h, w]` linearly, with antialiasing where it gets smaller; float32."""
    if image.shape == tuple(shape):
        return image.astype(np.float32, copy=False)
    tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    result = functional.interpolate(tensor, size=tuple(shape), mode="bilinear", antialias=True)
    array: np.ndarray = result[0, 0].numpy()
    return array


def bounds(masks: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Bounding box of masks, bool `[n, h, w]`: (start, stop) of rows and of columns; None if they are empty."""
    box = bounding_box(np.asarray(masks.any(axis=0)))
    if box is None:
        return None
    rows, columns = box
    return (rows.start, rows.stop), (columns.start, columns.stop)


def tiles(spans: Sequence[tuple[float, float]], side: int, overlap: float) -> list[Window]:
    """Square windows of `side` pixels that cover spans of rows and columns, overlapping by at least `overlap`."""
    starts = []
    for start, stop in spans:
        length = max(side, stop - start)
        count = 1 if length <= side else 1 + int(np.ceil((length - side) / (side * (1 - overlap))))
        first = (start + stop - length) / 2
        starts.append([round(first + offset) for offset in np.linspace(0, length - side, count)])
    return [Window((row, row + side), (column, column + side)) for row in starts[0] for column in starts[1]]


class Blend:
    """Weighted mean of overlapping windows, with weights that decrease towards the edges.

    Parameters
    ----------
    shape : (int, int)
        Shape of the slice.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sum = np.zeros(shape, dtype=np.float32)
        self._weight = np.zeros(shape, dtype=np.float32)

    def add(self, window: Window, values: np.ndarray) -> None:
        """Add the values `[side, side]` of a window."""
        ramp = np.minimum(np.arange(1, len(values) + 1), np.arange(len(values), 0, -1)).astype(np.float32)
        weight = np.minimum(ramp[:, None], ramp[None])
        for total, values_here in ((self._sum, values * weight), (self._weight, weight)):
            added = np.zeros_like(total)
            window.write(values_here, added)
            total += added

    def write(self, out: np.ndarray) -> None:
        """Write the mean into the part of a slice `[h, w]` that windows cover."""
        covered = self._weight > 0
        out[covered] = self._sum[covered] / self._weight[covered]
