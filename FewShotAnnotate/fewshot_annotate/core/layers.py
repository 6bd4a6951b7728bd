"""Merging of layers that do not overlap into one label map for a fill, and restoring them afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .sparse_array import sparse_zeros
from .volume import LabelMap, Segment


@dataclass(frozen=True)
class MergedLayers:
    """Layers merged into few label maps in which no labels overlap.

    Attributes
    ----------
    layers : list of LabelMap
        Each holds one or more of the original layers; label values used twice are renumbered.
    original : tuple of LabelMap
    placements : tuple of (int, dict of int to int)
        For each original layer, the index of its merged label map, and its new label value by old one.
    """

    layers: list[LabelMap]
    original: tuple[LabelMap, ...]
    placements: tuple[tuple[int, dict[int, int]], ...]

    def restore(self, layers: Sequence[LabelMap]) -> list[LabelMap]:
        """Split merged layers, with new voxels, into layers with the original values, names and order."""
        restored = []
        for layer, (number, values) in zip(self.original, self.placements, strict=True):
            if layers[number].values == layer.values and all(old == new for old, new in values.items()):
                restored.append(layer.with_array(layers[number].array))
                continue
            array = sparse_zeros(layer.array.shape, layer.array.dtype)
            for value, merged in values.items():
                array[layers[number].array == merged] = value
            restored.append(layer.with_array(array))
        return restored


def merge_disjoint(layers: Sequence[LabelMap]) -> MergedLayers:
    """Merge layers: each goes into the first label map in which it overlaps nothing.

    A segment keeps its label value unless that is used already. All layers must be on one grid.
    """
    groups = group_disjoint([_packed_slices(layer.array) for layer in layers])
    placements: dict[int, tuple[int, dict[int, int]]] = {}
    merged = []
    for number, members in enumerate(groups):
        label_map, values = _merge([layers[member] for member in members])
        merged.append(label_map)
        placements.update({member: (number, value) for member, value in zip(members, values, strict=True)})
    return MergedLayers(merged, tuple(layers), tuple(placements[number] for number in range(len(layers))))


def group_disjoint(masks: Sequence[Mapping[int, np.ndarray]]) -> list[list[int]]:
    """Group masks that do not overlap: each goes into the first group in which it overlaps nothing.

    Parameters
    ----------
    masks : sequence of mapping of int to bool ndarray, shape [h, w]
        Slices of each mask by index; those left out are empty. They may be packed bits, uint8.

    Returns
    -------
    list of list of int
        Positions of the masks of each group.
    """
    groups: list[tuple[dict[int, np.ndarray], list[int]]] = []
    for number, slices in enumerate(masks):
        for occupied, members in groups:
            if not any((mask & occupied[index]).any() for index, mask in slices.items() if index in occupied):
                occupied.update(
                    {index: mask | occupied[index] if index in occupied else mask for index, mask in slices.items()}
                )
                members.append(number)
                break
        else:
            groups.append((dict(slices), [number]))
    return [members for _, members in groups]


def labelled_anywhere(layers: Sequence[LabelMap]) -> np.ndarray:
    """Voxels that any layer labels, bool [k, j, i]."""
    labelled = np.zeros(layers[0].array.shape, dtype=bool)
    for layer in layers:
        labelled |= layer.array != 0
    return labelled


def overlap(layers: Sequence[LabelMap]) -> bool:
    """Whether two layers label the same voxel."""
    for label_slices in zip(*(layer.array for layer in layers), strict=True):
        occupied = np.zeros(label_slices[0].shape, dtype=bool)
        for label_slice in label_slices:
            if label_slice.any():
                labelled = label_slice != 0
                if (occupied & labelled).any():
                    return True
                occupied |= labelled
    return False


def _packed_slices(array: np.ndarray) -> dict[int, np.ndarray]:
    """Bits of the labelled voxels of each slice that has any."""
    return {k: np.packbits(label_slice != 0) for k, label_slice in enumerate(array) if label_slice.any()}


def _merge(layers: Sequence[LabelMap]) -> tuple[LabelMap, list[dict[int, int]]]:
    """One label map of layers that do not overlap, and the new label value by old one for each layer."""
    all_values = [value for layer in layers for value in layer.values]
    free = iter(sorted(set(range(1, len(all_values) + max(all_values, default=0) + 1)) - set(all_values)))
    used: set[int] = set()
    values: list[dict[int, int]] = []
    segments: list[Segment] = []
    for layer in layers:
        new_values = {}
        for segment in layer.segments:
            new_values[segment.value] = next(free) if segment.value in used else segment.value
            used.add(new_values[segment.value])
            segments.append(replace(segment, value=new_values[segment.value]))
        values.append(new_values)
    if len(layers) == 1:
        return layers[0], values
    dtype = np.min_scalar_type(max(used, default=0))
    array = sparse_zeros(layers[0].array.shape, dtype)
    for layer, new_values in zip(layers, values, strict=True):
        for value, merged in new_values.items():
            array[layer.array == value] = merged
    return LabelMap(array, layers[0].geometry, tuple(segments)), values
