"""Optical flow of small synthetic images whose displacement is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from fewshot_annotate.engines.gaussian import smooth
from fewshot_annotate.engines.propagate.composed_flow import composed_fields
from fewshot_annotate.engines.propagate.optical_flow import compose, enlarge, flow, pyramid, warp


def blob(row: float, column: float) -> np.ndarray:
    """A smooth bright blob, float32 [48, 48]."""
    rows, columns = np.indices((48, 48))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 72).astype(np.float32)


def constant(rows: float, columns: float, side: int = 8) -> np.ndarray:
    """A field with the same displacement everywhere."""
    return np.broadcast_to(np.array([rows, columns], np.float32)[:, None, None], (2, side, side)).copy()


def test_the_flow_of_a_shifted_blob_is_its_shift() -> None:
    reference, moving = blob(24, 24), blob(26, 23)
    field = flow(pyramid(reference[None]), pyramid(moving[None]), regularisation=1e-5)
    np.testing.assert_allclose(field[:, reference > 0.3].mean(axis=1), (2, -1), atol=0.1)
    np.testing.assert_allclose(warp(moving, field), reference, atol=0.05)


def test_composed_displacements_are_added() -> None:
    np.testing.assert_allclose(compose(constant(1, 2), constant(0.5, -3)), constant(1.5, -1))


def test_displacements_grow_with_an_enlarged_field() -> None:
    np.testing.assert_allclose(
        enlarge(constant(1, -2), (16, 24)), np.stack([np.full((16, 24), 2), np.full((16, 24), -6)])
    )


def test_flow_over_several_slices_is_composed_of_that_between_adjacent_ones() -> None:
    images = {index: blob(24 + index, 24 - index)[None] for index in range(4)}
    fields = composed_fields(images.__getitem__, 0, [2, 3], regularisation=lambda index, adjacent: 1e-5)
    assert sorted(fields) == [2, 3]
    for index, field in fields.items():
        np.testing.assert_allclose(field[:, images[index][0] > 0.5].mean(axis=1), (-index, index), atol=0.2)


def test_an_image_is_interpolated_between_its_pixels_and_extended_beyond_them() -> None:
    image = np.array([[0, 1, 4], [2, 3, 8]], np.float32)
    field = np.array([[[0, 0.5, 0], [0, 9, -9]], [[0, 0, -0.25], [0.5, 0, 9]]], np.float32)
    np.testing.assert_allclose(warp(image, field), [[0, 2, 3.25], [2.5, 3, 4]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2), (31, 18), (64, 65)])
def test_interpolation_equals_that_of_scipy(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.random(shape, np.float32)
    field = rng.normal(0, 4, (2, *shape)).astype(np.float32)
    expected = scipy.ndimage.map_coordinates(image, np.indices(shape) + field, order=1, mode="nearest")
    np.testing.assert_allclose(warp(image, field), expected, atol=1e-5)
    larger = (2 * shape[0] - shape[0] % 2, 2 * shape[1] - shape[1] % 2)
    factors = np.divide(larger, shape)
    expected = np.stack(
        [
            factor * scipy.ndimage.zoom(component, factors, order=1, mode="nearest", grid_mode=True)
            for component, factor in zip(field, factors, strict=True)
        ]
    )
    np.testing.assert_allclose(enlarge(field, larger), expected, atol=1e-4)


def test_a_bright_pixel_is_spread_over_its_neighbours_and_the_border_is_extended() -> None:
    image = np.zeros((1, 1, 9), np.float32)
    image[0, 0, 0] = 1
    weights = np.exp([0, -0.5, -2, -4.5])
    weights /= weights[0] + 2 * weights[1:].sum()
    expected = [weights.sum(), weights[1:].sum(), weights[2:].sum(), weights[3], 0, 0, 0, 0, 0]
    np.testing.assert_allclose(smooth(image, 1.0)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1, 40), (33, 1), (2, 3, 31, 65), (231, 250)])
@pytest.mark.parametrize("sigma", [(0.8, 0.8), (2.0, 2.0), (30.0, 30.0), (3.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_gaussian_smoothing_equals_that_of_scipy(shape: tuple[int, ...], sigma: tuple[float, float]) -> None:
    images = np.random.default_rng(0).random(shape, np.float32)
    deviations = (*[0.0] * (len(shape) - 2), *sigma)
    expected = scipy.ndimage.gaussian_filter(images, deviations, mode="nearest", truncate=2.5)
    np.testing.assert_allclose(smooth(images, sigma), expected, atol=1e-5)
