"""Labels propagated from the neighbouring labelled slices by dense optical flow."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...core.gaps import SliceGap
from ...core.support import Support
from ...core.volume import Volume
from ..channels import ChannelSlices
from ..threads import max_threads
from .flow_cache import FlowCache
from .label_vote import Source, label_boxes, vote
from .optical_flow import compose, flow, pyramid
from .structure_keeping import Gap

# Margin in pixels around the labels, included in the computation of the flow.
MARGIN_PIXELS = 32
# numpy and scipy release the interpreter lock in most of this; memory grows with each thread.
THREADS = max_threads(2)

# Regularisation of the flow times the number of slices between labelled slices: the nearer they are, the less the
# labels move, and the more the flow is drawn towards zero.
FLOW_REGULARISATION = 2.8e-3

# Weights of a slice and of each adjacent slice where three slices are compared; the flow uses their squares.
OWN_WEIGHT, NEIGHBOUR_WEIGHT = 0.5**0.5, 0.5
# Adjacent slices are not compared if the slice spacing is more than this many pixels, because they show other
# anatomy.
MAX_SLICE_DISTANCE_PIXELS = 2.5
# Comparing adjacent slices is tried on a few pairs of labelled slices, limited in the total number of slices between
# them and subsampled to a maximum side length, to take a second or two. It is used if the mean gain in Dice and the
# fraction of labels that gain exceed the thresholds.
TRIAL_PAIRS = 3
TRIAL_SLICES = 24
TRIAL_SIDE_PIXELS = 128
MIN_GAIN = 0.012
MIN_WIN_RATE = 0.6
# All channels are compared unless one alone has a mean Dice higher by this on the same pairs. With the thresholds of
# adjacent slices instead, a coarse and noisy repeat of the brain costs 0.03 of Dice: `channels.py --engines propagate
# --case mr_brain_t1_freesurfer --coarser 2`.
MIN_CHANNEL_GAIN = 0.002

Fields = dict[int, np.ndarray]


@dataclass(frozen=True)
class ComparedImages:
    """The images that are compared of two slices.

    Attributes
    ----------
    weights : tuple of float
        Weight of each channel of the volume; the sum of the squares is 1. Those of weight 0 are not compared.
    adjacent : int
        Number of adjacent slices on each side that are compared too, 0 or 1.
    """

    weights: tuple[float, ...] = (1.0,)
    adjacent: int = 0

    @classmethod
    def equally(cls, channels: Sequence[int], count: int) -> ComparedImages:
        """Some of the `count` channels of a volume, with equal weights."""
        return cls(tuple(float(len(channels) ** -0.5) if one in channels else 0.0 for one in range(count)))

    @property
    def channels(self) -> list[int]:
        """The channels that are compared, by number; 0 is the volume itself."""
        return [channel for channel, weight in enumerate(self.weights) if weight]


def _as_it_is(index: int, probabilities: np.ndarray) -> None:
    """Change nothing."""


class FlowPropagation:
    """Optical-flow propagation with a label vote.

    Flow between adjacent slices is composed outward from each labelled slice, so labels are interpolated only once.
    Between labelled slices both neighbours vote, outside of them the nearest one. A label that was not annotated on a
    labelled slice comes from the nearest slices on which it was. Structures shown by both neighbours are kept on the
    slices between them, see `structure_keeping`. Adjacent slices are compared too if that makes propagation between
    labelled slices more accurate.

    Parameters
    ----------
    volume : Volume
    support : Support
    window : (slice, slice), optional
        Crop of the slices that is worked on; default: the bounding box of all labels, with a margin.
    compared : ComparedImages, optional
        The channels that are compared, and whether adjacent slices are too; default: what is best between the
        labelled slices.
    raise_unmatched : bool
        Whether the confidence is to fall where a small structure that one labelled slice alone shows is lost, see
        `Gap.raise_unmatched`. No label depends on it.
    flows : FlowCache, optional
        Keeps the composed flow for other labels on the same volume, see `with_support`.

    Attributes
    ----------
    support : Support
    window : (slice, slice)
    compared : ComparedImages
    """

    def __init__(
        self,
        volume: Volume,
        support: Support,
        window: tuple[slice, slice] | None = None,
        compared: ComparedImages | None = None,
        raise_unmatched: bool = True,
        flows: FlowCache | None = None,
    ) -> None:
        self.support = support
        self._flows = flows or FlowCache()
        self._raise_unmatched = raise_unmatched
        self._geometry = volume.geometry
        self._slices = ChannelSlices(volume, support.axis)
        self.window = window or _window(support.masks)
        self._masks = support.masks[(slice(None), *self.window)]
        self._boxes = [label_boxes(mask) for mask in self._masks]
        self._fields_between: dict[tuple[int, int], np.ndarray] = {}
        self._last_gap: tuple[tuple[tuple[int, int], tuple[int, ...]], Gap] | None = None
        self.compared = compared or self._best_compared(volume)

    def subset(self, support_indices: Sequence[int]) -> FlowPropagation:
        """Propagation from some of the labelled slices only, in the same window."""
        chosen = list(support_indices)
        same = copy.copy(self)
        same.support = self.support.subset(chosen)
        same._masks, same._boxes = self._masks[chosen], [self._boxes[one] for one in chosen]
        same._fields_between, same._last_gap = {}, None
        return same

    def with_support(self, support: Support) -> FlowPropagation:
        """Propagation from other labelled slices of the same volume and axis, in the same window."""
        same = copy.copy(self)
        same.support = support
        same._masks = support.masks[(slice(None), *self.window)]
        same._boxes = [label_boxes(mask) for mask in same._masks]
        same._fields_between, same._last_gap = {}, None
        return same

    def predict(
        self,
        slice_indices: Sequence[int],
        fuse: Callable[[int, np.ndarray], None] = _as_it_is,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield labelled slices unchanged, then query slices gap by gap, as engines do.

        `fuse` is called with each query slice and its probabilities in the window, float32 `[labels + 1, h, w]`, and
        may change them in place, before structures are kept.
        """
        support = self.support
        asked = set(slice_indices)
        for support_index in range(len(support.indices)):
            if support.indices[support_index] in asked:
                yield support.indices[support_index], self._one_hot(support_index)
        with ThreadPoolExecutor(THREADS) as pool:
            for gap in support.gaps(asked):
                before = -1 if gap.before is None else support.indices[gap.before]
                after = len(self._slices) if gap.after is None else support.indices[gap.after]
                yield from self._fill_gap(gap, FLOW_REGULARISATION / (after - before), pool, fuse)

    def _one_hot(self, support_index: int) -> np.ndarray:
        values = np.array([0, *self.support.labels])[:, None, None]
        one_hot: np.ndarray = (self.support.masks[support_index] == values).astype(np.float32)
        return one_hot

    def _fill_gap(
        self,
        query_gap: SliceGap,
        regularisation: float,
        pool: ThreadPoolExecutor,
        fuse: Callable[[int, np.ndarray], None],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Fill the slices of a gap."""
        sides, query = query_gap.sides, query_gap.slices
        fields = dict(
            zip(
                sides,
                pool.map(lambda support_index: self._composed_fields(support_index, query, regularisation), sides),
                strict=True,
            )
        )
        labels_by_neighbours = self._labels_by_neighbours(query[0])
        for support_index in {support_index for neighbours in labels_by_neighbours for support_index in neighbours}:
            if support_index not in fields:
                nearest = min(sides, key=lambda side: abs(side - support_index))
                field_between = self._field_between(nearest, support_index)
                fields[support_index] = {
                    index: compose(field, field_between) for index, field in fields[nearest].items()
                }
        around = [
            self.gap((neighbours[0], neighbours[1]), label_indices)
            for neighbours, label_indices in labels_by_neighbours.items()
            if len(neighbours) == 2
        ]
        for first in range(0, len(query), THREADS):
            batch = query[first : first + THREADS]
            jobs = [pool.submit(self._fill_slice, index, fields, labels_by_neighbours) for index in batch]
            for index, job in zip(batch, jobs, strict=True):
                probabilities = job.result()
                part = probabilities[(slice(None), *self.window)]
                fuse(index, part)
                for gap in around:
                    gap.keep(index, part)
                    if self._raise_unmatched:
                        gap.raise_unmatched(index, part)
                yield index, probabilities

    def gap(self, neighbours: tuple[int, int], label_indices: Sequence[int]) -> Gap:
        """Structures of some labels, by position in `support.labels`, on two labelled slices, by support index."""
        key = neighbours, tuple(label_indices)
        last = self._last_gap
        if last is None or last[0] != key:
            before, after = neighbours
            support = self.support
            found = Gap(
                (support.indices[before], support.indices[after]),
                (self._masks[before], self._masks[after]),
                {support.labels[label_index]: label_index + 1 for label_index in label_indices},
                support.axis,
                self._geometry,
                (self.images(support.indices[before]), self.images(support.indices[after])),
            )
            self._last_gap = last = key, found
        return last[1]

    def _labels_by_neighbours(self, index: int) -> dict[tuple[int, ...], list[int]]:
        """Labels (positions in `support.labels`) by the support indices of the slices they come from on a slice."""
        labels_by_neighbours: dict[tuple[int, ...], list[int]] = {}
        for label_index in range(len(self.support.labels)):
            neighbours = self.support.annotated_around(index, label_index)
            if neighbours:
                labels_by_neighbours.setdefault(neighbours, []).append(label_index)
        return labels_by_neighbours

    def _fill_slice(
        self, index: int, fields: dict[int, Fields], labels_by_neighbours: dict[tuple[int, ...], list[int]]
    ) -> np.ndarray:
        support = self.support
        image = self._weighted(index)
        sources = {
            support_index: Source(
                self._weighted(support.indices[support_index]),
                self._masks[support_index],
                self._boxes[support_index],
                chain[index],
                abs(index - support.indices[support_index]),
            )
            for support_index, chain in fields.items()
        }
        result = np.zeros((len(support.labels) + 1, *support.masks.shape[1:]), dtype=np.float32)
        for neighbours, label_indices in labels_by_neighbours.items():
            labels = [support.labels[label_index] for label_index in label_indices]
            result[([label_index + 1 for label_index in label_indices], *self.window)] = vote(
                image, [sources[support_index] for support_index in neighbours], labels
            )
        total = result[1:].sum(axis=0)
        np.subtract(1, total, out=result[0])
        np.maximum(result[0], 0, out=result[0])
        # Probabilities of labels from different labelled slices may sum to more than 1.
        result /= np.maximum(total, 1)
        return result

    def images(self, index: int, channels: Sequence[int] | None = None) -> np.ndarray:
        """One slice in the window, float32 `[channels, h, w]`, intensities from 0 to 1; default: those compared."""
        chosen = self.compared.channels if channels is None else channels
        return np.stack([self._slices.image(channel, index, self.window) for channel in chosen])

    def _weighted(self, index: int, compared: ComparedImages | None = None) -> np.ndarray:
        """What is compared of a slice, float32 `[images, h, w]`: channels and, if compared too, adjacent slices."""
        compared = compared or self.compared
        adjacent = [(0, OWN_WEIGHT), (-1, NEIGHBOUR_WEIGHT), (1, NEIGHBOUR_WEIGHT)] if compared.adjacent else [(0, 1)]
        found = []
        for channel in compared.channels:
            for step, weight in adjacent:
                near = int(np.clip(index + step, 0, len(self._slices) - 1))
                found.append(self._slices.image(channel, near, self.window))
                found[-1] *= np.float32(weight * compared.weights[channel])
        return np.stack(found)

    def _best_compared(self, volume: Volume) -> ComparedImages:
        """The images whose comparison is best for propagation between consecutive labelled slices.

        All channels count alike, unless one alone is better.
        """
        count = self._slices.channels
        best = ComparedImages.equally(range(count), count)
        support = self.support
        shown = support.annotated & np.array([[label in boxes for label in support.labels] for boxes in self._boxes])
        pairs = [
            support_index
            for support_index in range(len(support.indices) - 1)
            if (shown[support_index] & shown[support_index + 1]).any()
        ]
        if not pairs:
            return best
        apart, *pixel = support.axis.spacing(volume.geometry)
        others = [ComparedImages.equally([channel], count) for channel in range(count) if count > 1]
        near = apart <= MAX_SLICE_DISTANCE_PIXELS * min(pixel)
        if not others and not near:
            return best
        gap = float(np.median(np.diff(support.indices)))
        trials = int(np.clip(TRIAL_SLICES // gap, 1, TRIAL_PAIRS))
        rows = sorted({pairs[round(label_index)] for label_index in np.linspace(0, len(pairs) - 1, trials)})
        transfers = [
            transfer
            for support_index in rows
            for transfer in ((support_index, support_index + 1), (support_index + 1, support_index))
        ]
        stride = -(-max(self._masks.shape[1:]) // TRIAL_SIDE_PIXELS)
        shared = shown[:-1] & shown[1:]

        def dice_with(compared: ComparedImages) -> np.ndarray:
            found = pool.map(
                lambda transfer: self._transfer_dice(
                    transfer[0], transfer[1], shared[min(transfer)], compared, stride
                ),
                transfers,
            )
            return np.concatenate(list(found))

        with ThreadPoolExecutor(THREADS) as pool:
            best_dice = dice_with(best)
            for compared in others:
                dice = dice_with(compared)
                if dice.mean() > best_dice.mean() + MIN_CHANNEL_GAIN:
                    best, best_dice = compared, dice
            with_adjacent = replace(best, adjacent=1)
            return with_adjacent if near and _is_better(dice_with(with_adjacent), best_dice) else best

    def _transfer_dice(
        self, start: int, end: int, shared: np.ndarray, compared: ComparedImages, stride: int
    ) -> np.ndarray:
        """Dice of each label on two labelled slices, by support index, propagated from one to the other."""
        support = self.support
        thinned = (slice(None), slice(None, None, stride), slice(None, None, stride))

        def channels(index: int) -> np.ndarray:
            return self._weighted(index, compared)[thinned]

        here, there = support.indices[start], support.indices[end]
        mask, truth = self._masks[start][thinned[1:]], self._masks[end][thinned[1:]]
        field = self._composed_fields(start, [there], FLOW_REGULARISATION / abs(there - here), channels)[there]
        source = Source(channels(here), mask, label_boxes(mask), field, abs(there - here))
        label_indices = np.flatnonzero(shared)
        carried = vote(channels(there), [source], [support.labels[label_index] for label_index in label_indices])
        best = np.where(carried.sum(axis=0) > 0.5, carried.argmax(axis=0), -1)
        dice = []
        for number, label_index in enumerate(label_indices):
            own, true = best == number, truth == support.labels[label_index]
            dice.append(2 * float((own & true).sum()) / max(1.0, float(own.sum() + true.sum())))
        return np.array(dice)

    def _composed_fields(
        self,
        support_index: int,
        query: Sequence[int],
        regularisation: float,
        channels: Callable[[int], np.ndarray] | None = None,
    ) -> Fields:
        """Field from each query slice to a labelled slice, by support index, composed outward from that slice."""
        flows = FlowCache() if channels else self._flows
        levels = _Pyramids(channels or self._weighted)
        start = self.support.indices[support_index]
        path = range(start + 1, query[-1] + 1) if start < query[0] else range(start - 1, query[0] - 1, -1)
        field, fields = np.zeros(0, dtype=np.float32), {}
        for index in path:
            extend = partial(levels.extend, field, index, index - path.step, regularisation)
            field = flows.get((start, index, regularisation), extend)
            if index in query:
                fields[index] = field
        return fields

    def _field_between(self, start: int, end: int) -> np.ndarray:
        """Field between two labelled slices, by support index, composed over those between them."""
        step = 1 if end > start else -1
        field = None
        for support_index in range(start, end, step):
            if (support_index, support_index + step) not in self._fields_between:
                here = self.support.indices[support_index]
                regularisation = FLOW_REGULARISATION / abs(self.support.indices[support_index + step] - here)
                self._fields_between[support_index, support_index + step] = self._composed_fields(
                    support_index + step, [here], regularisation
                )[here]
            field_between = self._fields_between[support_index, support_index + step]
            field = field_between if field is None else compose(field, field_between)
        assert field is not None
        return field


class _Pyramids:
    """Flow along one path, for which the pyramid of each slice is made once."""

    def __init__(self, channels: Callable[[int], np.ndarray]) -> None:
        self._channels = channels
        self._levels: dict[int, list[np.ndarray]] = {}

    def extend(self, field: np.ndarray, index: int, previous: int, regularisation: float) -> np.ndarray:
        """Field from a slice to the start of the path, given that of the slice before it; none at the start."""
        self._levels = {one: self._levels.get(one) or pyramid(self._channels(one)) for one in (previous, index)}
        between = flow(self._levels[index], self._levels[previous], regularisation)
        return compose(between, field) if field.size else between


def _is_better(dice: np.ndarray, other: np.ndarray) -> bool:
    """Whether Dice of labels is clearly higher than another one."""
    gains = dice - other
    return bool(gains.mean() > MIN_GAIN and (gains > 0).mean() > MIN_WIN_RATE)


def _window(masks: np.ndarray) -> tuple[slice, slice]:
    """Bounding box of all labels, with a margin."""
    labelled = (masks != 0).any(axis=0)
    rows, columns = (np.flatnonzero(labelled.any(axis=1 - axis)) for axis in (0, 1))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return (
        slice(max(0, int(rows[0]) - MARGIN_PIXELS), int(rows[-1]) + 1 + MARGIN_PIXELS),
        slice(max(0, int(columns[0]) - MARGIN_PIXELS), int(columns[-1]) + 1 + MARGIN_PIXELS),
    )
