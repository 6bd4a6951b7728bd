"""Optical flow of small synthetic images whose displacement is known."""

from __future__ import annotations

import numpy as np
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
