"""Real labelled volumes prepared for tests: cropped, tilted, in layers, and reduced to a few labelled slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume

from support.data import MNI152, VERTEBRAE, load_case

# 30 degrees about x, then 20 degrees about z: no axis is a patient axis.
OBLIQUE = (
    0.939692620785908,
    -0.296198132726024,
    0.171010071662834,
    0.342020143325669,
    0.813797681349374,
    -0.469846310392954,
    0.0,
    0.5,
    0.866025403784439,
)
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


def small_case() -> tuple[Volume, LabelMap]:
    """A real volume of 35x52x34 voxels with two labels that touch."""
    return load_case(VERTEBRAE)


def long_case() -> tuple[Volume, LabelMap]:
    """A narrow column of a real volume with one label: many slices, each filled quickly, for runs to be stopped."""
    volume, label_map = load_case(MNI152)
    slices = slice(60, 130)
    mask = label_map.array[slices] == label_map.values[-1]
    row, column = (int(np.median(np.flatnonzero(mask.any(axis=other)))) for other in ((0, 2), (0, 1)))
    window = (slice(None), slice(max(0, row - 20), row + 20), slice(max(0, column - 20), column + 20))
    image = np.ascontiguousarray(volume.array[slices][window])
    grid = Geometry(image.shape, volume.geometry.spacing)
    return Volume(image, grid), LabelMap(np.ascontiguousarray(mask[window]).astype(np.uint8), grid)


def keep_slices(label_map: LabelMap, axis: SliceAxis, indices: Sequence[int]) -> LabelMap:
    """The label map as if only these slices had been painted."""
    array = np.zeros_like(label_map.array)
    axis.slices(array)[list(indices)] = axis.slices(label_map.array)[list(indices)]
    return label_map.with_array(array)


def every_nth(label_map: LabelMap, axis: SliceAxis, step: int) -> list[int]:
    """Every `step`-th of the slices with labels, starting half a step inside; at least one."""
    labelled = labelled_indices(label_map.array, axis)
    return labelled[step // 2 :: step] or [labelled[len(labelled) // 2]]


def oblique(volume: Volume, label_map: LabelMap) -> tuple[Volume, LabelMap]:
    """The same voxels on a tilted and anisotropic grid."""
    geometry = Geometry(volume.geometry.shape, (0.7, 1.3, 2.9), (-17.25, 33.1, -204.7), OBLIQUE)
    return Volume(volume.array, geometry), LabelMap(label_map.array, geometry, label_map.segments)


def overlapping_layers(label_map: LabelMap, count: int) -> list[LabelMap]:
    """Layers that overlap each other: the label map's foreground, each time moved by two voxels along i."""
    layers = []
    for number in range(count):
        array = (np.roll(label_map.array, 2 * number, axis=2) != 0).astype(np.uint8)
        segments = [
            Segment(
                value=1,
                name=f"Étage {number}",
                colour=(0.25, 0.5, number / 8),
                tags={"TerminologyEntry": TERMINOLOGY},
                segment_id=f"id{number}",
            )
        ]
        if number == 0:  # two segments that share a layer
            array[: array.shape[0] // 2][array[: array.shape[0] // 2] != 0] = 2
            segments.append(
                Segment(
                    value=2,
                    name="lower half",
                    colour=(1.0, 0.0, 0.5),
                    tags={"Segmentation.Status": "inprogress"},
                    segment_id="lower",
                )
            )
        layers.append(LabelMap(array, label_map.geometry, tuple(segments)))
    return layers
