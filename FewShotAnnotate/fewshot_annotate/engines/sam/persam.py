"""Engines `persam` and `persam-f`: SAM finds again what was labelled on one slice, without prompts from flow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...core.support import Support
from ...core.volume import Volume
from ..base import Option, RunContext
from ..pretrained.base import PRECISION, checkpoint_options
from ..pretrained.intensity import INTENSITIES
from ..pretrained.joint_labels import present, within
from ..pretrained.prompts import Box
from ..pretrained.quarter_turns import Turns
from .engine import CACHE, SAM_CHECKPOINTS, EmbeddingEngine

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Picture
    from .persam_network import Wanted

_OPTIONS: Mapping[str, Option] = {
    **checkpoint_options(SAM_CHECKPOINTS),
    "bounded": Option(True, "look only within reach of where the labelled slices around show the label"),
    "intensities": INTENSITIES,
    "precision": PRECISION,
    "cache": CACHE,
}


class OneShotSam(EmbeddingEngine):
    """Base of the two: each label is looked for on its own, by what one labelled slice shows of it."""

    options: ClassVar[Mapping[str, Option]] = _OPTIONS
    licence = "MIT; weights Apache-2.0"

    def predict(self, slice_indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """First what the labelled slices show, then slice by slice."""
        limits = self.limits(slice_indices)
        wanted = {(place, self.reference(index, place)) for index in slice_indices for place in limits[index]}
        turns = Turns(self.context.report_progress, len(wanted) + len(slice_indices))
        for place, row in sorted(wanted, key=lambda one: (one[1], one[0])):
            mask = self._support.masks[row] == self._support.labels[place]
            self.learn(place, row, self.picture(self._support.indices[row], turns), mask, turns.within)
            turns.next()
        for index in slice_indices:
            found = {}
            if limits[index]:
                picture = self.picture(index, turns)
                for place, limit in limits[index].items():
                    bound = limit if self.settings["bounded"] else None
                    logits = self.look(place, self.reference(index, place), picture, bound)
                    probability: np.ndarray = logits.sigmoid().cpu().numpy()
                    found[place] = probability if bound is None else within(probability, bound)
                    turns.within(1.0)
            yield index, present(self._support.labels, found, self._shape)
            turns.next()

    def area(self, row: int, place: int) -> int:
        """Pixels of a label on a labelled slice."""
        return int((self._support.masks[row] == self._support.labels[place]).sum())

    @abstractmethod
    def reference(self, index: int, place: int) -> int:
        """The labelled slice, by number, that tells what a label looks like on a slice."""

    @abstractmethod
    def learn(self, place: int, row: int, picture: Picture, mask: np.ndarray, tell: Callable[[float], None]) -> None:
        """Keep what a labelled slice tells about a label."""

    @abstractmethod
    def look(self, place: int, row: int, picture: Picture, limit: Box | None) -> Tensor:
        """Logits `[h, w]` of a label on a slice, by what was kept of a labelled slice."""


class PerSam(OneShotSam):
    """The nearest labelled slice that shows the label is the one shot."""

    name = "persam"
    title = "PerSAM"
    summary = "SAM finds again what your nearest slice shows, by its features; no training."

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """As the base."""
        super().prepare(volume, support, context)
        self._wanted: dict[tuple[int, int], Wanted] = {}

    def reference(self, index: int, place: int) -> int:
        """The nearest; of two as near, the one that shows more of it."""
        indices = self._support.indices
        rows = self._extents.showing(place)
        return min(rows, key=lambda row: (abs(indices[row] - index), -self.area(row, place)))

    def learn(self, place: int, row: int, picture: Picture, mask: np.ndarray, tell: Callable[[float], None]) -> None:
        """Keep the mean feature."""
        from .persam_network import wanted

        self._wanted[place, row] = wanted(self.model(), picture, mask)

    def look(self, place: int, row: int, picture: Picture, limit: Box | None) -> Tensor:
        """Best and worst point and the target in the decoder's attention, then mask and box."""
        from .persam_network import persam

        return persam(self.model(), picture, self._wanted[place, row], limit)


class PerSamF(OneShotSam):
    """The labelled slice that shows most of a label is the one shot; two weights are fitted to it."""

    name = "persam-f"
    title = "PerSAM-F"
    summary = "As PerSAM, with the mixture of SAM's three masks fitted to your slice."

    def prepare(self, volume: Volume, support: Support, context: RunContext = RunContext()) -> None:
        """As the base."""
        super().prepare(volume, support, context)
        self._fitted: dict[tuple[int, int], tuple[Wanted, Tensor]] = {}

    def reference(self, index: int, place: int) -> int:
        """The one that shows most, whatever the slice: each costs a fit."""
        return max(self._extents.showing(place), key=lambda row: self.area(row, place))

    def learn(self, place: int, row: int, picture: Picture, mask: np.ndarray, tell: Callable[[float], None]) -> None:
        """Fit the mixture."""
        from .persam_network import fit_weights, wanted

        target = wanted(self.model(), picture, mask, sharp=True)
        self._fitted[place, row] = target, fit_weights(self.model(), picture, target, mask, tell)

    def look(self, place: int, row: int, picture: Picture, limit: Box | None) -> Tensor:
        """One point and the mixture, then box and mask twice."""
        from .persam_network import persam_f

        return persam_f(self.model(), picture, *self._fitted[place, row], limit)
