"""ExamplePool: labelled slices that an in-context engine chooses its support set from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.intensity import IntensityRange
from ...core.labelled_example import Example
from ...core.support import Support
from .window import Window, bounds, resized

# Side length in pixels at which images are compared.
THUMBNAIL_SIDE_PIXELS = 16
# Fraction of the labelled slices in a random subset.
SUBSET_FRACTION = 0.75


@dataclass(frozen=True)
class PoolExample:
    """A labelled slice of the volume to fill or of another one.

    Attributes
    ----------
    image : float32 ndarray, shape [h, w]
        Normalised intensities in 0..1.
    mask : ndarray, shape [h, w]
        Label values.
    spacing : (float, float)
        mm between rows and between columns.
    annotated : frozenset of int
        Labels that are annotated on the slice.
    index : int or None
        Slice index in the volume to fill; None for a slice of another volume.
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float]
    annotated: frozenset[int]
    index: int | None


class ExamplePool:
    """Labelled slices of the volume to fill and of other volumes.

    Parameters
    ----------
    slices : ndarray, shape [n, h, w]
        Slices of the volume to fill.
    intensities : IntensityRange
        Range of the volume to fill.
    spacing : (float, float)
        mm between rows and between columns.
    support : Support
    examples : sequence of Example
        Each is normalised by the quantiles of its own volume.
    """

    def __init__(
        self,
        slices: np.ndarray,
        intensities: IntensityRange,
        spacing: tuple[float, float],
        support: Support,
        examples: Sequence[Example],
    ) -> None:
        labels = np.array(support.labels)
        self._examples = [
            PoolExample(
                intensities.normalise(slices[index]),
                support.masks[position],
                spacing,
                frozenset(labels[support.annotated[position]].tolist()),
                index,
            )
            for position, index in enumerate(support.indices)
        ]
        for example in examples:
            image = IntensityRange.of_quantiles(example.quantiles).normalise(example.image)
            self._examples.append(
                PoolExample(image, example.mask, example.spacing, frozenset(example.annotated), None)
            )
        self._values = [frozenset(np.unique(example.mask).tolist()) for example in self._examples]
        self._spacing = spacing
        self._centre = _centre(support.masks != 0)
        self._image_centre = _image_centre(slices[0])
        self._thumbnails: dict[tuple[int, Window], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def annotating(self, label: int, index: int) -> list[int]:
        """Positions in the pool of slices on which a label is annotated, except slice `index`.

        Empty if none of them shows the label.
        """
        candidates = [
            position
            for position, example in enumerate(self._examples)
            if label in example.annotated and example.index != index
        ]
        return candidates if any(label in self._values[position] for position in candidates) else []

    def most_similar(
        self, candidates: Sequence[int], label: int, image: np.ndarray, window: Window, limit: int
    ) -> list[int]:
        """The `limit` candidates most similar to `image`, at least one of which shows the label.

        Parameters
        ----------
        candidates : sequence of int
            Positions in the pool.
        label : int
            Label value.
        image : float32 ndarray, shape [side, side]
            The slice to fill, in the window.
        window : Window
        limit : int
            Maximum number of positions to return.
        """
        if len(candidates) <= limit:
            return list(candidates)
        ranked = self._ranked(candidates, image, window)
        return self._with_label(ranked[:limit], ranked, label)

    def random_subset(
        self,
        candidates: Sequence[int],
        label: int,
        image: np.ndarray,
        window: Window,
        limit: int,
        seed: Sequence[int],
    ) -> list[int]:
        """A random subset of at most `limit` candidates, at least one of which shows the label."""
        count = min(limit, max(1, round(SUBSET_FRACTION * len(candidates))))
        order = np.random.default_rng(seed).permutation(len(candidates))[:count]
        chosen = sorted(candidates[number] for number in order)
        return self._with_label(chosen, self._ranked(candidates, image, window), label)

    def crop(self, candidates: Sequence[int], label: int, window: Window, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks of a label, float32 `[n, side, side]`, of the chosen slices in a window."""
        views = [(self._examples[position], self._view(position, window)) for position in candidates]
        images = np.stack([view.resample(example.image, side) for example, view in views])
        masks = np.stack([view.resample_mask(example.mask == label, side) for example, view in views])
        return images, masks

    def _ranked(self, candidates: Sequence[int], image: np.ndarray, window: Window) -> list[int]:
        thumbnail = resized(image, (THUMBNAIL_SIDE_PIXELS, THUMBNAIL_SIDE_PIXELS))
        distances = {
            position: float(np.mean((self._thumbnail(position, window) - thumbnail) ** 2)) for position in candidates
        }
        return sorted(candidates, key=lambda position: (distances[position], position))

    def _thumbnail(self, position: int, window: Window) -> np.ndarray:
        if (position, window) not in self._thumbnails:
            self._thumbnails[position, window] = self._view(position, window).resample(
                self._examples[position].image, THUMBNAIL_SIDE_PIXELS
            )
        return self._thumbnails[position, window]

    def _with_label(self, chosen: list[int], ranked: Sequence[int], label: int) -> list[int]:
        if not any(label in self._values[position] for position in chosen):
            chosen[-1] = next(position for position in ranked if label in self._values[position])
        return chosen

    def _view(self, position: int, window: Window) -> Window:
        """Window of an example that corresponds to a window of the volume to fill.

        It has the same size in mm and the same offset in mm from the centre of the labels, or from the centre of the
        slice if either has no labels.
        """
        example = self._examples[position]
        if example.index is not None:
            return window
        labelled = None if self._centre is None else _centre(example.mask[None] != 0)
        own_centre, example_centre = (
            (self._image_centre, _image_centre(example.image)) if labelled is None else (self._centre, labelled)
        )
        assert own_centre is not None
        centre = [(start + stop - 1) / 2 for start, stop in (window.rows, window.columns)]
        offsets = [
            (pixel - origin) * size for pixel, origin, size in zip(centre, own_centre, self._spacing, strict=True)
        ]
        centre_there = [
            middle + offset / size
            for middle, offset, size in zip(example_centre, offsets, example.spacing, strict=True)
        ]
        sides = [count * size for count, size in zip(window.shape, self._spacing, strict=True)]
        return Window.around((centre_there[0], centre_there[1]), (sides[0], sides[1]), example.spacing)


def _centre(masks: np.ndarray) -> tuple[float, float] | None:
    box = bounds(masks) if len(masks) else None
    return None if box is None else ((box[0][0] + box[0][1] - 1) / 2, (box[1][0] + box[1][1] - 1) / 2)


def _image_centre(image: np.ndarray) -> tuple[float, float]:
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
