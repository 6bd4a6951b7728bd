"""Engine `propagate` on real volumes with every n-th slice labelled."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.base import RunContext, label_slice
from fewshot_annotate.engines.propagate.compared_images import ComparedImages
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from support.data import every_case, load_case

SMALL_CASES = ("ct_vertebrae", "mr_spine_cord_t2", "ct_liver")
MIN_VOXELS = 200
# Larger cases are cropped to their middle slices, to limit the time.
MAX_SLICES = 40


def middle_slices(name: str | Path, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels [n, h, w] of the middle of a case along an axis."""
    volume, label_map = load_case(name)
    image, labels = (SliceAxis(axis).slices(array) for array in (volume.array, label_map.array))
    start = max(0, (len(labels) - MAX_SLICES) // 2)
    part = slice(start, start + MAX_SLICES)
    return image[part], labels[part]


def every_nth(labels: np.ndarray, spacing: int, axis: int = 0) -> Support:
    """Support of every n-th slice of fully labelled slices, also of those without labels."""
    array = SliceAxis(axis).restore(labels)
    indices = list(range(0, len(labels), spacing))
    return Support.from_label_map(LabelMap(array, Geometry(array.shape)), SliceAxis(axis), indices)


def probabilities(image: np.ndarray, support: Support, slices: list[int] | None = None) -> dict[int, np.ndarray]:
    """Probabilities [labels + 1, h, w] of each unlabelled slice (or of the slices named)."""
    array = support.axis.restore(image)
    engine = Propagate()
    engine.prepare(Volume(array, Geometry(array.shape)), support)
    query = support.unlabelled(range(len(image))) if slices is None else slices
    return dict(engine.predict(query))


def mean_dice(truth: np.ndarray, result: dict[int, np.ndarray]) -> float:
    """Mean over labels of Dice pooled over the slices of `result`."""
    indices = list(result)
    true, predicted = truth[indices], np.stack([result[index] for index in indices])
    values = [
        2 * np.sum((true == value) & (predicted == value)) / (np.sum(true == value) + np.sum(predicted == value))
        for value in np.flatnonzero(np.bincount(truth.reshape(-1)) >= MIN_VOXELS)
        if value and (np.any(true == value) or np.any(predicted == value))
    ]
    return float(np.mean(values))


def filled(image: np.ndarray, support: Support) -> dict[int, np.ndarray]:
    """Labels of the slices between the labelled ones."""
    found = probabilities(image, support, support.unlabelled(support.labelled_range()))
    return {index: label_slice(values, support.labels)[0] for index, values in found.items()}


def copied(support: Support) -> dict[int, np.ndarray]:
    """The nearest labelled slice in place of each slice between them."""
    indices = np.array(support.indices)
    return {
        index: support.masks[np.abs(indices - index).argmin()]
        for index in support.unlabelled(support.labelled_range())
    }


@cache
def spleen() -> tuple[np.ndarray, Support, dict[int, np.ndarray]]:
    """A case of moderate size, its support, and the probabilities that propagate predicts."""
    image, labels = middle_slices("ct_liver")
    support = every_nth(labels, 4)
    return image, support, probabilities(image, support)


@pytest.mark.parametrize("spacing", [4, 8])
@pytest.mark.parametrize("case", SMALL_CASES)
def test_dice_exceeds_that_of_the_nearest_copy_on_small_cases(case: str, spacing: int) -> None:
    image, labels = middle_slices(case)
    support = every_nth(labels, spacing)
    assert mean_dice(labels, filled(image, support)) > mean_dice(labels, copied(support)) + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("case", every_case())
def test_dice_exceeds_that_of_the_nearest_copy_on_every_case(case: Path) -> None:
    """Except where the truth itself repeats slices, so that a copy is right by construction."""
    image, labels = middle_slices(case)
    repeated = np.mean([np.array_equal(one, other) for one, other in pairwise(labels)])
    for spacing in (4, 8, 16):
        if repeated < 0.25 and sum(mask.any() for mask in labels[::spacing]) > 1:
            support = every_nth(labels, spacing)
            assert mean_dice(labels, filled(image, support)) > mean_dice(labels, copied(support)), spacing


@cache
def cells() -> tuple[Volume, LabelMap, Support]:
    volume, label_map = load_case("mic_ovule_cells")
    return volume, label_map, Support.from_label_map(label_map, SliceAxis(0), range(0, len(label_map.array), 4))


@pytest.mark.slow
def test_neighbouring_slices_are_compared_where_that_carries_labels_better() -> None:
    volume, label_map, support = cells()
    found = {}
    for compared in (None, ComparedImages()):
        flow = FlowPropagation(volume, support, compared=compared)
        predicted = dict(flow.predict(support.unlabelled(support.labelled_range())))
        result = {index: label_slice(values, support.labels)[0] for index, values in predicted.items()}
        found[flow.compared.adjacent] = mean_dice(label_map.array, result)
    assert found[1] > found[0] + 0.03


def test_neighbouring_slices_are_not_compared_where_slices_are_far_apart() -> None:
    volume, _, support = cells()
    thick = Volume(volume.array, replace(volume.geometry, spacing=(1.0, 1.0, 3.0)))
    assert FlowPropagation(thick, support).compared.adjacent == 0


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("case", SMALL_CASES)
def test_dice_exceeds_that_of_the_nearest_copy_along_other_axes(case: str, axis: int) -> None:
    image, labels = middle_slices(case, axis)
    support = every_nth(labels, 8, axis)
    assert mean_dice(labels, filled(image, support)) > mean_dice(labels, copied(support))


def test_probabilities_sum_to_one_at_native_resolution() -> None:
    image, support, found = spleen()
    assert sorted(found) == support.unlabelled(range(len(image)))
    for values in found.values():
        assert values.dtype == np.float32
        assert values.shape == (len(support.labels) + 1, *image.shape[1:])
        assert values.min() >= 0
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)


def test_probabilities_are_soft_at_outlines() -> None:
    _, _, found = spleen()
    assert all(np.any((values[1] > 0.1) & (values[1] < 0.9)) for values in found.values() if values[1].max() > 0.5)


def test_same_input_gives_same_bits() -> None:
    image, support, found = spleen()
    again = probabilities(image, support)
    assert all(np.array_equal(found[index], again[index]) for index in found)


def test_the_result_of_a_slice_does_not_depend_on_other_requested_slices() -> None:
    image, support, found = spleen()
    index = support.indices[0] + 2
    np.testing.assert_array_equal(probabilities(image, support, [index])[index], found[index])


def test_same_result_on_transposed_axes() -> None:
    image, support, found = spleen()
    for axis in (1, 2):
        turned = probabilities(image, replace(support, axis=SliceAxis(axis)))
        assert all(np.array_equal(found[index], turned[index]) for index in found)


def test_the_result_does_not_depend_on_scale_and_offset_of_intensities() -> None:
    image, support, found = spleen()
    scaled = probabilities(image.astype(np.float32) * 0.013 + 7, support)
    changed = [np.mean(found[index].argmax(0) != scaled[index].argmax(0)) for index in found]
    assert max(changed) < 1e-3


def test_read_only_volume_is_accepted() -> None:
    image, support, found = spleen()
    assert not image.flags.writeable
    assert len(found) == len(image) - len(support.indices)


def test_slices_outside_the_labelled_range_are_extrapolated() -> None:
    image, labels = middle_slices("mr_spine_cord_t2")
    filled_slices = np.flatnonzero(labels.any(axis=(1, 2)))
    middle = int(filled_slices[len(filled_slices) // 2])
    support = every_nth(labels, 1)
    row = support.indices.index(middle)
    single = replace(support, indices=(middle,), masks=support.masks[[row]], annotated=support.annotated[[row]])
    found = probabilities(image, single, [middle - 2, middle + 2])
    for index, values in found.items():
        result = {index: label_slice(values, single.labels)[0]}
        assert mean_dice(labels, result) > 0.6


def test_an_unannotated_label_on_a_slice_contributes_nothing() -> None:
    image, support, found = spleen()
    unannotated_row = next(row for row in range(1, len(support.indices) - 1) if support.masks[row].any())
    annotated = support.annotated.copy()
    annotated[unannotated_row] = False
    masks = support.masks.copy()
    masks[unannotated_row] = 0
    unannotated = probabilities(image, replace(support, masks=masks, annotated=annotated))
    kept = [row for row in range(len(support.indices)) if row != unannotated_row]
    without_slice = replace(
        support,
        indices=tuple(support.indices[row] for row in kept),
        masks=support.masks[kept],
        annotated=support.annotated[kept],
    )
    expected = probabilities(image, without_slice)
    for index in found:
        assert np.mean(unannotated[index].argmax(0) != expected[index].argmax(0)) < 0.02


def test_an_unannotated_label_goes_on_where_an_absent_one_ends() -> None:
    image, labels = middle_slices("mr_spine_cord_t2")
    support = every_nth(labels, 8)
    row = int(support.masks.any(axis=(1, 2)).nonzero()[0][1])
    masks = support.masks.copy()
    masks[row] = 0
    annotated = support.annotated.copy()
    annotated[row] = False
    index = support.indices[row] + 1
    absent = probabilities(image, replace(support, masks=masks), [index])[index]
    unannotated = probabilities(image, replace(support, masks=masks, annotated=annotated), [index])[index]
    assert unannotated[1].sum() > 2 * absent[1].sum()


def test_of_labels_painted_on_different_slices_the_nearer_one_wins_where_both_claim_a_pixel() -> None:
    """Whatever the order of their values."""
    still = np.tile(np.arange(40.0, dtype=np.float32), (13, 40, 1))
    masks = np.zeros((2, 40, 40), dtype=np.uint8)
    masks[:, 10:30, 10:30] = np.array([2, 1])[:, None, None]
    support = Support(SliceAxis(0), (0, 12), masks, (1, 2), np.array([[False, True], [True, False]]))
    found = probabilities(still, support)
    claimed = {index: label_slice(values, support.labels)[0][12:28, 12:28] for index, values in found.items()}
    assert all((claimed[index] == 2).all() for index in range(1, 6))
    assert all((claimed[index] == 1).all() for index in range(7, 12))
    for values in found.values():
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)


def test_a_label_that_ends_fades_with_distance() -> None:
    image, labels = middle_slices("ct_liver")
    still = np.repeat(image[[len(image) // 2]], len(image), axis=0)
    support = every_nth(labels, 8)
    masks = np.zeros_like(support.masks)
    masks[1, 40:80, 40:80] = support.labels[0]
    found = probabilities(still, replace(support, masks=masks, annotated=np.ones_like(support.annotated)))
    start = support.indices[1]
    inside = [float(found[start + step][1, 50:70, 50:70].mean()) for step in range(1, 8)]
    assert inside == sorted(inside, reverse=True)
    assert inside[0] > 0.8
    assert inside[-1] < 0.2


def test_constant_slices_are_filled() -> None:
    image, support, _ = spleen()
    image = image.copy()
    image[support.indices[1] + 1] = image.min()
    image[support.indices[2]] = image.min()
    for values in probabilities(image, support).values():
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 30, 30), (9, 7, 5), (9, 1, 40), (9, 33, 3)])
def test_tiny_slices_with_labels_on_their_border_are_filled(shape: tuple[int, int, int]) -> None:
    image, _ = middle_slices("ct_vertebrae")
    image = np.resize(image, shape)
    masks = np.zeros((3, *shape[1:]), dtype=np.uint8)
    masks[:, 0, :3] = 1
    masks[1, -1, -1] = 2
    support = Support(SliceAxis(0), (0, 4, 8), masks, (1, 2), np.ones((3, 2), dtype=bool))
    found = probabilities(image, support)
    assert sorted(found) == support.unlabelled(range(9))
    for values in found.values():
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)
    assert found[1][1, 0, 0] > 0.3


@pytest.mark.parametrize("spacing", [4, 8])
def test_progress_counts_all_work_once_and_slices_are_most_of_it(spacing: int) -> None:
    image, labels = middle_slices("mr_spine_cord_t2")
    support = every_nth(labels, spacing)
    fractions: list[float] = []
    engine = Propagate()
    array = support.axis.restore(image)
    engine.prepare(Volume(array, Geometry(array.shape)), support, RunContext(on_progress=fractions.append))
    before = 0.0
    for count, _ in enumerate(engine.predict(support.unlabelled(range(len(image))))):
        before = fractions[-1] if count == 0 else before
    assert fractions[0] == 0
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert fractions.count(1) == 1, "not before the last slice"
    assert 0.1 < before < 0.7, "the candidates were evaluated before the first slice"
