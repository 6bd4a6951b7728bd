"""Structures on both labelled slices of a gap are kept between them, even if the images do not show them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import Engine, label_slice
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.propagate.shape_interpolation import interpolate, structures
from fewshot_annotate.engines.propagate.structure_contrast import has_contrast
from fewshot_annotate.engines.propagate.structure_keeping import Gap
from scipy import ndimage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
SLICES, SIDE = 21, 40


def column(width: int, slope: int = 0, row: int = 12, label: int = 1) -> np.ndarray:
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    for index in range(SLICES):
        start = 8 + slope * index
        labels[index, row : row + width, start : start + width] = label
    return labels


def tube(outer: float, thickness: float) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE)) - SIDE // 2
    distance = np.hypot(rows, columns)
    ring = (distance <= outer) & (distance > outer - thickness)
    return np.repeat(ring[None].astype(np.uint8), SLICES, axis=0)


def sheet(width: int) -> np.ndarray:
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    labels[:, 8:32, 15 : 15 + width] = 1
    return labels


KINDS: dict[str, Callable[[], np.ndarray]] = {
    "column of 1 pixel": lambda: column(1),
    "column of 2 pixels": lambda: column(2),
    "column of 3 pixels": lambda: column(3),
    "slanted column of 1 pixel": lambda: column(1, slope=1),
    "slanted column of 3 pixels": lambda: column(3, slope=1),
    "tube of 1 pixel": lambda: tube(8, 1),
    "tube of 2 pixels": lambda: tube(8, 2),
    "sheet of 1 pixel": lambda: sheet(1),
    "column beside a disc of the same label": lambda: np.maximum(tube(6, 7), column(1, row=3)),
    "three labels": lambda: column(1, row=4) + column(2, row=16, label=2) + column(3, row=28, label=3),
}


def recall_and_precision(
    engine: Engine, labels: np.ndarray, contrast: float, spacing: int, axis: int = 0, thickness: float = 1.0
) -> dict[int, tuple[float, float]]:
    """Recall and precision of each label between every n-th slice, in noise of standard deviation 1."""
    image = np.random.default_rng(0).normal(0, 1, labels.shape) + contrast * (labels > 0)
    slice_axis = SliceAxis(axis)
    array = np.ascontiguousarray(slice_axis.restore(labels))
    spacings = [1.0, 1.0, 1.0]
    spacings[2 - axis] = thickness
    geometry = Geometry(array.shape, spacing=tuple(spacings))
    support = Support.from_label_map(LabelMap(array, geometry), slice_axis, range(0, SLICES, spacing))
    engine.prepare(Volume(np.ascontiguousarray(slice_axis.restore(image.astype(np.float32))), geometry), support)
    query = support.unlabelled(support.labelled_range())
    found = {index: label_slice(probabilities, support.labels)[0] for index, probabilities in engine.predict(query)}
    filled, truth = np.stack([found[index] for index in query]), labels[query]
    hits = {label: np.sum((filled == label) & (truth == label)) for label in support.labels}
    return {
        label: (float(hit / np.sum(truth == label)), float(hit / max(1, np.sum(filled == label))))
        for label, hit in hits.items()
    }


@pytest.mark.parametrize(("contrast", "spacing"), [(0, 10), (6, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_propagate_keeps_small_structures(kind: str, contrast: float, spacing: int) -> None:
    found = recall_and_precision(Propagate(), KINDS[kind](), contrast, spacing)
    # A disc is no small structure: its outline follows the images, which are noise alone where the contrast is 0.
    minimum = 0.6 if "disc" in kind else 0.85
    assert min(recall for recall, _ in found.values()) > minimum
    assert min(precision for _, precision in found.values()) > minimum


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("thickness", [1.0, 5.0])
def test_propagate_keeps_small_structures_along_other_axes_and_in_thick_slices(axis: int, thickness: float) -> None:
    ((recall, precision),) = recall_and_precision(Propagate(), column(1, slope=1), 0, 5, axis, thickness).values()
    assert recall == precision == 1


@pytest.mark.parametrize("kind", ["column of 1 pixel", "slanted column of 1 pixel", "tube of 1 pixel"])
def test_adapt_keeps_small_structures(kind: str) -> None:
    ((recall, precision),) = recall_and_precision(Adapt(options={"steps": 5}), KINDS[kind](), 0, 5).values()
    assert min(recall, precision) > 0.85


def test_structures_that_no_image_confirms_are_uncertain() -> None:
    labels = column(1)
    geometry = Geometry(labels.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), range(0, SLICES, 5))
    image = np.random.default_rng(0).normal(0, 1, labels.shape).astype(np.float32)
    engine = Propagate()
    engine.prepare(Volume(image, geometry), support)
    for index, probabilities in engine.predict([1, 2, 3]):
        filled, confidence = label_slice(probabilities, support.labels)
        np.testing.assert_array_equal(filled, labels[index])
        assert confidence[filled > 0].max() < 0.85
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_parallel_slanted_columns_are_matched_in_order() -> None:
    before, after = np.zeros((2, 30, 60), np.uint8)
    before[10, [10, 20, 30]] = 1
    after[10, [16, 26, 36]] = 1
    matched = structures(before, after, (1,), 20)
    assert [structure.shift for structure in matched] == [(0, 6)] * 3
    for structure in matched:
        found = interpolate(structure, 0.5, before.shape) or pytest.fail("no pixel is left")
        row, col = np.argwhere(found.distance > 0)[0]
        assert (row + found.box[0].start, col + found.box[1].start) in [(10, 13), (10, 23), (10, 33)]


def test_a_structure_on_one_side_of_a_gap_shrinks_to_its_middle_and_becomes_uncertain() -> None:
    before, after = np.zeros((2, 30, 30), np.uint8)
    before[10:20, 10:20] = 1
    (structure,) = structures(before, after, (1,), 20)
    found = [
        interpolate(structure, fraction, before.shape) or pytest.fail("no pixel is left")
        for fraction in (0, 0.2, 0.4, 0.6)
    ]
    areas = [int((shape.distance > 0).sum()) for shape in found]
    assert areas[0] == 100 > areas[1] > areas[2] > areas[3] == 0
    # Further from the labelled slice, inside and outside are both less certain.
    assert -3 < found[3].distance.max() < 0
    assert found[0].outside < found[1].outside < found[3].outside < -5


def gap_of(before: np.ndarray, after: np.ndarray) -> Gap:
    """A gap between slices that are ten apart, in images without contrast."""
    constant = np.zeros((1, *before.shape), np.float32)
    return Gap((0, 10), (before, after), {1: 1}, SliceAxis(0), Geometry((11, *before.shape)), (constant, constant))


def test_a_stray_pixel_does_not_make_its_label_likely_far_away() -> None:
    before, after = np.zeros((2, 60, 60), np.uint8)
    before[20:40, 20:40] = after[20:40, 20:40] = 1
    before[5, 5] = 1
    gap = gap_of(before, after)
    far = np.full((60, 60), True)
    far[:16, :16] = far[12:48, 12:48] = False
    assert gap.interpolated(8, 2)[1][far].max() < 1e-3


def test_a_stray_pixel_of_a_label_that_ends_does_not_make_it_likely_far_away() -> None:
    before, after = np.zeros((2, 60, 60), np.uint8)
    before[20:40, 20:40] = 1
    with_pixel = before.copy()
    with_pixel[5, 5] = 1
    probabilities = [gap_of(mask, after).interpolated(8, 2)[1, 50, 50] for mask in (before, with_pixel)]
    assert probabilities[1] == pytest.approx(probabilities[0])
    assert probabilities[0] < 1e-3


def test_the_area_of_a_structure_on_both_slices_is_interpolated() -> None:
    before, after = np.zeros((2, 40, 40), np.uint8)
    before[10:20, 10:20] = 1
    after[5:25, 5:25] = 1
    (structure,) = structures(before, after, (1,), 20)
    found = interpolate(structure, 0.5, before.shape) or pytest.fail("no pixel is left")
    assert abs(np.count_nonzero(found.distance > 0) - (100 + 400) / 2) < 8


def fill(labels: np.ndarray, image: np.ndarray, painted: list[int], query: list[int]) -> dict[int, np.ndarray]:
    geometry = Geometry(labels.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), painted)
    engine = Propagate()
    engine.prepare(Volume(image.astype(np.float32), geometry), support)
    return dict(engine.predict(query))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_background_is_uncertain_where_a_structure_on_one_side_of_a_gap_vanishes(
    width: int, mirrored: bool
) -> None:
    labels = column(width)
    labels[3:] = 0
    if mirrored:
        labels = labels[::-1].copy()
    image = np.random.default_rng(0).normal(0, 1, labels.shape)
    first, step = (SLICES - 1, -1) if mirrored else (0, 1)
    near, far = (first + step * distance for distance in (1, 4))
    found = fill(labels, image, [0, 5, 15, 20], [near, far])
    painted = labels[first] > 0
    for index, maximum in ((near, 0.77), (far, 0.95)):
        filled, confidence = label_slice(found[index], (1,))
        vanished = painted & (filled == 0)
        assert confidence[vanished].max(initial=0) < maximum
        away = ~ndimage.binary_dilation(painted, iterations=8)
        assert confidence[away].min() > 0.95
        np.testing.assert_allclose(found[index].sum(axis=0), 1, atol=1e-5)


def test_a_thin_column_inside_another_label_is_kept() -> None:
    labels = np.repeat(tube(12, 13)[:1], SLICES, axis=0)
    labels[:, SIDE // 2, SIDE // 2] = 2
    found = fill(labels, np.random.default_rng(0).normal(0, 1, labels.shape), [0, 5, 10, 15, 20], [2, 7, 13])
    for index, probabilities in found.items():
        filled, confidence = label_slice(probabilities, (1, 2))
        np.testing.assert_array_equal(filled == 2, labels[index] == 2)
        assert confidence[filled == 2].max() < 0.85


@pytest.mark.parametrize("slope", [1, -1])
@pytest.mark.parametrize("contrast", [0, 6])
def test_a_thin_slanted_column_inside_another_label_is_kept(contrast: float, slope: int) -> None:
    labels = np.repeat(tube(16, 17)[:1], SLICES, axis=0)
    for index in range(SLICES):
        labels[index, SIDE // 2, SIDE // 2 + slope * (index - SLICES // 2)] = 2
    image = np.random.default_rng(0).normal(0, 1, labels.shape) + contrast * (labels == 2)
    found = fill(labels, image, [0, 5, 10, 15, 20], [2, 7, 13, 18])
    for index, probabilities in found.items():
        filled, confidence = label_slice(probabilities, (1, 2))
        np.testing.assert_array_equal(filled == 2, labels[index] == 2)
        assert confidence[filled == 2].max() < 0.85


def test_a_structure_is_not_kept_where_the_images_show_another_label() -> None:
    # The disc of label 1 shrinks to a dot and grows again: the images show that label 2 lies there in between.
    rows, columns = np.indices((SIDE, SIDE)) - SIDE // 2
    distance = np.hypot(rows, columns)
    labels = np.zeros((11, SIDE, SIDE), np.uint8)
    for index, radius in enumerate([8, 6, 3, 1, 1, 1, 1, 1, 3, 6, 8]):
        labels[index] = np.where(distance <= 14, 2, 0)
        labels[index][distance <= radius] = 1
    image = np.array([0, 10, 5])[labels] + np.random.default_rng(0).normal(0, 0.1, labels.shape)
    found = fill(labels, image, [0, 10], [4, 5, 6])
    for index, probabilities in found.items():
        filled, _ = label_slice(probabilities, (1, 2))
        assert np.mean(filled[labels[index] == 2] == 2) > 0.95


BOX = (slice(0, 11), slice(0, 11))
SHEET = np.indices((11, 11))[1] == 5
BESIDE_SHEET = np.indices((11, 11))[1] < 5
RING = tube(4.5, 1)[0, 15:26, 15:26] > 0
INSIDE_RING = ndimage.binary_fill_holes(RING) & ~RING


@pytest.mark.parametrize(("wall", "side"), [(SHEET, BESIDE_SHEET), (RING, INSIDE_RING)])
def test_a_thin_wall_is_shown_by_its_own_intensity_or_by_that_of_its_sides(
    wall: np.ndarray, side: np.ndarray
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (1, 11, 11))
    drawn = [(BOX, wall), (BOX, wall)]
    assert not has_contrast(drawn, [noise, noise])
    bright_wall = noise + 4 * wall
    assert has_contrast(drawn, [bright_wall, bright_wall])
    bright_side = noise + 4 * side + 2 * wall  # the wall is as bright as the mean of its sides
    assert has_contrast(drawn, [bright_side, bright_side])


def test_a_wall_between_two_regions_follows_their_border_in_the_images() -> None:
    """The wall is as bright as the mean of its sides, and bends between the labelled slices."""
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    image = np.random.default_rng(0).normal(0, 1, labels.shape)
    for index in range(SLICES):
        position = 16 + round(5 * np.sin(np.pi * index / (SLICES - 1)))
        labels[index, 4:36, position] = 1
        image[index, :, :position] += 6
        image[index, :, position] += 3
    query = [index for index in range(SLICES) if index % 10]
    filled = fill(labels, image, [0, 10, 20], query)
    found, truth = np.stack([filled[index].argmax(axis=0) for index in query]), labels[query]
    assert 2 * np.sum(found * truth) / (np.sum(found) + np.sum(truth)) > 0.6


def test_no_probability_becomes_negative_where_a_label_is_nearly_certain() -> None:
    """One minus such a probability is less accurate in float32 than the probabilities of the other labels."""
    rng = np.random.default_rng(0)
    gap = gap_of(column(2)[0], column(2)[4])  # without contrast, so probabilities outside of the column are lowered
    for exponent in np.linspace(-8, -4, 20):
        probabilities = np.zeros((3, SIDE, SIDE), np.float32)
        probabilities[2] = rng.uniform(0, 10**exponent, (SIDE, SIDE))
        probabilities[1] = 1 - probabilities[2]
        gap.keep(2, probabilities)
        assert probabilities.min() >= 0
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        assert probabilities[1, 30:, 30:].max() < 0.1
