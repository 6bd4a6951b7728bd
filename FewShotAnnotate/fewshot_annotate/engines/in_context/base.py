"""Base class of in-context engines: the network segments a slice from labelled slices, without training."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import scipy

from ...core.errors import Message
from ...core.intensity import IntensityRange
from ...core.support import Support
from ...core.volume import Volume
from ...weights import loading
from ..base import RunContext
from ..option import Option
from ..pretrained.base import PretrainedEngine

if TYPE_CHECKING:
    import torch

    from .window import Window

# Margin around the labels' bounding box, as a fraction of its length and at least in pixels, for context.
MARGIN_FRACTION = 0.25
MIN_MARGIN_PIXELS = 8.0
# Fraction of a tile that overlaps the next one.
OVERLAP_FRACTION = 0.25
# Maximum memory of encoded support sets that are cached for the next slices.
MAX_CACHE_BYTES = 1 << 29
# Slices filled together, label by label, if the support sets of all labels do not fit in the cache.
BLOCK_SLICES = 8
# Logit outside of the windows, where the label is absent.
ABSENT_LOGIT = -30.0
# Axes along which the images of each ensemble member are mirrored.
MIRRORED: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))

CONTEXT_OPTIONS = {
    "supports": Option(64, "maximum number of labelled slices, the most similar ones, per query slice", 1, 64),
    "view": Option(
        "box",
        "box: region around all labels; label: region around each label; slice: whole slice; "
        "tiles: the box in tiles at full resolution",
        choices=("box", "label", "slice", "tiles"),
    ),
    "ensemble": Option(
        1, "number of predictions to average: mirrored images, then random subsets of labelled slices", 1, 16
    ),
    "seed": Option(0, "seed of the random subsets", 0, 2**31 - 1),
}


class Network(Protocol):
    """Interface of the networks of in-context engines. Images are 0..1, labels 0 or 1."""

    def encode_support(self, images: torch.Tensor, labels: torch.Tensor) -> Any:
        """Encode labelled images; both arrays are `[n, side, side]`."""

    def logits(self, image: torch.Tensor, supports: Any) -> torch.Tensor:
        """Logits `[side, side]` of one image `[side, side]`, given the result of `encode_support`."""


class InContextEngine(PretrainedEngine):
    """Segments each label of each slice from labelled slices of the same and of other volumes.

    Attributes
    ----------
    side : int
        Side length in pixels of the network's square input.
    support_bytes : int
        Memory of one encoded labelled slice.
    """

    uses_library = True
    half_devices = ()
    options: ClassVar[Mapping[str, Option]] = CONTEXT_OPTIONS
    side: ClassVar[int] = 128
    support_bytes: ClassVar[int] = 0

    @abstractmethod
    def network(self, device: torch.device) -> Network:
        """The network with its weights; cached for the life of the process."""

    @classmethod
    @abstractmethod
    def state_shapes(cls) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors of the network's weights."""

    @classmethod
    def require_weights(cls, state: Mapping[str, torch.Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless the tensors fit the network."""
        loading.require_shapes(path, state, cls.state_shapes())

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Set the input and load the weights."""
        from .example_pool import ExamplePool

        super().prepare(volume, support, context)
        self._support = support
        self._slices = support.axis.slices(volume.array)
        _, *spacing = support.axis.spacing(volume.geometry)
        self._spacing = (spacing[0], spacing[1])
        self._intensities = IntensityRange.of_volume(self._slices)
        self._pool = ExamplePool(self._slices, self._intensities, self._spacing, support, context.examples)
        self._device = self.choose_device()
        self._network = self.network(self._device)
        self._limit: int = self.settings["supports"]
        self._cache_of_supports: OrderedDict[Hashable, Any] = OrderedDict()

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield slice by slice; if not all support sets fit in the cache, label by label in blocks of slices."""
        labels = self._support.labels
        windows = {label: self._windows(label) for label in labels}
        sets = sum(map(len, windows.values())) * self.settings["ensemble"]
        fits_in_cache = sets * min(len(self._pool), self._limit) * self.support_bytes <= MAX_CACHE_BYTES
        self._max_cached = sets if fits_in_cache else 1
        block = 1 if fits_in_cache else BLOCK_SLICES
        query = sorted(slice_indices)
        done, total = 0, len(query) * len(labels)
        for start in range(0, len(query), block):
            block_of_queries = query[start : start + block]
            logits = np.full(
                (len(block_of_queries), len(labels) + 1, *self._slices.shape[1:]), ABSENT_LOGIT, dtype=np.float32
            )
            logits[:, 0] = 0
            for label_index, label in enumerate(labels, 1):
                for position, index in enumerate(block_of_queries):
                    self._fill(index, label, windows[label], logits[position, label_index])
                    done += 1
                    self.context.report_progress(done / total)
            for position, index in enumerate(block_of_queries):
                yield index, scipy.special.softmax(logits[position], axis=0)

    def _windows(self, label: int) -> list[Window]:
        """Windows in which a label is segmented; they are the same on every slice."""
        from .window import Window, bounds, tiles

        masks, view = self._support.masks, self.settings["view"]
        height, width = self._slices.shape[1:]
        box = bounds(masks == label if view == "label" else masks != 0) if len(masks) and view != "slice" else None
        if box is None:
            spans = [(0.0, float(height)), (0.0, float(width))]
        else:
            margins = [max(MIN_MARGIN_PIXELS, MARGIN_FRACTION * (stop - start)) for start, stop in box]
            spans = [(start - margin, stop + margin) for (start, stop), margin in zip(box, margins, strict=True)]
        if view == "tiles":
            return tiles(spans, self.side, OVERLAP_FRACTION)
        side = max((stop - start) * size for (start, stop), size in zip(spans, self._spacing, strict=True))
        centre = [(start + stop - 1) / 2 for start, stop in spans]
        return [Window.around((centre[0], centre[1]), (side, side), self._spacing)]

    def _fill(self, index: int, label: int, windows: Sequence[Window], out: np.ndarray) -> None:
        """Write the logits of a label on a slice; does nothing if no labelled slice shows the label."""
        candidates = self._pool.annotating(label, index)
        if not candidates:
            return
        from .window import Blend

        slice_ = self._intensities.normalise(self._slices[index])
        blend = Blend(out.shape)
        for window in windows:
            image = window.resample(slice_, self.side)
            blend.add(window, self._ensemble(candidates, label, image, window))
        blend.write(out)

    def _ensemble(self, candidates: Sequence[int], label: int, image: np.ndarray, window: Window) -> np.ndarray:
        """Logits `[side, side]` of the mean probability of an ensemble in a window."""
        count = self.settings["ensemble"]
        members = [self._member(candidates, label, image, window, number) for number in range(count)]
        if count == 1:
            return members[0]
        mean = np.mean([scipy.special.expit(member.astype(np.float64)) for member in members], axis=0).clip(
            1e-9, 1 - 1e-9
        )
        logits: np.ndarray = scipy.special.logit(mean).astype(np.float32)
        return logits

    def _member(
        self, candidates: Sequence[int], label: int, image: np.ndarray, window: Window, number: int
    ) -> np.ndarray:
        """Logits of one ensemble member: of the most similar slices, of these mirrored or of a random subset."""
        import torch

        mirrored = MIRRORED[number % len(MIRRORED)]

        def predict(limit: int) -> np.ndarray:
            if number < len(MIRRORED):
                chosen = self._pool.most_similar(candidates, label, image, window, limit)
            else:
                seed = (self.settings["seed"], number)
                chosen = self._pool.random_subset(candidates, label, image, window, limit, seed)
            supports = self._encoded(tuple(chosen), label, window, mirrored)
            query = torch.from_numpy(np.flip(image, mirrored).copy())
            return np.flip(self._network.logits(query, supports).float().cpu().numpy(), mirrored).copy()

        halves = [self._limit >> step for step in range(self._limit.bit_length())]
        logits, limit = self.with_less_memory(predict, halves, self._device)
        if limit < self._limit:
            self._limit = limit
            self.context.warn(Message("fewer_examples", engine=self.name, count=limit))
        return logits

    def _encoded(self, chosen: tuple[int, ...], label: int, window: Window, mirrored: tuple[int, ...]) -> Any:
        """Encoded support set, from a cache of the most recent ones."""
        import torch

        key = (chosen, label, window, mirrored)
        if key not in self._cache_of_supports:
            while len(self._cache_of_supports) >= self._max_cached:
                self._cache_of_supports.popitem(last=False)
            axes = tuple(axis + 1 for axis in mirrored)
            images, masks = self._pool.crop(chosen, label, window, self.side)
            self._cache_of_supports[key] = self._network.encode_support(
                torch.from_numpy(np.flip(images, axes).copy()), torch.from_numpy(np.flip(masks, axes).copy())
            )
        self._cache_of_supports.move_to_end(key)
        return self._cache_of_supports[key]
