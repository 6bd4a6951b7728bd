"""Calibration of the candidate pool on real volumes and their held-out slices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt.candidates import CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.calibration.dice_expectation import DiceExpectation
from fewshot_annotate.engines.calibration.temperature import Calibration, HeldOutPrediction, effective_distance
from fewshot_annotate.evaluation.metrics import dice
from fewshot_annotate.guidance.confidence import slice_confidence
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from support.data import LIVER, load_case, shared_case

WEIGHTS = np.array([1, 0.5, 0.25], dtype=np.float32)
CONFIG = AdaptConfig()
SMALL = ("ct_vertebrae", "mr_spine_cord_t2", "mr_cardiac_sax")
SPACINGS = (4, 6)


@dataclass(frozen=True)
class Setting:
    """A volume of which every n-th slice is labelled, predicted and with each labelled slice hidden in turn."""

    labels: tuple[int, ...]
    hidden: list[HeldOutPrediction]
    logits: dict[int, np.ndarray]
    truth: dict[int, np.ndarray]
    distances: dict[int, tuple[int | None, int | None]]

    def expected(self, calibration: Calibration) -> dict[int, ExpectedDice]:
        return self._filled(calibration)[0]

    def true_dice(self, calibration: Calibration) -> dict[int, float]:
        return self._dice(self._filled(calibration)[1])

    def dice_of_the_most_probable(self) -> dict[int, float]:
        return self._dice([logits.argmax(axis=0) for logits in self.logits.values()])

    def _filled(self, calibration: Calibration) -> tuple[dict[int, ExpectedDice], list[np.ndarray]]:
        expectation = DiceExpectation(calibration)
        filled = []
        for index, logits in self.logits.items():
            probabilities = calibration.probabilities(logits, self.distances[index])
            expectation.add(probabilities)
            filled.append(expectation.apply_dice_thresholds(probabilities).argmax(axis=0))
        return {one.label: one for one in expectation.expected(self.labels)}, filled

    def _dice(self, filled: list[np.ndarray]) -> dict[int, float]:
        truth, result = np.stack(list(self.truth.values())), np.stack(filled)
        return {label: dice(truth, result, row) for row, label in enumerate(self.labels, start=1)}


@cache
def setting(name: str, spacing: int) -> Setting:
    volume, label_map = load_case(name)
    holding = np.flatnonzero(label_map.array.any(axis=(1, 2)))
    # Only some slices of large volumes are used, because the pool's work grows with slices.
    first, last = max(holding[0], holding[len(holding) // 2] - 18), min(holding[-1], holding[len(holding) // 2] + 18)
    support = Support.from_label_map(label_map, SliceAxis(0), range(first, last + 1, spacing))
    pool = CandidatePool(volume, support, CONFIG.candidates)
    values = np.array([0, *support.labels])

    def rows(index: int) -> np.ndarray:
        labels = label_map.array[index][pool.window]
        return np.searchsorted(values, np.where(np.isin(labels, values), labels, 0))

    hidden = []
    for row, (before, after) in enumerate(zip([None, *support.indices], [*support.indices[1:], None], strict=False)):
        index = support.indices[row]
        distances = None if before is None else index - before, None if after is None else after - index
        ((_, log_probs),) = pool.neighbours_of(row).candidates([index])
        hidden.append(HeldOutPrediction(np.tensordot(WEIGHTS, log_probs, 1), rows(index), distances))
    logits = {
        index: np.tensordot(WEIGHTS, log_probs, 1)
        for index, log_probs in pool.candidates(support.unlabelled(support.labelled_range()))
    }
    around = {
        index: (
            index - max(other for other in support.indices if other < index),
            min(other for other in support.indices if other > index) - index,
        )
        for index in logits
    }
    return Setting(support.labels, hidden, logits, {index: rows(index) for index in logits}, around)


SETTINGS = list(itertools.product(SMALL, SPACINGS))


def test_calibrated_probabilities_sum_to_one_and_keep_the_most_probable_label() -> None:
    one = setting(*SETTINGS[0])
    calibration = Calibration.fit(one.hidden, CONFIG)
    for index, logits in one.logits.items():
        probabilities = calibration.probabilities(logits, one.distances[index])
        assert probabilities.dtype == np.float32
        assert probabilities.shape == logits.shape
        assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        assert np.array_equal(probabilities.argmax(axis=0), logits.argmax(axis=0))


def test_the_same_logits_are_more_certain_beside_a_labelled_slice_than_far_from_it() -> None:
    one = setting(*SETTINGS[0])
    calibration = Calibration.fit(one.hidden, CONFIG)
    logits = next(iter(one.logits.values()))
    sure = [calibration.probabilities(logits, around).max(axis=0).mean() for around in ((1, 9), (5, 5), (None, 9))]
    assert sure[0] > sure[1] > sure[2]


def test_a_slice_between_two_labelled_ones_is_nearer_than_either() -> None:
    assert effective_distance((4, 4)) == 2
    assert effective_distance((None, 3)) == 3
    assert effective_distance((1, 7)) < 1
    with pytest.raises(ValueError, match="labelled slice"):
        effective_distance((None, None))


@pytest.mark.parametrize(("name", "spacing"), SETTINGS)
def test_probabilities_are_calibrated_where_labels_are_contested(name: str, spacing: int) -> None:
    one = setting(name, spacing)
    calibration = Calibration.fit(one.hidden, CONFIG)
    predicted, right = [], []
    for index, logits in one.logits.items():
        probabilities = calibration.probabilities(logits, one.distances[index])
        best = probabilities.max(axis=0)
        contested = best < 0.99
        predicted.append(best[contested])
        right.append((probabilities.argmax(axis=0) == one.truth[index])[contested])
    assert abs(np.concatenate(predicted).mean() - np.concatenate(right).mean()) < 0.1


def test_the_scale_of_logits_does_not_matter() -> None:
    one = setting(*SETTINGS[0])
    scaled = [HeldOutPrediction(3 * hidden.logits, hidden.truth, hidden.distances) for hidden in one.hidden]
    index, logits = next(iter(one.logits.items()))
    around = one.distances[index]
    plain = Calibration.fit(one.hidden, CONFIG).probabilities(logits, around)
    assert np.allclose(Calibration.fit(scaled, CONFIG).probabilities(3 * logits, around), plain, atol=1e-3)


def test_probabilities_are_softer_the_more_is_wrong_on_held_out_slices() -> None:
    one = setting(*SETTINGS[0])
    inverse_temperature = []
    for pixels in (0, 2, 4):
        hidden = [
            HeldOutPrediction(np.roll(each.logits, pixels, axis=1), each.truth, each.distances) for each in one.hidden
        ]
        inverse_temperature.append(Calibration.fit(hidden, CONFIG).inverse_temperature)
    assert inverse_temperature[0] > inverse_temperature[1] > inverse_temperature[2]


def test_expected_dice_is_near_the_true_dice() -> None:
    errors = []
    for name, spacing in SETTINGS:
        one = setting(name, spacing)
        expected, true = (
            one.expected(Calibration.fit(one.hidden, CONFIG)),
            one.true_dice(Calibration.fit(one.hidden, CONFIG)),
        )
        errors.append(np.mean([abs(expected[label].dice - true[label]) for label in expected]))
    assert np.mean(errors) < 0.05


@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.slow
def test_the_range_that_adapt_gives_holds_the_true_dice() -> None:
    held = []
    for name, spacing in itertools.product((*SMALL, LIVER), SPACINGS):
        volume, truth, support = around_labels(name, spacing)
        engine = Adapt(options={"steps": 8})
        engine.prepare(volume, support)
        filled = dict(engine.predict(support.unlabelled(support.labelled_range())))
        found = np.stack([label_slice(filled[index], support.labels)[0] for index in sorted(filled)])
        own = truth[sorted(filled)]
        expected = engine.expected_dice()
        assert [one.label for one in expected] == list(support.labels)
        for one in expected:
            assert 0 <= one.low < one.dice < one.high <= 1
            held.append(one.low <= dice(own, found, one.label) <= one.high)
    assert np.mean(held) >= 0.8


def around_labels(name: str, spacing: int) -> tuple[Volume, np.ndarray, Support]:
    """The middle of what is labelled and a margin around it, with every n-th slice labelled."""
    volume, label_map = load_case(name)
    places = np.argwhere(label_map.array)
    first, last = places.min(axis=0), places.max(axis=0)
    middle = int(first[0] + last[0] + 1) // 2
    part = (
        slice(max(0, middle - 12), middle + 13),
        *(slice(max(0, low - 6), high + 7) for low, high in zip(first[1:], last[1:], strict=True)),
    )
    image, labels = (np.ascontiguousarray(array[part]) for array in (volume.array, label_map.array))
    own = LabelMap(labels, Geometry(labels.shape))
    support = Support.from_label_map(own, SliceAxis(0), range(0, len(labels), spacing))
    return Volume(image, own.geometry), labels, support


@pytest.mark.shared_data
def test_the_range_holds_the_true_dice() -> None:
    held = []
    names = [shared_case(name) for name in ("mr_hippocampus_003", "mr_spine_cord_t2", "mr_cardiac_sax")]
    for name, spacing in itertools.product(names, (3, 4, 5, 6, 8, 10)):
        one = setting(name, spacing)
        true = one.true_dice(Calibration.fit(one.hidden, CONFIG))
        for label, expected in one.expected(Calibration.fit(one.hidden, CONFIG)).items():
            assert 0 <= expected.low < expected.dice < expected.high <= 1
            held.append(expected.low <= true[label] <= expected.high)
    assert np.mean(held) >= 0.8


def test_without_held_out_slices_the_expected_dice_has_a_wider_range() -> None:
    one = setting(*SETTINGS[0])
    blind, seeing = one.expected(Calibration.fit([], CONFIG)), one.expected(Calibration.fit(one.hidden, CONFIG))
    true = one.true_dice(Calibration.fit(one.hidden, CONFIG))
    for label, expected in blind.items():
        assert expected.high - expected.low > seeing[label].high - seeing[label].low
        assert expected.low <= true[label] <= expected.high


def test_a_label_on_no_held_out_slice_has_a_wider_range() -> None:
    one = setting(*SETTINGS[0])
    last = len(one.labels)
    absent = [
        HeldOutPrediction(
            hidden.logits - 50 * (np.arange(last + 1) == last)[:, None, None], hidden.truth * 0, hidden.distances
        )
        for hidden in one.hidden
    ]
    label = one.labels[-1]
    blind, seeing = (one.expected(Calibration.fit(hidden, CONFIG))[label] for hidden in (absent, one.hidden))
    assert blind.high - blind.low > seeing.high - seeing.low


def test_predictions_that_are_wrong_on_held_out_slices_have_a_low_expected_dice() -> None:
    one = setting(*SETTINGS[0])
    shifted = [
        HeldOutPrediction(np.roll(hidden.logits, 4, axis=1), hidden.truth, hidden.distances) for hidden in one.hidden
    ]
    good, bad = one.expected(Calibration.fit(one.hidden, CONFIG)), one.expected(Calibration.fit(shifted, CONFIG))
    assert all(bad[label].dice < good[label].dice for label in good)


def test_a_label_that_is_wrong_on_held_out_slices_has_a_lower_expected_dice_than_others() -> None:
    one = next(one for one in itertools.starmap(setting, SETTINGS) if len(one.labels) > 1)
    disappointing = []
    for hidden in one.hidden:
        moved = np.roll(hidden.truth == 2, 3, axis=0)
        truth = np.where(moved, 2, np.where(hidden.truth == 2, 0, hidden.truth))
        disappointing.append(HeldOutPrediction(hidden.logits, truth, hidden.distances))
    before, after = (
        one.expected(Calibration.fit(one.hidden, CONFIG)),
        one.expected(Calibration.fit(disappointing, CONFIG)),
    )
    first, second = ((1 - after[label].dice) / (1 - before[label].dice) for label in one.labels[:2])
    assert second > first
    assert second > 1


def test_a_label_of_unknown_extent_has_a_lower_expected_dice() -> None:
    one = setting(*SETTINGS[0])
    calibration = Calibration.fit(one.hidden, CONFIG)
    dice = []
    for open_ended in (False, True):
        expectation = DiceExpectation(calibration)
        for index, logits in one.logits.items():
            probabilities = calibration.probabilities(logits, one.distances[index])
            expectation.add(probabilities, np.full(len(one.labels), open_ended))
        dice.append([found.dice for found in expectation.expected(one.labels)])
    assert all(ended < seen for seen, ended in zip(*dice, strict=True))


def test_there_is_no_expected_dice_without_slices_or_for_absent_labels() -> None:
    expectation = DiceExpectation(Calibration.fit([], CONFIG))
    assert expectation.expected([3, 7]) == ()
    assert DiceExpectation(Calibration(CONFIG, correction=np.zeros(3))).expected([3, 7]) == ()
    probabilities = np.zeros((3, 8, 8), dtype=np.float32)
    probabilities[0], probabilities[1, :4] = 1, 1
    probabilities[0, :4] = 0
    expectation.add(probabilities)
    (found,) = expectation.expected([3, 7])
    assert found.label == 3
    assert found.dice > 0.9


def test_filling_labels_from_half_of_their_expected_dice_on_raises_dice() -> None:
    gains = []
    for one in itertools.starmap(setting, SETTINGS):
        apply_dice_thresholds, most_probable = (
            one.true_dice(Calibration.fit(one.hidden, CONFIG)),
            one.dice_of_the_most_probable(),
        )
        gains += [apply_dice_thresholds[label] - most_probable[label] for label in one.labels]
    assert np.mean(gains) > 0.001


def test_a_label_that_is_certain_is_filled_where_it_is_most_probable() -> None:
    certain, doubtful = np.zeros((2, 2, 40, 40), dtype=np.float32)
    certain[1, :20] = 1
    doubtful[1, :20] = 0.7
    likely = np.full((2, 1, 1), 0.55, dtype=np.float32) - [[[0]], [[0.1]]]
    for probabilities, row in ((certain, 0), (doubtful, 1)):
        probabilities[0] = 1 - probabilities[1]
        expectation = DiceExpectation(Calibration.fit([], CONFIG))
        assert expectation.apply_dice_thresholds(likely).argmax() == 0, "nothing is expected yet"
        expectation.add(probabilities)
        assert expectation.apply_dice_thresholds(likely).argmax() == row


def test_an_uncertain_label_does_not_fill_pixels_where_others_are_uncertain() -> None:
    seen = np.zeros((3, 40, 40), dtype=np.float32)
    seen[1, 20:], seen[2, :20] = 1, 0.26
    seen[0] = 1 - seen[1] - seen[2]
    expectation = DiceExpectation(Calibration.fit([], CONFIG))
    expectation.add(seen)
    shared = np.array([0.42, 0.40, 0.18], dtype=np.float32)[:, None, None]
    alone = np.array([0.7, 0.02, 0.28], dtype=np.float32)[:, None, None]
    assert expectation.apply_dice_thresholds(shared).argmax() == 0
    assert expectation.apply_dice_thresholds(alone).argmax() == 2


LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(2, 4), st.integers(1, 5), st.integers(1, 5)),
    elements=st.floats(-80, 0, width=32),
)
SIDES = st.tuples(st.integers(1, 300), st.integers(1, 300)) | st.integers(1, 300).map(lambda side: (None, side))


@settings(deadline=None)
@given(logits=LOGITS, distances=SIDES, seed=st.integers(0, 99))
@example(
    logits=np.array([[[0, -1]], [[-1e-5, -1e-5]], [[-1e-5, -1e-5]]], dtype=np.float32), distances=(None, 1), seed=0
)
def test_any_finite_logits_give_probabilities_and_a_range(
    logits: np.ndarray, distances: tuple[int | None, int | None], seed: int
) -> None:
    truth = np.random.default_rng(seed).integers(0, len(logits), logits.shape[1:])
    calibration = Calibration.fit([HeldOutPrediction(logits, truth, distances)], CONFIG)
    probabilities = calibration.probabilities(logits, distances)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    expectation = DiceExpectation(calibration)
    expectation.add(probabilities)
    apply_dice_thresholds = expectation.apply_dice_thresholds(probabilities)
    assert apply_dice_thresholds.dtype == np.float32
    assert np.allclose(apply_dice_thresholds.sum(axis=0), 1, atol=1e-5)
    assert (apply_dice_thresholds[0] <= probabilities[0] + 1e-6).all(), "no label loses to background"
    assert np.array_equal(np.sort(apply_dice_thresholds, axis=0), np.sort(probabilities, axis=0)), (
        "they stay calibrated"
    )
    for found in expectation.expected(range(1, len(logits))):
        assert 0 <= found.low <= found.dice <= found.high <= 1


def confidences(one: Setting, calibration: Calibration) -> tuple[list[float], list[float]]:
    """Confidence and true Dice of each predicted slice."""
    found, true = [], []
    for index, logits in one.logits.items():
        probabilities = calibration.probabilities(logits, one.distances[index])
        labels = probabilities.argmax(axis=0)
        stored = np.round(255 * probabilities.max(axis=0)).astype(np.uint8)
        found.append(slice_confidence(labels, stored))
        truth = one.truth[index]
        total = np.count_nonzero(labels) + np.count_nonzero(truth)
        true.append(2 * np.count_nonzero((labels == truth) & (labels > 0)) / total if total else 1.0)
    return found, true


@pytest.mark.parametrize("name", SMALL)
def test_wrong_slices_have_low_confidence(name: str) -> None:
    found, true = confidences(
        setting(name, SPACINGS[-1]), Calibration.fit(setting(name, SPACINGS[-1]).hidden, CONFIG)
    )
    order = np.argsort(true)
    worst, best = order[: len(order) // 3], order[-(len(order) // 3) :]
    assert np.mean(np.array(found)[worst]) < np.mean(np.array(found)[best])


def test_confidence_ranks_the_slices_of_all_settings_by_their_dice() -> None:
    pairs = [confidences(setting(*one), Calibration.fit(setting(*one).hidden, CONFIG)) for one in SETTINGS]
    assert spearmanr(*(np.concatenate(each) for each in zip(*pairs, strict=True)))[0] > 0.5


def test_confidence_of_a_slice_is_the_same_from_bytes_and_from_probabilities() -> None:
    labels = np.zeros((8, 8), dtype=np.uint16)
    labels[2:6, 2:6] = 3
    confidence = np.linspace(0.5, 1, 64, dtype=np.float32).reshape(8, 8)
    stored = np.round(255 * confidence).astype(np.uint8)
    assert slice_confidence(labels, stored) == pytest.approx(slice_confidence(labels, confidence), abs=0.01)


def test_a_certainly_empty_slice_has_a_high_confidence_and_a_possibly_empty_one_a_low_one() -> None:
    nothing = np.zeros((8, 8), dtype=np.uint8)
    assert slice_confidence(nothing, np.full((8, 8), 255, dtype=np.uint8)) == 1
    assert slice_confidence(nothing, np.full((8, 8), 150, dtype=np.uint8)) == 0


def test_a_small_uncertain_label_counts_as_much_as_a_large_one() -> None:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:, :16], labels[:3, 20:23] = 1, 2
    sure = np.ones(labels.shape)
    doubtful = np.where(labels == 2, 0.5, sure)
    assert slice_confidence(labels, sure) - slice_confidence(labels, doubtful) == pytest.approx(0.5 * 0.5 * 9 / 12)


def test_a_possibly_missed_structure_lowers_the_confidence() -> None:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:16, :16] = 1
    missed = np.ones(labels.shape)
    missed[17:] = 0.55
    assert slice_confidence(labels, missed) < slice_confidence(labels, np.ones(labels.shape)) - 0.05
