"""Engine `propagate`: labels carried from slice to slice along dense optical flow, from both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from ..core.support import Support
from ..core.volume import Volume
from .base import Engine
from .flow import compose, flow, pyramid
from .keep import Gap
from .threads import threads
from .vote import Source, label_boxes, vote

# Pixels around the labels that take part in the flow.
MARGIN = 32
# numpy and scipy compute most of this outside the interpreter's lock, but memory grows with each thread.
THREADS = threads(2)
# Voxels looked at to find the range of intensities.
SAMPLE = 500_000

# Inertia of the flow times slices from one labelled slice to the next. Where these are near, labels hardly change and
# standing still is a good guess; where they are far, it is not.
INERTIA = 2.8e-3

# How much a slice counts where its neighbours are compared too, and each of these; flow takes their squares.
OWN_SHARE, NEIGHBOUR_SHARE = 0.5**0.5, 0.5
# Neighbours are not compared where slices are further apart than this many pixels: they show something else.
FURTHEST_NEIGHBOUR = 2.5
# Comparing neighbours is tried on a few pairs of labelled slices, with as many slices between them in all and thinned
# out to so many pixels a side that it takes a second or two. It must gain so much Dice there, and so often.
TRIED_PAIRS = 3
TRIED_SLICES = 24
TRIED_SIDE = 128
LEAST_GAIN = 0.012
LEAST_WINS = 0.6

Fields = dict[int, np.ndarray]


class Propagate(Engine):
    """Optical-flow propagation with a label vote.

    Flow between neighbouring slices is composed outward from each labelled slice, so labels are interpolated once.
    Between labelled slices both sides vote, outside them the nearest one. A label that a labelled slice does not know
    comes from the nearest slices that know it. A structure that both sides show is kept between them, see `keep`.
    Slices are compared with their neighbours where that carries labels better from one labelled slice to the next.

    Attributes
    ----------
    window : (slice, slice)
        Part of the slices that is looked at; known after `prepare`.
    context : int
        Neighbouring slices on each side that are compared too, 0 or 1; known after `prepare`.
    """

    name = "propagate"
    title = "Propagate"
    summary = "Carries labels from slice to slice along optical flow. No download, no GPU."
    licence = "Apache-2.0 (built in)"

    def prepare(
        self,
        volume: Volume,
        support: Support,
        window: tuple[slice, slice] | None = None,
        context: int | None = None,
    ) -> None:
        """Keep views; find the range of intensities and, unless given, the window that matters and the context."""
        self._support = support
        self._geometry = volume.geometry
        self._slices = support.axis.slices(volume.array)
        self._low, self._high = _intensity_range(self._slices)
        self.window = window or _window(support.masks)
        self._masks = support.masks[(slice(None), *self.window)]
        self._boxes = [label_boxes(mask) for mask in self._masks]
        self._hops: dict[tuple[int, int], np.ndarray] = {}
        self.context = self._best_context(volume) if context is None else context

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Gap by gap between labelled slices; a labelled slice that is asked for comes back as it is."""
        support = self._support
        asked = set(slice_indices)
        for row in range(len(support.indices)):
            if support.indices[row] in asked:
                yield support.indices[row], self._painted(row)
        bounds = [-1, *support.indices, len(self._slices)]
        with ThreadPoolExecutor(THREADS) as pool:
            for gap, (before, after) in enumerate(pairwise(bounds)):
                wanted = sorted(asked.intersection(range(before + 1, after)))
                if wanted:
                    yield from self._fill_gap(gap - 1, wanted, INERTIA / (after - before), pool)

    def _painted(self, row: int) -> np.ndarray:
        values = np.array([0, *self._support.labels])[:, None, None]
        return (self._support.masks[row] == values).astype(np.float32)

    def _fill_gap(
        self, left: int, wanted: list[int], inertia: float, pool: ThreadPoolExecutor
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Fill slices between labelled slices number `left` and `left` + 1, of which one may not exist."""
        sides = [row for row in (left, left + 1) if 0 <= row < len(self._support.indices)]
        fields = dict(zip(sides, pool.map(lambda row: self._chain(row, wanted, inertia), sides), strict=True))
        teams = self._teams(left)
        for row in {row for team in teams for row in team}:
            if row not in fields:
                nearest = min(sides, key=lambda side: abs(side - row))
                hop = self._hop(nearest, row)
                fields[row] = {index: compose(field, hop) for index, field in fields[nearest].items()}
        around = [self._gap(team, places) for team, places in teams.items() if len(team) == 2]
        for first in range(0, len(wanted), THREADS):
            batch = wanted[first : first + THREADS]
            jobs = [pool.submit(self._fill_slice, index, fields, teams) for index in batch]
            for index, job in zip(batch, jobs, strict=True):
                probabilities = job.result()
                for gap in around:
                    gap.keep(index, probabilities[(slice(None), *self.window)])
                yield index, probabilities

    def _gap(self, team: tuple[int, ...], places: list[int]) -> Gap:
        """The structures of some labels, by their places, on two labelled slices, by number."""
        before, after = team
        support = self._support
        return Gap(
            (support.indices[before], support.indices[after]),
            (self._masks[before], self._masks[after]),
            {support.labels[place]: place + 1 for place in places},
            support.axis,
            self._geometry,
        )

    def _teams(self, left: int) -> dict[tuple[int, ...], list[int]]:
        """Which labelled slices (by number) speak in a gap, and the places of the labels they speak about."""
        teams: dict[tuple[int, ...], list[int]] = {}
        for place in range(len(self._support.labels)):
            knowing = np.flatnonzero(self._support.known[:, place])
            before, after = knowing[knowing <= left], knowing[knowing > left]
            team = tuple(int(row) for row in (*before[-1:], *after[:1]))
            if team:
                teams.setdefault(team, []).append(place)
        return teams

    def _fill_slice(
        self, index: int, fields: dict[int, Fields], teams: dict[tuple[int, ...], list[int]]
    ) -> np.ndarray:
        support = self._support
        image = self._view(index)
        sources = {
            row: Source(
                self._view(support.indices[row]),
                self._masks[row],
                self._boxes[row],
                chain[index],
                abs(index - support.indices[row]),
            )
            for row, chain in fields.items()
        }
        result = np.zeros((len(support.labels) + 1, *support.masks.shape[1:]), dtype=np.float32)
        for team, places in teams.items():
            labels = [support.labels[place] for place in places]
            result[([place + 1 for place in places], *self.window)] = vote(
                image, [sources[row] for row in team], labels
            )
        total = result[1:].sum(axis=0)
        np.subtract(1, total, out=result[0])
        np.maximum(result[0], 0, out=result[0])
        # Labels that different slices speak about may claim more than all of a pixel.
        result /= np.maximum(total, 1)
        return result

    def image(self, index: int) -> np.ndarray:
        """One slice in the window, float32 `[h, w]`, intensities from 0 to 1."""
        image = self._slices[index][self.window].astype(np.float32)
        image -= np.float32(self._low)
        image /= np.float32(self._high - self._low)
        return np.clip(image, 0, 1, out=image)

    def _view(self, index: int, context: int | None = None) -> np.ndarray:
        """What is compared of a slice: it, and its neighbours if they are, float32 `[channels, h, w]`."""
        if not (self.context if context is None else context):
            return self.image(index)[None]
        around = [self.image(int(np.clip(index + step, 0, len(self._slices) - 1))) for step in (0, -1, 1)]
        view = np.stack(around)
        view *= np.array([OWN_SHARE, NEIGHBOUR_SHARE, NEIGHBOUR_SHARE], dtype=np.float32)[:, None, None]
        return view

    def _best_context(self, volume: Volume) -> int:
        """Whether comparing neighbours too carries labels better between labelled slices next to each other."""
        support = self._support
        apart, *pixel = support.axis.spacing(volume.geometry)
        told = support.known & np.array([[label in boxes for label in support.labels] for boxes in self._boxes])
        pairs = [row for row in range(len(support.indices) - 1) if (told[row] & told[row + 1]).any()]
        if not pairs or apart > FURTHEST_NEIGHBOUR * min(pixel):
            return 0
        gap = float(np.median(np.diff(support.indices)))
        count = int(np.clip(TRIED_SLICES // gap, 1, TRIED_PAIRS))
        rows = sorted({pairs[round(place)] for place in np.linspace(0, len(pairs) - 1, count)})
        ways = [way for row in rows for way in ((row, row + 1), (row + 1, row))]
        stride = -(-max(self._masks.shape[1:]) // TRIED_SIDE)
        shared = told[:-1] & told[1:]

        def tried(context: int) -> np.ndarray:
            found = pool.map(lambda way: self._tried(way[0], way[1], shared[min(way)], context, stride), ways)
            return np.concatenate(list(found))

        with ThreadPoolExecutor(THREADS) as pool:
            gains = tried(1) - tried(0)
        return int(gains.mean() > LEAST_GAIN and (gains > 0).mean() > LEAST_WINS)

    def _tried(self, start: int, end: int, shared: np.ndarray, context: int, stride: int) -> np.ndarray:
        """Dice of each label `shared` by two labelled slices, by number, carried from one to the other."""
        support = self._support
        thin = (slice(None), slice(None, None, stride), slice(None, None, stride))

        def view(index: int) -> np.ndarray:
            return self._view(index, context)[thin]

        here, there = support.indices[start], support.indices[end]
        mask, truth = self._masks[start][thin[1:]], self._masks[end][thin[1:]]
        field = self._chain(start, [there], INERTIA / abs(there - here), view)[there]
        source = Source(view(here), mask, label_boxes(mask), field, abs(there - here))
        places = np.flatnonzero(shared)
        carried = vote(view(there), [source], [support.labels[place] for place in places])
        best = np.where(carried.sum(axis=0) > 0.5, carried.argmax(axis=0), -1)
        dice = []
        for number, place in enumerate(places):
            own, true = best == number, truth == support.labels[place]
            dice.append(2 * float((own & true).sum()) / max(1.0, float(own.sum() + true.sum())))
        return np.array(dice)

    def _chain(
        self, row: int, wanted: Sequence[int], inertia: float, view: Callable[[int], np.ndarray] | None = None
    ) -> Fields:
        """Fields from each wanted slice to labelled slice number `row`, composed outward."""
        view = view or self._view
        start = self._support.indices[row]
        path = range(start + 1, wanted[-1] + 1) if start < wanted[0] else range(start - 1, wanted[0] - 1, -1)
        last = pyramid(view(start))
        field = np.zeros((2, *last[0].shape[1:]), dtype=np.float32)
        fields = {}
        for index in path:
            current = pyramid(view(index))
            field = compose(flow(current, last, inertia), field)
            last = current
            if index in wanted:
                fields[index] = field
        return fields

    def _hop(self, start: int, end: int) -> np.ndarray:
        """Field from one labelled slice to another, both by number, over those between."""
        step = 1 if end > start else -1
        field = None
        for row in range(start, end, step):
            if (row, row + step) not in self._hops:
                here = self._support.indices[row]
                inertia = INERTIA / abs(self._support.indices[row + step] - here)
                self._hops[row, row + step] = self._chain(row + step, [here], inertia)[here]
            hop = self._hops[row, row + step]
            field = hop if field is None else compose(field, hop)
        assert field is not None
        return field


def _intensity_range(slices: np.ndarray) -> tuple[float, float]:
    """Intensities that become 0 and 1: nearly all voxels lie between them, so stray ones do not flatten the rest."""
    stride = max(1, round((slices.size / SAMPLE) ** (1 / 3)))
    low, high = (float(value) for value in np.percentile(slices[::stride, ::stride, ::stride], [0.5, 99.5]))
    if low == high:
        low, high = float(slices.min()), float(slices.max())
    return (low, high) if low < high else (low, low + 1)


def _window(masks: np.ndarray) -> tuple[slice, slice]:
    """Bounding box of all labels and a margin around it."""
    labelled = (masks != 0).any(axis=0)
    rows, columns = (np.flatnonzero(labelled.any(axis=1 - axis)) for axis in (0, 1))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return (
        slice(max(0, int(rows[0]) - MARGIN), int(rows[-1]) + 1 + MARGIN),
        slice(max(0, int(columns[0]) - MARGIN), int(columns[-1]) + 1 + MARGIN),
    )
