"""Small structures without contrast that the labelled slices show are filled, though the image does not show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.propagate.engine import Propagate

SLICES, SIDE, SPACING = 11, 32, 10
Path = Callable[[int], tuple[int, int]]


def columns(width: int, paths: Sequence[Path]) -> np.ndarray:
    """Labels of square columns, each with its own label, whose first row and column on slice k is `path(k)`."""
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    for label, path in enumerate(paths, start=1):
        for k in range(SLICES):
            row, column = path(k)
            labels[k, row : row + width, column : column + width] = label
    return labels


def filled(labels: np.ndarray, seed: int = 1, contrast: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence of all slices, in an image of noise, with every tenth slice labelled."""
    image = np.random.default_rng(seed).normal(0, 0.01, labels.shape).astype(np.float32)
    image[labels > 0] += contrast
    geometry = Geometry(labels.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), range(0, SLICES, SPACING))
    engine = Propagate()
    engine.prepare(Volume(image, geometry), support)
    found = [label_slice(values, support.labels) for _, values in sorted(engine.predict(range(SLICES)))]
    return np.stack([one for one, _ in found]), np.stack([one for _, one in found])


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & two) / (np.count_nonzero(one) + np.count_nonzero(two)))


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize(
    "path",
    [
        lambda k: (10, 12),
        lambda k: (5 + k, 12),
        lambda k: (0, 0),
        lambda k: (0, 12),
        lambda k: (SIDE - 3, SIDE - 3),
        lambda k: (1, k),
    ],
    ids=["straight", "slanted", "corner", "edge", "near a corner", "along an edge"],
)
def test_a_thin_column_is_kept(width: int, path: Path) -> None:
    labels = columns(width, [path])
    found, _ = filled(labels)
    for k in range(SLICES):
        assert found[k].any(), f"nothing on slice {k}"
        assert np.count_nonzero(found[k]) <= 2 * np.count_nonzero(labels[k]), f"too much on slice {k}"
    assert dice(found > 0, labels > 0) > 0.85


@pytest.mark.parametrize("width", [1, 3])
def test_columns_side_by_side_keep_their_labels(width: int) -> None:
    labels = columns(width, [lambda k: (10, 10), lambda k: (10, 10 + width), lambda k: (20, 5)])
    found, _ = filled(labels)
    for label in (1, 2, 3):
        assert dice(found == label, labels == label) > 0.85


def test_a_small_structure_with_contrast_follows_the_image() -> None:
    labels = columns(3, [lambda k: (12 + round(4 * np.sin(np.pi * k / 10)), 12)])
    straight = columns(3, [lambda k: (12, 12)])
    found, _ = filled(labels, contrast=0.3)
    assert dice(found > 0, labels > 0) > dice(straight > 0, labels > 0) + 0.2


def test_confidence_is_low_where_no_image_confirms_a_structure() -> None:
    labels = columns(2, [lambda k: (0, 0)])
    found, confidence = filled(labels)
    wrong = (found != labels) & (labels > 0)
    assert confidence[1:-1][found[1:-1] > 0].max() < 0.8
    assert not wrong.any() or confidence[wrong].max() < 0.8


def test_pixels_around_a_structure_on_one_side_of_a_gap_are_uncertain() -> None:
    labels = columns(2, [lambda k: (10, 10)])
    labels[-1] = 0
    found, confidence = filled(labels)
    beside = confidence[1][10:12, 10:12]
    assert (found[1, 10:12, 10:12] > 0).any() or beside.max() < 0.8
