"""Case: a volume with its labelled slices, as a comparison takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.axis import SliceAxis
from ..core.support import Support
from ..core.volume import LabelMap, Segment, Volume


@dataclass(frozen=True)
class Structure:
    """One label of one layer.

    Attributes
    ----------
    layer : int
        Place of its support in the case.
    place : int
        Place of its value in that support's labels.
    segment : Segment
    """

    layer: int
    place: int
    segment: Segment


@dataclass(frozen=True)
class Case:
    """Labelled slices along one axis of a volume.

    Attributes
    ----------
    volume : Volume
    supports : tuple of Support
        One for each layer (overlapping segments lie in several), all with the same axis and labelled slices.
    structures : tuple of Structure
        Every label of every layer.
    """

    volume: Volume
    supports: tuple[Support, ...]
    structures: tuple[Structure, ...]

    @classmethod
    def of_supports(cls, volume: Volume, supports: Sequence[Support], layers: Sequence[LabelMap]) -> Case:
        """A case of supports and the label maps that name their labels, in the same order."""
        named = [{segment.value: segment for segment in layer.segments} for layer in layers]
        structures = [
            Structure(number, place, named[number][value])
            for number, support in enumerate(supports)
            for place, value in enumerate(support.labels)
        ]
        return cls(volume, tuple(supports), tuple(structures))

    @classmethod
    def of_label_maps(
        cls,
        volume: Volume,
        layers: Sequence[LabelMap],
        axis: SliceAxis | None = None,
        labelled_slices: Sequence[int] | None = None,
        path: object = "The labels",
        *,
        complete: bool = True,
    ) -> Case:
        """A case of label maps, read as `fill` reads them.

        Parameters
        ----------
        complete : bool
            Whether a label that is not on a labelled slice is absent there.

        Raises
        ------
        InputError
            No labelled slice, crossing axes, a slice that does not exist.
        """
        anything = np.zeros(volume.geometry.shape, dtype=np.uint8)
        for layer in layers:
            anything |= layer.array != 0
        union = Support.from_label_map(LabelMap(anything, volume.geometry), axis, labelled_slices, path=path)
        slices = list(union.indices)
        held = [layer for layer in layers if union.axis.slices(layer.array)[slices].any()]
        supports = [Support.from_label_map(layer, union.axis, slices, path=path) for layer in held]
        if not complete:
            supports = [support.partial(union.empty) for support in supports]
        return cls.of_supports(volume, supports, held)

    @property
    def axis(self) -> SliceAxis:
        """Axis of the labelled slices."""
        return self.supports[0].axis

    @property
    def indices(self) -> tuple[int, ...]:
        """The labelled slices."""
        return self.supports[0].indices

    @property
    def painted(self) -> list[bool]:
        """For each labelled slice whether any label is on it."""
        return [any(bool(support.masks[row].any()) for support in self.supports) for row in range(len(self.indices))]

    def names(self, layer: int, labels: Sequence[int]) -> dict[int, str]:
        """Names of some label values of a layer."""
        own = (structure.segment for structure in self.structures if structure.layer == layer)
        return {segment.value: segment.name for segment in own if segment.value in labels}

    @property
    def to_fill(self) -> int:
        """Slices between the labelled ones."""
        support = self.supports[0]
        return len(support.unlabelled(support.range_between()))


def shown(support: Support, rows: Sequence[int]) -> Support | None:
    """What an engine is told when only these labelled slices are shown: no label that is not on them, or None."""
    part = support.only(rows)
    places = [place for place, value in enumerate(part.labels) if (part.masks == value).any()]
    if not places:
        return None
    return replace(part, labels=tuple(part.labels[place] for place in places), known=part.known[:, places])
