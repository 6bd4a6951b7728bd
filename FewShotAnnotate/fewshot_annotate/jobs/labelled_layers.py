"""LabelledLayer: the labelled slices of a run, one layer for segments that do not overlap, from files or a scene."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..core.layers import group_disjoint, labelled_anywhere
from ..core.slice_axis import AxisChoice, SliceAxis
from ..core.support import Support
from ..core.volume import LabelMap, names_by_value


@dataclass(frozen=True)
class LabelledLayer:
    """Labelled slices of one layer; overlapping segments are in different layers.

    Attributes
    ----------
    number : int
        Position of the layer among those given.
    support : Support
        All layers have the same axis and labelled slices.
    names : mapping of int to str
        Name of the segment of each label value.
    """

    number: int
    support: Support
    names: Mapping[int, str]


def layers_of_label_maps(
    label_maps: Sequence[LabelMap],
    axis: AxisChoice | None = None,
    labelled_slices: Sequence[int] | None = None,
    *,
    complete: bool = True,
    source: object = "The labels",
) -> list[LabelledLayer]:
    """Labelled slices of the label maps that hold labels on them.

    Parameters
    ----------
    label_maps : sequence of LabelMap
        On one grid; overlapping segments are in different label maps.
    axis : SliceAxis or Plane, optional
        Detected from the labels of all label maps by default.
    labelled_slices : sequence of int, optional
        By default the slices that hold a label of any label map.
    complete : bool
        Whether a label that is not on a labelled slice is absent there; otherwise it may just not be painted there.
    source : object
        Name of the labels in errors.

    Raises
    ------
    InputError
        There is no labelled slice, slices of two axes are painted, or a slice does not exist.
    """
    labelled = labelled_anywhere(label_maps).view(np.uint8)
    union = Support.from_label_map(LabelMap(labelled, label_maps[0].geometry), axis, labelled_slices, path=source)
    labelled_layers = []
    for number, label_map in enumerate(label_maps):
        if union.axis.slices(label_map.array)[list(union.indices)].any():
            support = Support.from_label_map(label_map, union.axis, union.indices, path=source)
            if not complete:
                support = support.partial(union.empty)
            labelled_layers.append(LabelledLayer(number, support, names_by_value(label_map.segments)))
    return labelled_layers


def layers_of_segments(
    axis: SliceAxis,
    masks: Mapping[int, Mapping[str, np.ndarray]],
    names: Mapping[str, str],
    *,
    complete: bool = True,
    annotated: Collection[int] = (),
    source: object = "The labels",
) -> list[tuple[list[str], LabelledLayer]]:
    """Group segments into layers, as few as possible, so that the segments of a layer do not overlap.

    Parameters
    ----------
    axis : SliceAxis
    masks : mapping of int to mapping of str to bool ndarray [h, w]
        Pixels of the segments on each labelled slice, by slice index and segment id.
    names : mapping of str to str
        Segment names by id.
    complete : bool
        As in `layers_of_label_maps`.
    annotated : collection of int
        Labelled slices on which all segments are annotated, even if `complete` is false.
    source : object
        Name of the labels in errors.

    Returns
    -------
    list of (list of str, LabelledLayer)
        Ids of the segments of each layer, whose label values are 1, 2, ... in this order. Segments that are on no
        slice are left out.

    Raises
    ------
    InputError
        No segment is on any slice.
    """
    present = [name for name in names if any(name in by_name for by_name in masks.values())]
    if not present:
        raise InputError("no_labelled_slice", path=source)
    masks_by_label = [
        {index: by_name[name] for index, by_name in masks.items() if name in by_name} for name in present
    ]
    layers = []
    for number, members in enumerate(group_disjoint(masks_by_label)):
        support = _support_of_segments(axis, sorted(masks), [masks_by_label[member] for member in members])
        if not complete:
            is_complete = [not masks[index] or index in annotated for index in support.indices]
            support = support.partial(np.array(is_complete))
        ids = [present[member] for member in members]
        layers.append(
            (ids, LabelledLayer(number, support, {1 + n: names[segment_id] for n, segment_id in enumerate(ids)}))
        )
    return layers


def _support_of_segments(
    axis: SliceAxis, indices: Sequence[int], segments: Sequence[Mapping[int, np.ndarray]]
) -> Support:
    """Support with label values 1, 2, ... for the segments, at least one of which is on a slice."""
    shape = next(mask.shape for segment in segments for mask in segment.values())
    masks = np.zeros((len(indices), *shape), dtype=np.min_scalar_type(len(segments)))
    for labels, index in zip(masks, indices, strict=True):
        for value, segment in enumerate(segments, start=1):
            if index in segment:
                labels[segment[index]] = value
    labels = tuple(range(1, len(segments) + 1))
    return Support(axis, tuple(indices), masks, labels, np.ones((len(indices), len(labels)), dtype=bool))
