"""Intensity ranges: which intensities become 0 and 1."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.intensity import IntensityRange, intensity_quantiles, subsample


def test_the_range_excludes_the_most_extreme_voxels() -> None:
    array = np.arange(1000).reshape(10, 10, 10)
    intensities = IntensityRange.of_volume(array)
    assert (intensities.low, intensities.high) == (pytest.approx(4.995), pytest.approx(994.005))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.float64])
def test_intensities_inside_the_range_are_scaled_and_those_outside_clipped(dtype: str) -> None:
    image = np.array([[0, 10], [20, 40]], dtype=dtype)
    scaled = IntensityRange(10, 30).normalise(image)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, [[0, 0], [0.5, 1]])
    np.testing.assert_array_equal(image, [[0, 10], [20, 40]])


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-3.4e38, 3.4e38, np.float32),  # the width is beyond float32
        (-1e300, 1e300, np.float64),
        (0.0, 1e-300, np.float64),
        (1e9, 1e9 + 8, np.float64),
        (2**63, 2**63 + 2**20, np.uint64),
    ],
)
def test_ranges_that_float32_cannot_resolve_are_scaled_too(low: float, high: float, dtype: type) -> None:
    array = np.linspace(0, 1, 1000).reshape(10, 10, 10)
    values = (np.array(low, dtype) + (array * (high - low)).astype(dtype)) if low > 0 else low + array * (high - low)
    scaled = IntensityRange(low, high).normalise(values.astype(dtype))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, array, atol=0.01)


def test_a_constant_volume_of_large_intensities_becomes_zero() -> None:
    array = np.full((4, 4, 4), 1e20)
    np.testing.assert_array_equal(IntensityRange.of_volume(array).normalise(array), 0)


def test_a_few_bright_voxels_in_a_constant_volume_determine_its_range() -> None:
    array = np.zeros((10, 10, 10))
    array[5, 5, 5] = 7
    assert IntensityRange.of_volume(array) == IntensityRange(0, 7)


@pytest.mark.parametrize("value", [0, -3, 65535])
def test_a_constant_volume_has_a_range_of_width_one(value: int) -> None:
    array = np.full((4, 4, 4), value)
    expected = IntensityRange(value, value + 1)
    assert IntensityRange.of_volume(array) == expected
    assert IntensityRange.of_quantiles(intensity_quantiles(array, 1000)) == expected


def test_the_range_of_a_volume_is_given_by_its_quantiles() -> None:
    array = np.random.default_rng(0).normal(size=(20, 20, 20))
    intensities = IntensityRange.of_volume(array)
    from_quantiles = IntensityRange.of_quantiles(intensity_quantiles(array, 10**6))
    assert (from_quantiles.low, from_quantiles.high) == (
        pytest.approx(intensities.low),
        pytest.approx(intensities.high),
    )


def test_a_sample_has_about_the_requested_number_of_voxels() -> None:
    array = np.zeros((100, 100, 100))
    assert 0.5 < subsample(array, 8000).size / 8000 < 2
    assert subsample(array, 10**9).shape == array.shape
