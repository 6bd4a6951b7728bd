"""Resampling of labels: each voxel gets the most probable label at its centre."""

import numpy as np
from fewshot_annotate.core.resampling import count_outside, resample
from fewshot_annotate.core.volume import Geometry, LabelMap


def row_of_voxels(labels: list[int], spacing: float, origin: float) -> LabelMap:
    """A label map of a single row along the first ITK axis."""
    geometry = Geometry((1, 1, len(labels)), spacing=(spacing, 1, 1), origin=(origin, 0, 0))
    return LabelMap(np.array([[labels]], dtype=np.uint8), geometry)


def test_voxels_half_as_large_are_twice_as_many_at_the_same_place() -> None:
    fine = row_of_voxels([0] * 8, spacing=1, origin=-0.5).geometry
    assert resample(row_of_voxels([0, 1, 1, 0], spacing=2, origin=0), fine).array.ravel().tolist() == [
        *[0, 0],
        *[1, 1, 1, 1],
        *[0, 0],
    ]


def test_between_two_labels_the_more_probable_one_is_taken() -> None:
    shifted = row_of_voxels([0] * 3, spacing=1, origin=0.25).geometry
    assert resample(row_of_voxels([1, 2, 2], spacing=1, origin=0), shifted).array.ravel().tolist() == [1, 2, 2]


def test_labelled_voxels_outside_of_a_grid_are_counted() -> None:
    grid = row_of_voxels([0, 0], spacing=1, origin=0).geometry
    assert count_outside(row_of_voxels([1, 0, 1, 1], spacing=1, origin=0), grid) == 2
