"""Weight of a specialist in the result of `adapt`: from labelled slices, held-out slices and distance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.adapt.config import AdaptConfig, BlendConfig
from fewshot_annotate.engines.adapt.specialist_blend import SpecialistBlend
from fewshot_annotate.engines.calibration.temperature import Calibration, HeldOutPrediction
from support.specialist import ball

WHOLE = (slice(None), slice(None))


def one_hot(mask: np.ndarray) -> np.ndarray:
    found = np.full((2, *mask.shape), 0.02, dtype=np.float32)
    found[1][mask > 0], found[0][mask == 0] = 0.98, 0.98
    return found / found.sum(axis=0)


def fitted(predicted: Callable[[int], np.ndarray], truth: np.ndarray, painted: tuple[int, ...]) -> SpecialistBlend:
    masks = truth[list(painted)]
    support = Support(SliceAxis(0), painted, masks, (1,), np.ones((len(painted), 1), dtype=bool))
    expected = (ExpectedDice(1, 0.9, 0.8, 0.95),)
    return SpecialistBlend.fit(predicted, expected, support, [], Calibration(AdaptConfig()), BlendConfig())


def test_a_specialist_that_is_right_on_labelled_slices_determines_the_result_far_from_them() -> None:
    _, truth = ball(seed=1)
    blend = fitted(lambda index: one_hot(truth[index]), truth, (3,))
    near, far = blend.shares((1, None)), blend.shares((4, None))
    assert near[0] < far[0]
    assert far[0] > 0.8
    nothing = one_hot(np.zeros_like(truth[5]))
    np.testing.assert_array_equal(blend.blend(5, (4, None), nothing, WHOLE).argmax(axis=0), truth[5])


def test_a_specialist_that_is_wrong_on_labelled_slices_has_no_weight() -> None:
    _, truth = ball(seed=1)
    blend = fitted(lambda index: one_hot(1 - truth[index]), truth, (3, 4))
    own = one_hot(truth[5])
    assert blend.blend(5, (1, None), own, WHOLE) is own


# Where the result and the specialist have this error, both have the same weight.
ERROR = 0.1
BETWEEN, BEYOND = (2, 2), (1, None)  # both at the effective distance 1


def blend_of(probability: float = 0.5, errors: tuple[float, ...] = (ERROR,)) -> SpecialistBlend:
    """A blend with a specialist that gives label 1 this probability everywhere."""
    predicted = np.full((2, 3, 3), probability, dtype=np.float32)
    predicted[0] = 1 - probability
    growth = np.full(len(errors), ERROR)
    return SpecialistBlend(lambda index: predicted, np.array(errors), growth, BlendConfig())


def test_weights_follow_from_the_squared_errors() -> None:
    assert blend_of().shares(BETWEEN)[0] == pytest.approx(0.5)
    assert blend_of(errors=(2 * ERROR,)).shares(BETWEEN)[0] == pytest.approx(0.2)


def test_beyond_the_labelled_slices_the_result_is_trusted_less() -> None:
    assert blend_of().shares(BEYOND)[0] == pytest.approx(0.8)


def test_outside_of_the_window_the_log_odds_of_the_specialist_are_averaged_with_those_of_background() -> None:
    undecided = np.full((2, 3, 3), 0.5, dtype=np.float32)
    window = (slice(1, 3), slice(1, 3))
    _, label = blend_of(probability=0.8).blend(1, BETWEEN, undecided, window)
    log_odds = scipy.special.logit(0.8)
    assert label[1, 1] == pytest.approx(scipy.special.expit(log_odds / 2), abs=1e-5)
    outside = scipy.special.expit((log_odds + BlendConfig().log_odds_outside) / 2)
    assert label[0, 0] == pytest.approx(outside, abs=1e-5)


def test_the_expected_dice_is_the_higher_one_of_both() -> None:
    result = (ExpectedDice(1, 0.7, 0.6, 0.8), ExpectedDice(2, 0.95, 0.9, 0.98))
    better, unchanged = blend_of(errors=(ERROR, ERROR, 0.6)).expected(result, (1, 2, 3))
    assert (better.label, better.dice) == (1, pytest.approx(1 - ERROR))
    assert better.low < better.dice < better.high
    assert unchanged is result[1]


def test_fine_tuning_that_halves_the_error_is_taken_into_account() -> None:
    _, truth = ball(seed=1)
    masks = truth[[3, 4]]
    support = Support(SliceAxis(0), (3, 4), masks, (1,), np.ones((2, 1), dtype=bool))

    def error(ratio: float) -> float:
        blend = SpecialistBlend.fit(
            lambda index: one_hot(np.roll(truth[index], 1, axis=0)),
            (ExpectedDice(1, 0.9, 0.8, 0.95),),
            support,
            [],
            Calibration(AdaptConfig()),
            BlendConfig(),
            error_ratio=ratio,
        )
        return float(blend.error[0])

    assert error(0.5) < 0.8 * error(1.0)


def test_the_error_of_a_label_on_no_labelled_slice_follows_that_of_the_others() -> None:
    _, truth = ball(seed=1)
    support = Support(SliceAxis(0), (3, 4), truth[[3, 4]], (1, 2), np.ones((2, 2), dtype=bool))

    def error_of_second_label(shift: int) -> float:
        def predicted(index: int) -> np.ndarray:
            return np.concatenate([one_hot(np.roll(truth[index], shift, axis=0)), np.zeros((1, *truth.shape[1:]))])

        blend = SpecialistBlend.fit(predicted, (), support, [], Calibration(AdaptConfig()), BlendConfig())
        return float(blend.error[1])

    assert error_of_second_label(0) < 1 - BlendConfig().default_dice < error_of_second_label(3)


def test_the_error_of_the_result_grows_faster_where_held_out_slices_are_wrong() -> None:
    _, truth = ball(seed=1)
    support = Support(SliceAxis(0), (3,), truth[[3]], (1,), np.ones((1, 1), dtype=bool))

    def growth(shift: int) -> float:
        logits = np.log(one_hot(np.roll(truth[4], shift, axis=0)))
        held_out = [HeldOutPrediction(logits - logits[:1], truth[4], (1, 1))]
        calibration = Calibration.fit(held_out, AdaptConfig())
        blend = SpecialistBlend.fit(
            lambda index: one_hot(truth[index]), (), support, held_out, calibration, BlendConfig()
        )
        return float(blend.growth[0])

    assert growth(0) < BlendConfig().prior_growth < growth(3)
