"""Engines whose network is shown labelled slices beside the slice to fill, and is not trained any further."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import scipy

from ...core.errors import Message
from ...core.intensity import IntensityWindow
from ...core.support import Support
from ...core.volume import Volume
from ...weights import loading
from ..base import Option, RunContext
from ..pretrained.base import PretrainedEngine

if TYPE_CHECKING:
    import torch

    from .window import Window

# Part of the labels' box added on each side of it, at least this many pixels: what surrounds a structure tells a lot.
MARGIN = 0.25
LEAST_MARGIN = 8.0
# Part of a tile that the next one covers too.
OVERLAP = 0.25
# Bytes that support sets, kept for the next slices, may take.
KEPT_BYTES = 1 << 29
# Slices filled together, label by label, when not all labels' support sets can be kept.
BLOCK = 8
# Logit where nothing was looked at: the label is not there.
ABSENT = -30.0
# Ways to mirror an image: not, and along each axis or both.
MIRRORED: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))

CONTEXT_OPTIONS = {
    "supports": Option(64, "labelled slices shown with each slice at most: the most similar ones", 1, 64),
    "view": Option(
        "box",
        "box: the part of the slice around all labels; label: around each label by itself; slice: all of it; "
        "tiles: the box in parts at full resolution",
        choices=("box", "label", "slice", "tiles"),
    ),
    "ensemble": Option(1, "predictions averaged, of mirrored images and then of fewer labelled slices", 1, 16),
    "seed": Option(0, "seed of the labelled slices that are left out in an ensemble", 0, 2**31 - 1),
}


class Network(Protocol):
    """What an in-context engine asks of its network. Images are 0..1, labels 0 or 1."""

    def see(self, images: torch.Tensor, labels: torch.Tensor) -> Any:
        """Take in labelled images, both `[n, side, side]`."""

    def logits(self, image: torch.Tensor, supports: Any) -> torch.Tensor:
        """Logits `[side, side]` of one image `[side, side]`, from what `see` gave."""


class InContextEngine(PretrainedEngine):
    """Fills each label of each slice by showing labelled slices of the volume, and of others.

    Attributes
    ----------
    side : int
        Pixels of the square images that the network takes.
    support_bytes : int
        Memory that one labelled slice takes once the network has seen it.
    """

    uses_library = True
    half_devices = ()
    options: ClassVar[Mapping[str, Option]] = CONTEXT_OPTIONS
    side: ClassVar[int] = 128
    support_bytes: ClassVar[int] = 0

    @abstractmethod
    def network(self, device: torch.device) -> Network:
        """The network with its weights, kept for the life of the process."""

    @classmethod
    @abstractmethod
    def state_shapes(cls) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors of the network's weights."""

    @classmethod
    def require_weights(cls, state: Mapping[str, torch.Tensor], path: Path) -> None:
        """Raise `InputError` naming `path` unless a state is that of the network."""
        loading.require_shapes(path, state, cls.state_shapes())

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """Load the weights and take the labelled slices."""
        from .support_examples import Gallery

        super().prepare(volume, support, context)
        self._support = support
        self._slices = support.axis.slices(volume.array)
        _, *spacing = support.axis.spacing(volume.geometry)
        self._spacing = (spacing[0], spacing[1])
        self._intensities = IntensityWindow.of_volume(self._slices)
        self._gallery = Gallery(self._slices, self._intensities, self._spacing, support, context.examples)
        self._device = self.choose_device()
        self._network = self.network(self._device)
        self._limit: int = self.settings["supports"]
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Slice by slice; with many labels in blocks of slices, label by label."""
        labels = self._support.labels
        windows = {label: self._windows(label) for label in labels}
        sets = sum(map(len, windows.values())) * self.settings["ensemble"]
        kept_whole = sets * min(len(self._gallery), self._limit) * self.support_bytes <= KEPT_BYTES
        self._most_kept = sets if kept_whole else 1
        block = 1 if kept_whole else BLOCK
        wanted = sorted(slice_indices)
        done, total = 0, len(wanted) * len(labels)
        for start in range(0, len(wanted), block):
            part = wanted[start : start + block]
            logits = np.full((len(part), len(labels) + 1, *self._slices.shape[1:]), ABSENT, dtype=np.float32)
            logits[:, 0] = 0
            for place, label in enumerate(labels, 1):
                for row, index in enumerate(part):
                    self._fill(index, label, windows[label], logits[row, place])
                    done += 1
                    self.context.report_progress(done / total)
            for row, index in enumerate(part):
                yield index, scipy.special.softmax(logits[row], axis=0)

    def _windows(self, label: int) -> list[Window]:
        """The parts of every slice to look at for a label."""
        from .window import Window, bounds, tiles

        masks, view = self._support.masks, self.settings["view"]
        height, width = self._slices.shape[1:]
        box = bounds(masks == label if view == "label" else masks != 0) if len(masks) and view != "slice" else None
        if box is None:
            spans = [(0.0, float(height)), (0.0, float(width))]
        else:
            margins = [max(LEAST_MARGIN, MARGIN * (stop - start)) for start, stop in box]
            spans = [(start - margin, stop + margin) for (start, stop), margin in zip(box, margins, strict=True)]
        if view == "tiles":
            return tiles(spans, self.side, OVERLAP)
        side = max((stop - start) * size for (start, stop), size in zip(spans, self._spacing, strict=True))
        centre = [(start + stop - 1) / 2 for start, stop in spans]
        return [Window.around((centre[0], centre[1]), (side, side), self._spacing)]

    def _fill(self, index: int, label: int, windows: Sequence[Window], into: np.ndarray) -> None:
        """Write the logits of a label on a slice; nothing if no labelled slice shows it."""
        places = self._gallery.speaking(label, index)
        if not places:
            return
        from .window import Blend

        slice_ = self._intensities.normalise(self._slices[index])
        blend = Blend(into.shape)
        for window in windows:
            image = window.shrunk(slice_, self.side)
            blend.add(window, self._averaged(places, label, image, window))
        blend.put(into)

    def _averaged(self, places: Sequence[int], label: int, image: np.ndarray, window: Window) -> np.ndarray:
        """Logits `[side, side]` of a window: of the mean of an ensemble's probabilities."""
        count = self.settings["ensemble"]
        members = [self._member(places, label, image, window, number) for number in range(count)]
        if count == 1:
            return members[0]
        mean = np.mean([scipy.special.expit(one.astype(np.float64)) for one in members], axis=0).clip(1e-9, 1 - 1e-9)
        logits: np.ndarray = scipy.special.logit(mean).astype(np.float32)
        return logits

    def _member(
        self, places: Sequence[int], label: int, image: np.ndarray, window: Window, number: int
    ) -> np.ndarray:
        """One prediction. The first sees the most similar slices, the next ones the same mirrored, others a draw."""
        import torch

        mirrored = MIRRORED[number % len(MIRRORED)]

        def look(limit: int) -> np.ndarray:
            if number < len(MIRRORED):
                chosen = self._gallery.most_similar(places, label, image, window, limit)
            else:
                seed = (self.settings["seed"], number)
                chosen = self._gallery.drawn(places, label, image, window, limit, seed)
            supports = self._seen(tuple(chosen), label, window, mirrored)
            query = torch.from_numpy(np.flip(image, mirrored).copy())
            return np.flip(self._network.logits(query, supports).float().cpu().numpy(), mirrored).copy()

        halves = [self._limit >> step for step in range(self._limit.bit_length())]
        logits, limit = self.with_less_memory(look, halves, self._device)
        if limit < self._limit:
            self._limit = limit
            self.context.warn(Message("fewer_examples", engine=self.name, count=limit))
        return logits

    def _seen(self, chosen: tuple[int, ...], label: int, window: Window, mirrored: tuple[int, ...]) -> Any:
        """These slices as the network saw them; the last ones are kept."""
        import torch

        key = (chosen, label, window, mirrored)
        if key not in self._kept:
            while len(self._kept) >= self._most_kept:
                self._kept.popitem(last=False)
            axes = tuple(axis + 1 for axis in mirrored)
            images, masks = self._gallery.cut(chosen, label, window, self.side)
            self._kept[key] = self._network.see(
                torch.from_numpy(np.flip(images, axes).copy()), torch.from_numpy(np.flip(masks, axes).copy())
            )
        self._kept.move_to_end(key)
        return self._kept[key]
