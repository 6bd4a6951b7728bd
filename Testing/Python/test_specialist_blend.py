"""Labelled slices decide how much a specialist counts in the result of `adapt`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.engines.adapt.config import AdaptConfig, BlendConfig
from fewshot_annotate.engines.adapt.specialist_blend import SpecialistBlend
from fewshot_annotate.engines.calibration.temperature import Calibration
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
