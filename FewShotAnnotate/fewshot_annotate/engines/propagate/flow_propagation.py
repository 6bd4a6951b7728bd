"""Labels propagated from the neighbouring labelled slices by dense optical flow."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...core import gaps
from ...core.bounding_box import bounding_box
from ...core.support import Support
from ...core.volume import Volume
from ..channels import ChannelSlices
from ..threads import ENGINE_THREADS, map_few
from .compared_images import ComparedImages
from .composed_flow import FLOW_REGULARISATION, Fields, FlowCache, composed_fields
from .expected_time import PropagationTime
from .image_choice import choose_images
from .label_vote import Source, label_boxes, vote
from .optical_flow import compose
from .structure_keeping import Gap

# Margin in pixels around the labels, included in the computation of the flow. `ablation.py --parts
# propagate.flow_propagation` compares it with 16 and 64.
MARGIN_PIXELS = 32


class FlowPropagation:
    """Optical-flow propagation with a label vote.

    Flow between adjacent slices is composed outward from each labelled slice, so labels are interpolated only once.
    Between labelled slices both neighbours vote, outside of them the nearest one. A label that was not annotated on a
    labelled slice comes from the nearest slices on which it was; where labels from different slices claim a pixel,
    they are weighted by inverse distance. Structures shown by both neighbours are kept on the slices between them,
    see `structure_keeping`. Adjacent slices are compared too if that makes propagation between labelled slices more
    accurate.

    Parameters
    ----------
    volume : Volume
    support : Support
    window : (slice, slice), optional
        Crop of the slices to work on; default: the bounding box of all labels, with a margin.
    compared : ComparedImages, optional
        Default: the images that are best for propagation between the labelled slices.
    strengthen_unmatched : bool
        Whether to lower the confidence where a small structure that only one labelled slice shows is lost, see
        `Gap.strengthen_unmatched`. No label depends on it.
    flows : FlowCache, optional
        Cache of the flow, for other labels on the same volume, see `with_support`.
    on_work : function
        Called, from any thread, with the expected processor time of each part of a prediction that is done, in
        seconds as of `expected_time`. Its exceptions end the prediction.

    Attributes
    ----------
    support : Support
    window : (slice, slice)
    compared : ComparedImages
    expected_time : PropagationTime
    """

    def __init__(
        self,
        volume: Volume,
        support: Support,
        window: tuple[slice, slice] | None = None,
        compared: ComparedImages | None = None,
        strengthen_unmatched: bool = True,
        flows: FlowCache | None = None,
        on_work: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.support = support
        self._flows = flows or FlowCache()
        self._on_work = on_work
        self._strengthen_unmatched = strengthen_unmatched
        self._geometry = volume.geometry
        self._slices = ChannelSlices(volume, support.axis)
        self.window = window or label_window(support.masks, MARGIN_PIXELS)
        self._masks = support.masks[(slice(None), *self.window)]
        self._boxes = [label_boxes(mask) for mask in self._masks]
        self._fields_between: dict[tuple[int, int], np.ndarray] = {}
        self._last_gap: tuple[tuple[tuple[int, int], tuple[int, ...]], Gap] | None = None
        self.compared = compared or choose_images(self._slices, support, self.window, self._boxes, volume.geometry)
        images = len(self.compared.channels) * (1 + 2 * self.compared.adjacent)
        self.expected_time = PropagationTime(math.prod(self._masks.shape[1:]), len(support.labels), images)

    def subset(self, support_indices: Sequence[int]) -> FlowPropagation:
        """Propagation from some of the labelled slices only, in the same window."""
        chosen = list(support_indices)
        same = copy.copy(self)
        same.support = self.support.subset(chosen)
        same._masks, same._boxes = self._masks[chosen], [self._boxes[support_index] for support_index in chosen]
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
        fuse: Callable[[int, np.ndarray], None] | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield labelled slices unchanged, then query slices gap by gap, as engines do.

        `fuse` is called with each query slice and its probabilities in the window, float32 `[labels + 1, h, w]`, and
        may change them in place, before structures are kept.
        """
        support = self.support
        requested = set(slice_indices)
        for support_index in range(len(support.indices)):
            if support.indices[support_index] in requested:
                yield support.indices[support_index], support.one_hot(support_index)
        with ThreadPoolExecutor(ENGINE_THREADS) as pool:
            for gap in support.gaps(requested):
                yield from self._fill_gap(gap, pool, fuse)

    def _fill_gap(
        self,
        query_gap: gaps.SliceGap,
        pool: ThreadPoolExecutor,
        fuse: Callable[[int, np.ndarray], None] | None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Fill the slices of a gap."""
        sides, query = query_gap.sides, query_gap.slices
        composed = pool.map(lambda support_index: self._composed_fields(support_index, query), sides)
        fields = dict(zip(sides, composed, strict=True))
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

        def fill(index: int) -> np.ndarray:
            probabilities = self._fill_slice(index, fields, labels_by_neighbours)
            if fuse is None:
                self._keep_structures(index, probabilities, around)
            return probabilities

        for index, probabilities in zip(query, map_few(pool, fill, query), strict=True):
            if fuse is not None:
                fuse(index, probabilities[(slice(None), *self.window)])
                self._keep_structures(index, probabilities, around)
            yield index, probabilities

    def _keep_structures(self, index: int, probabilities: np.ndarray, around: Sequence[Gap]) -> None:
        """Keep structures shown by both labelled slices on a slice between them, in place."""
        inside = probabilities[(slice(None), *self.window)]
        for gap in around:
            gap.keep(index, inside)
            if self._strengthen_unmatched:
                gap.strengthen_unmatched(index, inside)

    def gap(self, neighbours: tuple[int, int], label_indices: Sequence[int]) -> Gap:
        """Structures on two labelled slices, by support index, of some labels, by position in `support.labels`."""
        key = neighbours, tuple(label_indices)
        last = self._last_gap
        if last is None or last[0] != key:
            before, after = neighbours
            support = self.support
            gap = Gap(
                (support.indices[before], support.indices[after]),
                (self._masks[before], self._masks[after]),
                {support.labels[label_index]: label_index + 1 for label_index in label_indices},
                support.axis,
                self._geometry,
                (self.images(support.indices[before]), self.images(support.indices[after])),
            )
            self._last_gap = last = key, gap
        return last[1]

    def _labels_by_neighbours(self, index: int) -> dict[tuple[int, ...], list[int]]:
        """Labels, by position in `support.labels`, grouped by the labelled slices that they come from."""
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
                fields_of_source[index],
                abs(index - support.indices[support_index]),
            )
            for support_index, fields_of_source in fields.items()
        }
        result = np.zeros((len(support.labels) + 1, *support.masks.shape[1:]), dtype=np.float32)
        for neighbours, label_indices in labels_by_neighbours.items():
            labels = [support.labels[label_index] for label_index in label_indices]
            result[([label_index + 1 for label_index in label_indices], *self.window)] = vote(
                image, [sources[support_index] for support_index in neighbours], labels
            )
        self._on_work(self.expected_time.slice)
        total = result[1:].sum(axis=0)
        np.subtract(1, total, out=result[0])
        np.maximum(result[0], 0, out=result[0])
        if len(labels_by_neighbours) > 1:
            # Labels from different slices may claim the same pixel; as in the vote, nearer slices count more.
            for neighbours, label_indices in labels_by_neighbours.items():
                weight = sum(1 / sources[support_index].distance for support_index in neighbours)
                result[[label_index + 1 for label_index in label_indices]] *= np.float32(weight)
            weighted = result[1:].sum(axis=0)
            result[1:] *= np.minimum(total, 1) / np.where(weighted > 0, weighted, 1)
        else:
            result /= np.maximum(total, 1)
        return result

    def images(self, index: int, channels: Sequence[int] | None = None) -> np.ndarray:
        """One slice in the window, float32 `[channels, h, w]`, as compared; by default the compared channels."""
        chosen = self.compared.channels if channels is None else channels
        return np.stack([self.compared.image(self._slices, channel, index, self.window) for channel in chosen])

    def _weighted(self, index: int) -> np.ndarray:
        """The compared images of a slice, each multiplied by its weight, float32 `[images, h, w]`."""
        return self.compared.of_slice(self._slices, index, self.window)

    def _composed_fields(self, support_index: int, query: Sequence[int]) -> Fields:
        """Field from each query slice to a labelled slice, by support index."""
        start = self.support.indices[support_index]
        return composed_fields(
            self._weighted,
            start,
            query,
            self.regularisation,
            self._flows,
            lambda: self._on_work(self.expected_time.flow),
        )

    def regularisation(self, index: int, adjacent: int) -> float:
        """Regularisation of the flow between two adjacent slices."""
        indices = self.support.indices
        lower, upper = sorted((index, adjacent))
        before, after = gaps.neighbours(upper, indices)[0], gaps.neighbours(lower, indices)[1]
        start = -1 if before is None else indices[before]
        end = len(self._slices) if after is None else indices[after]
        return FLOW_REGULARISATION / (end - start)

    def _field_between(self, start: int, end: int) -> np.ndarray:
        """Field between two labelled slices, by support index, composed over those between them."""
        step = 1 if end > start else -1
        field = None
        for support_index in range(start, end, step):
            if (support_index, support_index + step) not in self._fields_between:
                here = self.support.indices[support_index]
                composed = self._composed_fields(support_index + step, [here])
                self._fields_between[support_index, support_index + step] = composed[here]
            field_between = self._fields_between[support_index, support_index + step]
            field = field_between if field is None else compose(field, field_between)
        assert field is not None
        return field


def label_window(masks: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Bounding box of all labels of slices `[m, h, w]` with a margin in pixels, within the slices."""
    rows, columns = bounding_box((masks != 0).any(axis=0), margin) or (slice(0, 1), slice(0, 1))
    return rows, columns
