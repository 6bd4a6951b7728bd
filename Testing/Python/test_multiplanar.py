"""Refinement by networks on the orthogonal views: a real volume with simulated errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewshot_annotate.core.dice import dice
from fewshot_annotate.engines.adapt.config import AdaptConfig, NetworkConfig
from fewshot_annotate.engines.adapt.expected_time import AdaptTime
from fewshot_annotate.engines.adapt.fitting import fit
from fewshot_annotate.engines.adapt.network import FittedNetwork
from fewshot_annotate.engines.adapt.orthogonal_views import (
    ORDER,
    Slab,
    predict_orthogonal,
    refined_logits,
    view_weights,
)
from fewshot_annotate.engines.adapt.schedule import FitPlan
from fewshot_annotate.engines.adapt.stack import Stack
from fewshot_annotate.engines.adapt.timed_refinement import TimedRefinement
from fewshot_annotate.engines.progress_counter import ProgressCounter
from scipy.special import softmax
from support.data import load_case

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
SPACING = 6
CERTAIN_LOGIT = 2.0
TOTAL_WEIGHT = 2.0
CPU = torch.device("cpu")
CONFIG = AdaptConfig()
NETWORK, ORTHOGONAL = CONFIG.network, CONFIG.orthogonal


def part_of_a_case() -> tuple[np.ndarray, np.ndarray, int]:
    """Image 0..1, label indices, both `[n, h, w]`, and the number of labels."""
    volume, label_map = load_case("ct_vertebrae")
    image, labels = volume.array[:31].astype(np.float32), label_map.array[:31]
    values = np.unique(labels)
    return (image - image.min()) / np.ptp(image), np.searchsorted(values, labels), len(values) - 1


def shifted(truth: np.ndarray, labels: int, max_shift: int, rng: np.random.Generator) -> np.ndarray:
    """Logits of a slice that is displaced at random by up to `max_shift` pixels along each axis."""
    logits = np.zeros((labels + 1, *truth.shape), dtype=np.float32)
    moved = np.roll(truth, rng.integers(-max_shift, max_shift + 1, 2), axis=(0, 1))
    logits[1:] = np.where(moved == np.arange(1, labels + 1)[:, None, None], CERTAIN_LOGIT, -CERTAIN_LOGIT)
    return logits


def slab_of(max_shift: int) -> tuple[Slab, np.ndarray, list[int]]:
    """A slab whose query slices are shifted at random, its truth, and those slices."""
    image, truth, labels = part_of_a_case()
    rng = np.random.default_rng(0)
    labelled = range(0, len(truth), SPACING)
    slab = Slab.of(range(len(truth)), labels, image[:, None].__getitem__, truth.__getitem__, labelled, ORTHOGONAL)
    between = [index for index in range(len(truth)) if index not in labelled]
    for index in between:
        slab.put(index, shifted(truth[index], labels, max_shift, rng))
    return slab, truth, between


def predicted_odds(
    slab: Slab, steps: int = 75, seed: int = 0, start: FittedNetwork | None = None, config: NetworkConfig = NETWORK
) -> np.ndarray | None:
    return predict_orthogonal(slab, 1.0, CPU, steps, None, seed, lambda part: None, config, start)


def mean_dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean([dice(truth, predicted, label) for label in range(1, truth.max() + 1)]))


@pytest.mark.slow
def test_errors_that_differ_from_slice_to_slice_are_corrected() -> None:
    slab, truth, between = slab_of(max_shift=2)
    shifted_dice = mean_dice(truth[between], slab.logits[between].argmax(axis=1))
    errors = [1 - shifted_dice] * (slab.logits.shape[1] - 1)
    logits = refined_logits(slab, predicted_odds(slab), errors, TOTAL_WEIGHT)
    refined = np.stack([logits(index).argmax(axis=0) for index in between])
    assert mean_dice(truth[between], refined) > shifted_dice + 0.02


def test_a_label_has_less_weight_the_worse_it_is_predicted_on_labelled_slices() -> None:
    slab, _, _ = slab_of(max_shift=0)
    right = slab.logits[:, 1:]
    wrong = right.copy()
    wrong[:, 0] = -ORTHOGONAL.labelled_log_odds
    labels = right.shape[1]
    assert view_weights(slab, right, [0.2] * labels) == pytest.approx(ORTHOGONAL.max_weight, abs=0.7)
    assert view_weights(slab, wrong, [0.2] * labels)[0] == 0
    assert (view_weights(slab, wrong, [0.2] * labels)[1:] > 0).all()


def test_nothing_changes_outside_the_refined_slab() -> None:
    slab, _, between = slab_of(max_shift=1)
    logits = refined_logits(slab, None, [0.1] * (slab.logits.shape[1] - 1), TOTAL_WEIGHT)
    for index in between:
        np.testing.assert_array_equal(logits(index), slab.logits[index])


def test_predictions_that_agree_do_not_make_the_result_more_certain() -> None:
    slab, _, between = slab_of(max_shift=1)
    errors = [0.1] * (slab.logits.shape[1] - 1)
    agreeing = slab.logits[:, 1:] / TOTAL_WEIGHT
    assert view_weights(slab, agreeing, errors).any()
    logits = refined_logits(slab, agreeing, errors, TOTAL_WEIGHT)
    for index in between:
        np.testing.assert_allclose(logits(index), slab.logits[index], rtol=1e-3)


def test_pixels_outside_the_refined_slab_hold_no_label() -> None:
    slab, _, _ = slab_of(max_shift=0)
    log_odds = predicted_odds(slab, steps=1)
    assert log_odds is not None
    rows, columns = (sorted(set(range(log_odds.shape[2 + axis])) - set(slab.planes()[axis])) for axis in (0, 1))
    assert rows
    assert columns
    assert log_odds[:, :, rows][..., columns] == pytest.approx(np.log(NETWORK.floor), abs=0.01)


def test_a_stack_without_any_label_is_left_out() -> None:
    image, truth, labels = part_of_a_case()
    slab = Slab.of(
        range(len(image)), labels, image[:, None].__getitem__, np.zeros_like(truth).__getitem__, [0, 6], ORTHOGONAL
    )
    assert predicted_odds(slab, steps=1) is None


def test_the_training_samples_depend_only_on_the_seed() -> None:
    slab, _, _ = slab_of(max_shift=1)
    first, second, other = (predicted_odds(slab, steps=5, seed=seed) for seed in (0, 0, 1))
    assert first is not None
    assert second is not None
    assert other is not None
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_progress_includes_all_work_of_the_fits() -> None:
    slab, _, _ = slab_of(max_shift=1)
    reported: list[float] = []
    predict_orthogonal(slab, 1.0, CPU, 5, None, 0, reported.append, NETWORK, share_of_fits=0.75)
    assert sum(reported) == pytest.approx(1)
    assert sum(reported[: 2 * 5]) == pytest.approx(0.75)


def test_planes_of_few_slices_are_less_work_than_the_slices() -> None:
    times = AdaptTime((64, 64), (40, 40), 1, AdaptConfig().replace("network.crop", 64))
    spacing = (1.0, 1.0, 1.0)
    square, thin = (times.orthogonal_fits(slices, 60, spacing) for slices in (64, 16))
    assert square == pytest.approx(2 * 60 * times.step, rel=0.05), "crops as large as those of the slices"
    assert thin < square / 2
    square, thin = (times.orthogonal_predictions(slices, spacing) for slices in (64, 16))
    assert thin < square / 2
    narrow = AdaptTime((64, 64), (40, 10), 1, AdaptConfig())
    assert narrow.orthogonal_predictions(64, spacing) < square, "only planes that show a label are predicted"


@pytest.mark.parametrize(
    ("slices", "seconds", "previewed"),
    [(64, None, False), (1600, None, True), (64, 60.0, True), (None, 60.0, False)],
)
def test_slices_are_shown_before_a_refinement_that_is_long_or_may_be_left_out(
    slices: int | None, seconds: float | None, previewed: bool
) -> None:
    plan = FitPlan(70, None if slices is None else range(slices), CONFIG.schedule, seconds)
    times = AdaptTime((192, 192), (192, 192), 4, CONFIG)
    assert times.previews(plan, (1.0, 1.0, 1.0)) == previewed


def network_of(slab: Slab) -> FittedNetwork:
    """A network fitted on the slices of a slab."""
    count, _, *shape = slab.images.shape
    stack = Stack(lambda index: slab.images[index].astype(np.float32), count, shape, CPU, NETWORK)
    examples = []
    for index, logits in enumerate(slab.logits.astype(np.float32)):
        probabilities = softmax(logits, axis=0)
        examples.append(stack.example(index, probabilities, probabilities, True))
    return fit(stack, examples, 60, 0, lambda part: None)


def test_refinement_needs_a_complete_fit_and_the_time_that_both_views_take() -> None:
    """Eight slices with a square. A view takes as long as the fit of 10 s, of which 0.55 are its own fit."""
    slices = [np.zeros((1, 16, 16), dtype=np.float32) for _ in range(8)]
    truth = np.zeros((16, 16), dtype=int)
    truth[4:12, 4:12] = 1
    slab = Slab.of(range(8), 1, slices.__getitem__, lambda index: truth, range(8), ORTHOGONAL)
    stack = Stack(slices.__getitem__, 8, (16, 16), CPU, NETWORK)
    filling = fit(stack, [stack.example(0, *[softmax(slab.unrefined(0), axis=0)] * 2, True)], 1, 0, lambda part: None)
    filling = replace(filling, seconds=10.0)
    times, spacing = AdaptTime((16, 16), (8, 8), 1, CONFIG), (1.0, 1.0, 1.0)
    plan = FitPlan(2, range(8), CONFIG.schedule)
    total = times.orthogonal_fits(8, plan.orthogonal_steps, spacing) + times.orthogonal_predictions(8, spacing)
    needed = (1.0 - 0.55) * filling.seconds + CONFIG.schedule.min_fit_seconds

    def refined(network: FittedNetwork, seconds_left: float) -> tuple[bool, float]:
        """Whether the slab is refined, and the completed fraction once one more part as long is done."""
        fractions: list[float] = []
        work = ProgressCounter(fractions.append)
        work.plan(2 * total)
        found = TimedRefinement(plan, times, work, spacing, 0).predicted(slab, network, seconds_left)
        before = fractions[-1] if fractions else 0.0
        work.done(total)
        assert fractions[-1] == 1.0, "work that is left out is no longer planned"
        return found is not None, before

    assert refined(filling, math.inf) == (True, pytest.approx(0.5))
    assert refined(filling, needed + 0.1) == (True, pytest.approx(0.5))
    assert refined(filling, needed - 0.1) == (False, 0.0)
    assert refined(replace(filling, completed=0.99), math.inf) == (False, 0.0)


@pytest.mark.slow
def test_orthogonal_views_begin_with_a_copy_of_the_filling_networks_weights() -> None:
    slab, truth, between = slab_of(max_shift=3)
    network = network_of(slab_of(max_shift=0)[0])
    before = [weight.clone() for weight in network.module.parameters()]
    random = replace(NETWORK, pretrained=False)
    new, copied = predicted_odds(slab, steps=3, config=random), predicted_odds(slab, steps=3, start=network)
    assert new is not None
    assert copied is not None
    predicted = [np.where(odds.max(axis=1) > 0, odds.argmax(axis=1) + 1, 0)[between] for odds in (new, copied)]
    assert mean_dice(truth[between], predicted[1]) > mean_dice(truth[between], predicted[0]) + 0.02
    for weight, original in zip(network.module.parameters(), before, strict=True):
        torch.testing.assert_close(weight, original, rtol=0, atol=0)


def test_positions_are_encoded_alike_in_both_views() -> None:
    image, _, _ = part_of_a_case()
    front = Stack(image[:, None].__getitem__, len(image), image.shape[1:], CPU, NETWORK)
    voxel = (7, 20, 11)
    expected = positions_of(front, voxel[0], voxel[1:])
    for axis, order in enumerate(ORDER):
        planes = np.moveaxis(image, axis + 1, 0)
        view = Stack(planes[:, None].__getitem__, len(planes), planes.shape[1:], CPU, NETWORK, order=order)
        torch.testing.assert_close(positions_of(view, voxel[axis + 1], (voxel[0], voxel[2 - axis])), expected)


def positions_of(stack: Stack, index: int, pixel: Sequence[int]) -> torch.Tensor:
    """Position of each pixel, as input of a network."""
    return stack.inputs(index, slice(None), slice(None))[(slice(len(NETWORK.context), None), *pixel)]


def test_the_prior_is_blurred_along_the_stack_and_not_across_it() -> None:
    image, _, _ = part_of_a_case()
    planes = np.moveaxis(image, 1, 0)
    view = Stack(
        planes[:, None].__getitem__,
        len(planes),
        planes.shape[1:],
        CPU,
        NETWORK,
        blur=(NETWORK.prior_blur_pixels, 0.0),
    )
    prior = np.zeros((2, *planes.shape[1:]), dtype=np.float32)
    prior[1, 9, 12] = 1
    blurred = view.prior(prior)[1].numpy()
    assert np.flatnonzero(blurred.any(axis=0)).tolist() == [12]
    assert blurred[9, 12] < 0.2
    assert blurred[7, 12] == pytest.approx(blurred[11, 12])
    assert blurred[7, 12] > 0.05
