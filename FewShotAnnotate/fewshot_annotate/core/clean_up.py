"""Clean-up of filled labels on request: smoothing, removal of islands, filling of holes. Painted slices stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .bounding_box import bounding_box
from .errors import InputError
from .slice_axis import SliceAxis
from .support import Support
from .volume import LabelMap, Segment

# The margin around a label in which smoothing is calculated, in standard deviations.
_MARGIN_SIGMAS = 4


@dataclass(frozen=True)
class CleanUp:
    """What is done to a label, in this order.

    Attributes
    ----------
    smooth_mm : float or None
        Standard deviation in mm of the Gaussian that smooths the surface; 0 stands for the smallest voxel spacing.
    largest_component : bool
        Remove what is connected neither to the largest component nor to a painted slice.
    fill_holes : bool
        Fill background that the label encloses in 3D, except holes that reach a painted slice.
    """

    smooth_mm: float | None = None
    largest_component: bool = False
    fill_holes: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data for records."""
        return {"smooth": self.smooth_mm, "largest": self.largest_component, "holes": self.fill_holes}


@dataclass(frozen=True)
class CleanUpRule:
    """A clean-up of one label, by name or value, or of all labels (empty string)."""

    label: str
    clean_up: CleanUp


def clean_ups_by_value(rules: Sequence[CleanUpRule], segments: Iterable[Segment]) -> dict[int, CleanUp]:
    """Clean-up of each label value; a rule for one label overrides a rule for all.

    Raises
    ------
    InputError
        A rule names a label that no segment has.
    """
    candidates = list(segments)
    clean_ups = {segment.value: rule.clean_up for rule in rules if not rule.label for segment in candidates}
    for rule in rules:
        named = [segment for segment in candidates if _names(rule, segment)]
        if rule.label and not named:
            raise InputError("clean_up_label", label=rule.label, known=", ".join(other.name for other in candidates))
        clean_ups |= {segment.value: rule.clean_up for segment in named}
    return clean_ups


def _names(rule: CleanUpRule, segment: Segment) -> bool:
    return rule.label in (segment.name, str(segment.value))


def clean_up_labels(
    label_map: LabelMap,
    clean_ups: Mapping[int, CleanUp],
    axis: SliceAxis,
    labelled: Sequence[int],
    filled: Sequence[int],
) -> LabelMap:
    """Clean up labels, one after the other. Only filled slices change, and no voxel of another label does.

    Parameters
    ----------
    label_map : LabelMap
    clean_ups : mapping of int to CleanUp
        By label value.
    axis : SliceAxis
    labelled, filled : sequence of int
        Slices along the axis.
    """
    array = label_map.array.copy()
    slices = axis.slices(array)[min((*labelled, *filled)) : max((*labelled, *filled)) + 1]
    fixed = np.ones(axis.count(label_map.geometry), dtype=bool)
    fixed[list(filled)] = False
    fixed[list(labelled)] = True
    fixed = fixed[min((*labelled, *filled)) :][: len(slices), None, None]
    spacing = np.array(axis.spacing(label_map.geometry))
    for value, clean_up in clean_ups.items():
        if (slices == value).any():
            _clean_up_label(slices, value, clean_up, np.broadcast_to(fixed, slices.shape), spacing)
    return replace(label_map, array=array)


def clean_up_layers(
    layers: Sequence[LabelMap],
    confidence: np.ndarray,
    rules: Sequence[CleanUpRule],
    support: Support,
    filled: Sequence[int],
) -> tuple[list[LabelMap], np.ndarray]:
    """Clean up filled layers by rules; returns them with the confidence of their voxels, each float32 `[k, j, i]`.

    Raises
    ------
    InputError
        As `clean_ups_by_value`.
    """
    if not rules:
        return list(layers), confidence
    clean_ups_by_value(rules, [segment for layer in layers for segment in layer.segments])
    cleaned = []
    for layer in layers:
        layer_rules = [
            rule for rule in rules if not rule.label or any(_names(rule, segment) for segment in layer.segments)
        ]
        clean_ups = clean_ups_by_value(layer_rules, layer.segments)
        cleaned.append(clean_up_labels(layer, clean_ups, support.axis, support.indices, filled))
        confidence = confidence_after(confidence, layer, cleaned[-1])
    return cleaned, confidence


def confidence_after(confidence: np.ndarray, before: LabelMap, after: LabelMap) -> np.ndarray:
    """Confidence `[k, j, i]` of cleaned labels.

    Where a voxel changed, it is the probability that the engine gave to all labels but the one it chose.
    """
    return np.where(before.array == after.array, confidence, 1 - confidence).astype(confidence.dtype, copy=False)


def _clean_up_label(
    slices: np.ndarray, value: int, clean_up: CleanUp, fixed: np.ndarray, spacing: np.ndarray
) -> None:
    """Clean up one label of slices [n, h, w] in place, where they are not fixed."""
    sigma = np.zeros(3) if clean_up.smooth_mm is None else (clean_up.smooth_mm or spacing.min()) / spacing
    box = bounding_box(slices == value, (np.ceil(_MARGIN_SIGMAS * sigma).astype(int) + 1).tolist())
    assert box is not None
    crop, fixed = slices[box], fixed[box]
    mask = crop == value
    if clean_up.smooth_mm is not None:
        mask = np.where(fixed, mask, _smoothed(crop, value, sigma))
    if clean_up.largest_component:
        mask = _without_islands(mask, fixed)
    if clean_up.fill_holes:
        mask = mask | _holes(mask, fixed)
    crop[(crop == value) & ~mask & ~fixed] = 0
    crop[(crop == 0) & mask & ~fixed] = value


def _smoothed(labels: np.ndarray, value: int, sigma: np.ndarray) -> np.ndarray:
    """Where the smoothed mask of a label is at least 0.5; no gap opens where two labels touch."""
    from scipy import ndimage

    def smooth(mask: np.ndarray) -> np.ndarray:
        smoothed: np.ndarray = ndimage.gaussian_filter(
            mask.astype(np.float32), sigma, mode="nearest", truncate=_MARGIN_SIGMAS
        )
        return smoothed >= 0.5

    mask = labels == value
    return np.asarray(smooth(mask) | (mask & ~smooth(labels == 0)))


def _without_islands(mask: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The largest component by voxels (26 neighbours), and those that reach a fixed slice."""
    from scipy import ndimage

    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return mask
    sizes = np.bincount(components.ravel())
    kept = np.zeros(count + 1, dtype=bool)
    kept[1 + int(sizes[1:].argmax())] = True
    kept[np.unique(components[mask & fixed])] = True
    kept[0] = False
    return np.asarray(kept[components])


def _holes(mask: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Background (6 neighbours) that reaches neither the border nor a fixed slice."""
    from scipy import ndimage

    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    filled = np.ones(count + 1, dtype=bool)
    filled[np.unique(holes[fixed])] = False
    filled[0] = False
    return np.asarray(filled[holes])
