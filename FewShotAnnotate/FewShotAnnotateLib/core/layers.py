"""Layers that do not overlap, merged into one label map for a fill, and taken apart again afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .volume import LabelMap, Segment


@dataclass(frozen=True)
class MergedLayers:
    """Layers in as few label maps as keep labels from overlapping.

    Attributes
    ----------
    layers : list of LabelMap
        Each holds one or more of the original layers, whose values are other ones where they repeat.
    original : tuple of LabelMap
    places : tuple of (int, dict of int to int)
        For each original layer, the merged one that holds it, and its value there for each own value.
    """

    layers: list[LabelMap]
    original: tuple[LabelMap, ...]
    places: tuple[tuple[int, dict[int, int]], ...]

    def restore(self, layers: Sequence[LabelMap]) -> list[LabelMap]:
        """The original layers, with their values, names and order, from `layers` with other voxels."""
        restored = []
        for layer, (number, values) in zip(self.original, self.places, strict=True):
            array = np.zeros_like(layer.array)
            for value, merged in values.items():
                array[layers[number].array == merged] = value
            restored.append(layer.with_array(array))
        return restored


def merge_disjoint(layers: Sequence[LabelMap]) -> MergedLayers:
    """Merge layers that label no voxel twice: each goes into the first label map in which it overlaps none.

    A segment keeps its value where that is free. All layers must have one grid.
    """
    groups: list[tuple[np.ndarray, list[int]]] = []
    for number, layer in enumerate(layers):
        labelled = layer.array != 0
        for taken, members in groups:
            if not (taken & labelled).any():
                np.logical_or(taken, labelled, out=taken)
                members.append(number)
                break
        else:
            groups.append((labelled, [number]))
    places: dict[int, tuple[int, dict[int, int]]] = {}
    merged = []
    for number, (_, members) in enumerate(groups):
        label_map, values = _merge([layers[member] for member in members])
        merged.append(label_map)
        places.update({member: (number, own) for member, own in zip(members, values, strict=True)})
    return MergedLayers(merged, tuple(layers), tuple(places[number] for number in range(len(layers))))


def _merge(layers: Sequence[LabelMap]) -> tuple[LabelMap, list[dict[int, int]]]:
    """One label map of layers that do not overlap, and for each layer its values there by its own ones."""
    wanted = [value for layer in layers for value in layer.values]
    free = iter(sorted(set(range(1, len(wanted) + max(wanted, default=0) + 1)) - set(wanted)))
    taken: set[int] = set()
    values: list[dict[int, int]] = []
    segments: list[Segment] = []
    for layer in layers:
        own = {}
        for segment in layer.segments:
            own[segment.value] = next(free) if segment.value in taken else segment.value
            taken.add(own[segment.value])
            segments.append(replace(segment, value=own[segment.value]))
        values.append(own)
    kind = np.uint8 if max(taken, default=0) <= np.iinfo(np.uint8).max else np.uint16
    array = np.zeros(layers[0].array.shape, dtype=kind)
    for layer, own in zip(layers, values, strict=True):
        for value, merged in own.items():
            array[layer.array == value] = merged
    return LabelMap(array, layers[0].geometry, tuple(segments)), values
