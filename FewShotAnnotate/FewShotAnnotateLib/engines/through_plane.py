"""Through-plane consistency: what is predicted of a slice hears what is predicted of the slices next to it.

Each slice is fused by itself, so outlines may jump from slice to slice where the images do not. Log-odds carried from
the neighbours along optical flow even that out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

from .flow import enlarge, flow, pyramid, warp

# Weight of each neighbour beside the slice itself.
SHARE = 0.25
# How sure a labelled slice is of what the next slice shows, as part of what that slice is surest of: more makes it a
# copy.
CERTAIN = 0.25
# As in `propagate`, for labelled slices some eight slices apart.
INERTIA = 3.5e-4

Logits = tuple[int, np.ndarray]


def consistent(
    fused: Iterable[Logits],
    image: Callable[[int], np.ndarray],
    mask: Callable[[int], np.ndarray],
    labelled: Collection[int],
) -> Iterator[Logits]:
    """Even out predictions along the stack.

    Parameters
    ----------
    fused : iterable of (int, float32 ndarray of shape [L + 1, h, w])
        Slice and its unnormalised log-probabilities, background 0; slices ascending.
    image : function
        Gives a slice in the same window: float32 `[h, w]`, 0..1.
    mask : function
        Gives the row of each pixel's label, integer `[h, w]`, on a labelled slice.
    labelled : collection of int

    Yields
    ------
    int, float32 ndarray, shape [L + 1, h, w]
        The same slices in the same order. A neighbour that is neither labelled nor among them has no say.
    """

    def certain(index: int, like: np.ndarray) -> np.ndarray | None:
        if index not in labelled:
            return None
        return known_logits(mask(index), len(like), CERTAIN * max(float(np.abs(like[1:]).max(initial=0)), 1.0))

    images = _Pyramids(image)
    before: Logits | None = None
    current: Logits | None = None
    for following in fused:
        if current is not None:
            yield current[0], _evened(current, (before, following), images, certain)
        before, current = current, following
    if current is not None:
        yield current[0], _evened(current, (before, None), images, certain)


class _Pyramids:
    """Halved slices, of which the last few are kept: flow between neighbours needs no more."""

    def __init__(self, image: Callable[[int], np.ndarray]) -> None:
        self._image = image
        self._kept: dict[int, list[np.ndarray]] = {}

    def field(self, index: int, other: int) -> np.ndarray:
        """Flow from a slice to its neighbour at full resolution, found at half of it."""
        levels = []
        for wanted in (index, other):
            if wanted not in self._kept:
                self._kept[wanted] = pyramid(self._image(wanted)[None])
                self._kept = {key: value for key, value in self._kept.items() if abs(key - index) <= 1}
            levels.append(self._kept[wanted])
        reference, moving = (level[1:] or level for level in levels)
        return enlarge(flow(reference, moving, INERTIA), levels[0][0].shape[1:])


def _evened(
    current: Logits,
    around: tuple[Logits | None, Logits | None],
    images: _Pyramids,
    certain: Callable[[int, np.ndarray], np.ndarray | None],
) -> np.ndarray:
    index, own = current
    result, weight = own.copy(), 1.0
    for side, known in zip((index - 1, index + 1), around, strict=True):
        logits = known[1] if known is not None and known[0] == side else certain(side, own)
        if logits is not None:
            field = images.field(index, side)
            for row in range(1, len(result)):
                result[row] += SHARE * warp(logits[row], field)
            weight += SHARE
    result /= weight
    return result


def known_logits(rows: np.ndarray, count: int, surest: float) -> np.ndarray:
    """Logits of a labelled slice.

    Parameters
    ----------
    rows : integer ndarray, shape [h, w]
        Row of each pixel's label, 0 for background.
    count : int
        Rows of all labels and background.
    surest : float
        Log-odds of what is there, and against what is not.

    Returns
    -------
    float32 ndarray, shape [count, h, w]
    """
    logits = np.full((count, *rows.shape), -surest, dtype=np.float32)
    logits[0] = 0
    for row in np.unique(rows[rows > 0]):
        logits[row][rows == row] = surest
    return logits
