"""Region growing: labels follow the intensities; where these are constant, the nearest seed decides."""

import numpy as np
from fewshot_annotate.engines.propagate.region_growing import grow, soften


def test_a_label_fills_what_is_as_bright_as_its_seeds() -> None:
    bright = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=np.float32)
    images = bright[:, None, None, :]  # [slices, channels, rows, columns]
    seeds = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=np.uint8)[:, None, :]
    assert grow(images, seeds, [0])[1].tolist() == [[1, 1, 1, 1, 0]]


def test_the_differences_of_all_channels_count() -> None:
    constant, bright = np.zeros((2, 5)), [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    images = np.stack([constant, bright], axis=1)[:, :, None, :].astype(np.float32)
    seeds = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=np.uint8)[:, None, :]
    assert grow(images[:, :1], seeds, [0])[1].tolist() == [[1, 1, 0, 0, 0]]
    assert grow(images, seeds, [0])[1].tolist() == [[1, 1, 1, 1, 0]]


def test_in_a_constant_image_each_slice_has_the_label_of_the_nearest_seeded_slice() -> None:
    seeds = np.zeros((4, 2, 2), dtype=np.uint8)
    seeds[0] = 1
    grown = grow(np.zeros((4, 1, 2, 2), dtype=np.float32), seeds, [0, 3])
    assert grown[:, 0, 0].tolist() == [1, 1, 0, 0]


def test_grown_labels_are_uncertain_only_at_their_borders() -> None:
    mask = np.zeros((9, 20), dtype=np.uint8)
    mask[:, :10] = 7
    background, label = soften(mask, [7])
    np.testing.assert_allclose(background + label, 1, rtol=1e-6)
    assert label[4, 0] == 1
    assert label[4, -1] == 0
    assert 0.5 < label[4, 9] < 1
