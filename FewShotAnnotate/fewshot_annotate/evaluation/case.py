"""ComparisonCase: a volume with its labelled slices, on which engines are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.slice_axis import AxisChoice, SliceAxis
from ..core.support import Support
from ..core.volume import LabelMap, Segment, Volume
from ..jobs.labelled_layers import layers_of_label_maps


@dataclass(frozen=True)
class CaseStructure:
    """One label of one layer.

    Attributes
    ----------
    layer : int
        Position of its support in the case.
    position : int
        Position of its value in the labels of that support.
    segment : Segment
    """

    layer: int
    position: int
    segment: Segment


@dataclass(frozen=True)
class ComparisonCase:
    """Labelled slices along one axis of a volume.

    Attributes
    ----------
    volume : Volume
    supports : tuple of Support
        One for each layer (overlapping segments lie in several), all with the same axis and labelled slices.
    structures : tuple of CaseStructure
        Every label of every layer.
    """

    volume: Volume
    supports: tuple[Support, ...]
    structures: tuple[CaseStructure, ...]

    @classmethod
    def from_supports(cls, volume: Volume, supports: Sequence[Support], layers: Sequence[LabelMap]) -> ComparisonCase:
        """Case of supports and, in the same order, the label maps that name their labels."""
        named = [{segment.value: segment for segment in layer.segments} for layer in layers]
        structures = [
            CaseStructure(number, position, named[number][value])
            for number, support in enumerate(supports)
            for position, value in enumerate(support.labels)
        ]
        return cls(volume, tuple(supports), tuple(structures))

    @classmethod
    def from_label_maps(
        cls,
        volume: Volume,
        layers: Sequence[LabelMap],
        axis: AxisChoice | None = None,
        labelled_slices: Sequence[int] | None = None,
        path: object = "The labels",
        *,
        complete: bool = True,
    ) -> ComparisonCase:
        """Case of label maps, interpreted as by `fill`.

        Parameters
        ----------
        volume : Volume
        layers : sequence of LabelMap
            On the grid of the volume; overlapping segments are in different layers.
        axis : SliceAxis or Plane, optional
            Default: detected from the labels.
        labelled_slices : sequence of int, optional
            Default: the slices that hold a label of any layer.
        path : object
            Name of the labels in errors.
        complete : bool
            Whether a label that is not on a labelled slice is absent there; otherwise it may just not be painted.

        Raises
        ------
        InputError
            There is no labelled slice, slices of two axes are painted, or a slice does not exist.
        """
        labelled = layers_of_label_maps(layers, axis, labelled_slices, complete=complete, source=path)
        return cls.from_supports(
            volume, [layer.support for layer in labelled], [layers[layer.number] for layer in labelled]
        )

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
        """Whether each labelled slice holds any label."""
        return [
            any(bool(support.masks[support_index].any()) for support in self.supports)
            for support_index in range(len(self.indices))
        ]

    def names(self, layer: int, labels: Sequence[int]) -> dict[int, str]:
        """Names of some label values of a layer."""
        layer_segments = (structure.segment for structure in self.structures if structure.layer == layer)
        return {segment.value: segment.name for segment in layer_segments if segment.value in labels}

    @property
    def to_fill(self) -> int:
        """Number of unlabelled slices between the outermost labelled ones."""
        support = self.supports[0]
        return len(support.unlabelled(support.labelled_range()))


def support_subset(support: Support, support_indices: Sequence[int]) -> Support | None:
    """Support reduced to some labelled slices and the labels on them; None if they hold no label."""
    subset = support.subset(support_indices)
    positions = [position for position, value in enumerate(subset.labels) if (subset.masks == value).any()]
    if not positions:
        return None
    return replace(
        subset,
        labels=tuple(subset.labels[position] for position in positions),
        annotated=subset.annotated[:, positions],
    )
