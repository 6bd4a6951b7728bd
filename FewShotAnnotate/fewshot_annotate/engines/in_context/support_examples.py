"""Gallery: the labelled slices an in-context engine can show its network, and which of them suit a slice best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.intensity import IntensityWindow
from ...core.labelled_example import Example
from ...core.support import Support
from .window import Window, bounds, resized

# Images are compared at this size.
GLANCE = 16
# Share of the labelled slices that a random draw takes.
DRAWN = 0.75


@dataclass(frozen=True)
class Shown:
    """A labelled slice, of the volume to fill or of another one.

    Attributes
    ----------
    image : float32 ndarray, shape [h, w]
        0..1.
    mask : ndarray, shape [h, w]
        Label values.
    spacing : (float, float)
        mm between rows and between columns.
    known : frozenset of int
        Labels it speaks about.
    index : int or None
        Its place in the volume to fill; None: of another volume.
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float]
    known: frozenset[int]
    index: int | None


class Gallery:
    """Labelled slices of the volume, and of others.

    Parameters
    ----------
    slices : ndarray, shape [n, h, w]
        Of the volume to fill.
    intensities : IntensityWindow
        Of the volume to fill.
    spacing : (float, float)
        mm between rows and between columns.
    support : Support
    examples : sequence of Example
        Each is brought to 0..1 by its own volume's quantiles.
    """

    def __init__(
        self,
        slices: np.ndarray,
        intensities: IntensityWindow,
        spacing: tuple[float, float],
        support: Support,
        examples: Sequence[Example],
    ) -> None:
        labels = np.array(support.labels)
        self._shown = [
            Shown(
                intensities.normalise(slices[index]),
                support.masks[row],
                spacing,
                frozenset(labels[support.annotated[row]].tolist()),
                index,
            )
            for row, index in enumerate(support.indices)
        ]
        for one in examples:
            image = IntensityWindow.of_quantiles(one.quantiles).normalise(one.image)
            self._shown.append(Shown(image, one.mask, one.spacing, frozenset(one.annotated), None))
        self._values = [frozenset(np.unique(one.mask).tolist()) for one in self._shown]
        self._spacing = spacing
        self._centre = _centre(support.masks != 0)
        self._middle = _middle(slices[0])
        self._glances: dict[tuple[int, Window], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._shown)

    def speaking(self, label: int, index: int) -> list[int]:
        """Places of the slices that speak about a label, without slice `index`; none if no one of them shows it."""
        places = [place for place, one in enumerate(self._shown) if label in one.known and one.index != index]
        return places if any(label in self._values[place] for place in places) else []

    def most_similar(
        self, places: Sequence[int], label: int, image: np.ndarray, window: Window, limit: int
    ) -> list[int]:
        """The `limit` of these that look most like `image`, one with the label among them.

        Parameters
        ----------
        image : float32 ndarray, shape [side, side]
            The window of the slice to fill.
        """
        if len(places) <= limit:
            return list(places)
        ranked = self._ranked(places, image, window)
        return self._with_label(ranked[:limit], ranked, label)

    def drawn(
        self, places: Sequence[int], label: int, image: np.ndarray, window: Window, limit: int, seed: Sequence[int]
    ) -> list[int]:
        """A random part of these, at most `limit`, one with the label among them."""
        count = min(limit, max(1, round(DRAWN * len(places))))
        order = np.random.default_rng(seed).permutation(len(places))[:count]
        chosen = sorted(places[number] for number in order)
        return self._with_label(chosen, self._ranked(places, image, window), label)

    def cut(self, places: Sequence[int], label: int, window: Window, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks of a label, float32 `[n, side, side]`, of the slices at these places."""
        views = [(self._shown[place], self._view(place, window)) for place in places]
        images = np.stack([view.shrunk(one.image, side) for one, view in views])
        masks = np.stack([view.shrunk_mask(one.mask == label, side) for one, view in views])
        return images, masks

    def _ranked(self, places: Sequence[int], image: np.ndarray, window: Window) -> list[int]:
        glance = resized(image, (GLANCE, GLANCE))
        unlike = {place: float(np.mean((self._glance(place, window) - glance) ** 2)) for place in places}
        return sorted(places, key=lambda place: (unlike[place], place))

    def _glance(self, place: int, window: Window) -> np.ndarray:
        if (place, window) not in self._glances:
            self._glances[place, window] = self._view(place, window).shrunk(self._shown[place].image, GLANCE)
        return self._glances[place, window]

    def _with_label(self, chosen: list[int], ranked: Sequence[int], label: int) -> list[int]:
        if not any(label in self._values[place] for place in chosen):
            chosen[-1] = next(place for place in ranked if label in self._values[place])
        return chosen

    def _view(self, place: int, window: Window) -> Window:
        """What corresponds to a window of the volume: as large in mm, and as far from the middle of the labels.

        Where one of both has no labels, as far from the middle of the slice.
        """
        one = self._shown[place]
        if one.index is not None:
            return window
        labelled = None if self._centre is None else _centre(one.mask[None] != 0)
        here, there = (self._middle, _middle(one.image)) if labelled is None else (self._centre, labelled)
        assert here is not None
        own = [(start + stop - 1) / 2 for start, stop in (window.rows, window.columns)]
        offsets = [(at - middle) * size for at, middle, size in zip(own, here, self._spacing, strict=True)]
        place_there = [middle + off / size for middle, off, size in zip(there, offsets, one.spacing, strict=True)]
        sides = [count * size for count, size in zip(window.shape, self._spacing, strict=True)]
        return Window.around((place_there[0], place_there[1]), (sides[0], sides[1]), one.spacing)


def _centre(masks: np.ndarray) -> tuple[float, float] | None:
    box = bounds(masks) if len(masks) else None
    return None if box is None else ((box[0][0] + box[0][1] - 1) / 2, (box[1][0] + box[1][1] - 1) / 2)


def _middle(image: np.ndarray) -> tuple[float, float]:
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
