"""Calibration of the candidate pool on real volumes and their held-out slices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from fewshot_annotate.core.dice import dice
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines.adapt.candidates import CandidatePool
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.base import label_slice
from fewshot_annotate.engines.calibration.config import ExpectedDiceConfig
from fewshot_annotate.engines.calibration.dice_expectation import DiceExpectation
from fewshot_annotate.engines.calibration.soft_dice import expected_log_odds, filling_labels, slice_sums
from fewshot_annotate.engines.calibration.temperature import Calibration, HeldOutPrediction, effective_distance
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
    """A volume of which every n-th slice is labelled, with predictions of its query slices and held-out slices."""

    labels: tuple[int, ...]
    held_out: list[HeldOutPrediction]
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
        return {item.label: item for item in expectation.expected(self.labels)}, filled

    def _dice(self, filled: list[np.ndarray]) -> dict[int, float]:
        truth, result = np.stack(list(self.truth.values())), np.stack(filled)
        return {label: dice(truth, result, label_index) for label_index, label in enumerate(self.labels, start=1)}


@cache
def make_setting(name: str, spacing: int) -> Setting:
    volume, label_map = load_case(name)
    labelled = np.flatnonzero(label_map.array.any(axis=(1, 2)))
    # Only some slices of large volumes are used, because the pool's work grows with slices.
    first, last = (
        max(labelled[0], labelled[len(labelled) // 2] - 18),
        min(labelled[-1], labelled[len(labelled) // 2] + 18),
    )
    support = Support.from_label_map(label_map, SliceAxis(0), range(first, last + 1, spacing))
    pool = CandidatePool(volume, support, CONFIG.candidates)
    values = np.array([0, *support.labels])

    def label_indices(index: int) -> np.ndarray:
        labels = label_map.array[index][pool.window]
        return np.searchsorted(values, np.where(np.isin(labels, values), labels, 0))

    held_out = []
    for support_index, (before, after) in enumerate(
        zip([None, *support.indices], [*support.indices[1:], None], strict=False)
    ):
        index = support.indices[support_index]
        distances = None if before is None else index - before, None if after is None else after - index
        ((_, log_probs),) = pool.neighbours_of(support_index).candidates([index])
        held_out.append(HeldOutPrediction(np.tensordot(WEIGHTS, log_probs, 1), label_indices(index), distances))
    logits = {
        index: np.tensordot(WEIGHTS, log_probs, 1)
        for index, log_probs in pool.candidates(support.unlabelled(support.labelled_range()))
    }
    query_distances = {
        index: (
            index - max(other for other in support.indices if other < index),
            min(other for other in support.indices if other > index) - index,
        )
        for index in logits
    }
    return Setting(
        support.labels, held_out, logits, {index: label_indices(index) for index in logits}, query_distances
    )


SETTINGS = list(itertools.product(SMALL, SPACINGS))


def bars(first: int, second: int) -> np.ndarray:
    """Label indices of a slice with two bars, the upper one to column `first` and the lower one to `second`."""
    slice_labels = np.zeros((24, 40), dtype=int)
    slice_labels[2:10, 4:first] = 1
    slice_labels[14:22, 4:second] = 2
    return slice_labels


@pytest.mark.parametrize("column", [12, 24, 36])
def test_the_truth_of_a_label_that_was_not_painted_changes_nothing(column: int) -> None:
    filled = bars(24, 24)
    logits = np.where(filled == np.arange(3)[:, None, None], 3.0, 0.0).astype(np.float32)
    first_painted = np.array([True, False])
    painted, other = (
        Calibration.fit([HeldOutPrediction(logits, bars(22, end), (4, 4), annotated=first_painted)] * 4, CONFIG)
        for end in (24, column)
    )
    assert other.inverse_temperature == painted.inverse_temperature
    assert other.evidence[1:].tolist() == painted.evidence[1:].tolist() == [4 * 8 * 19, 0]
    assert other.correction.tolist() == painted.correction.tolist()


def test_a_label_with_a_low_threshold_fills_voxels_where_background_is_more_probable() -> None:
    probabilities = np.array([[0.6, 0.8], [0.4, 0.2]])
    assert filling_labels(probabilities, np.array([0.5, 0.5])).tolist() == [0, 0]
    assert filling_labels(probabilities, np.array([0.5, 0.3])).tolist() == [1, 0]


def test_the_expected_dice_follows_from_the_expected_numbers_of_voxels() -> None:
    probabilities = np.array([[[0.2, 0.9]], [[0.8, 0.1]]])
    sums = slice_sums(probabilities, None, np.array([0.5, 0.5]), min_probability=0.0)
    # One voxel is predicted, of which 0.8 are expected to be correct; 0.8 + 0.1 voxels are expected in the truth.
    np.testing.assert_allclose(sums[:, 1], [0.8, 0.9, 1, 0])
    # With a voxel added to both: 2 * 0.8 + 1 correct ones, and 0.9 + 1 - 2 * 0.8 + 1 errors.
    assert expected_log_odds(sums, ExpectedDiceConfig(log_odds_factor=1.0))[1] == pytest.approx(np.log(2.6 / 1.3))


def test_calibrated_probabilities_sum_to_one_and_keep_the_most_probable_label() -> None:
    setting = make_setting(*SETTINGS[0])
    calibration = Calibration.fit(setting.held_out, CONFIG)
    for index, logits in setting.logits.items():
        probabilities = calibration.probabilities(logits, setting.distances[index])
        assert probabilities.dtype == np.float32
        assert probabilities.shape == logits.shape
        assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        assert np.array_equal(probabilities.argmax(axis=0), logits.argmax(axis=0))


def test_the_same_logits_are_more_certain_beside_a_labelled_slice_than_far_from_it() -> None:
    setting = make_setting(*SETTINGS[0])
    calibration = Calibration.fit(setting.held_out, CONFIG)
    logits = next(iter(setting.logits.values()))
    certainty = [
        calibration.probabilities(logits, around).max(axis=0).mean() for around in ((1, 9), (5, 5), (None, 9))
    ]
    assert certainty[0] > certainty[1] > certainty[2]


def test_a_slice_between_two_labelled_ones_is_nearer_than_either() -> None:
    assert effective_distance((4, 4)) == 2
    assert effective_distance((None, 3)) == 3
    assert effective_distance((1, 7)) < 1
    with pytest.raises(ValueError, match="labelled slice"):
        effective_distance((None, None))


@pytest.mark.parametrize(("name", "spacing"), SETTINGS)
def test_probabilities_are_calibrated_where_labels_are_contested(name: str, spacing: int) -> None:
    setting = make_setting(name, spacing)
    calibration = Calibration.fit(setting.held_out, CONFIG)
    predicted, right = [], []
    for index, logits in setting.logits.items():
        probabilities = calibration.probabilities(logits, setting.distances[index])
        best = probabilities.max(axis=0)
        contested = best < 0.99
        predicted.append(best[contested])
        right.append((probabilities.argmax(axis=0) == setting.truth[index])[contested])
    assert abs(np.concatenate(predicted).mean() - np.concatenate(right).mean()) < 0.1


def test_the_scale_of_logits_does_not_matter() -> None:
    setting = make_setting(*SETTINGS[0])
    scaled = [
        HeldOutPrediction(3 * prediction.logits, prediction.truth, prediction.distances)
        for prediction in setting.held_out
    ]
    index, logits = next(iter(setting.logits.items()))
    distances = setting.distances[index]
    plain = Calibration.fit(setting.held_out, CONFIG).probabilities(logits, distances)
    assert np.allclose(Calibration.fit(scaled, CONFIG).probabilities(3 * logits, distances), plain, atol=1e-3)


def test_probabilities_are_softer_the_more_is_wrong_on_held_out_slices() -> None:
    setting = make_setting(*SETTINGS[0])
    inverse_temperature = []
    for pixels in (0, 2, 4):
        shifted = [
            HeldOutPrediction(np.roll(prediction.logits, pixels, axis=1), prediction.truth, prediction.distances)
            for prediction in setting.held_out
        ]
        inverse_temperature.append(Calibration.fit(shifted, CONFIG).inverse_temperature)
    assert inverse_temperature[0] > inverse_temperature[1] > inverse_temperature[2]


def test_expected_dice_is_near_the_true_dice() -> None:
    errors = []
    for name, spacing in SETTINGS:
        setting = make_setting(name, spacing)
        expected, true = (
            setting.expected(Calibration.fit(setting.held_out, CONFIG)),
            setting.true_dice(Calibration.fit(setting.held_out, CONFIG)),
        )
        errors.append(np.mean([abs(expected[label].dice - true[label]) for label in expected]))
    assert np.mean(errors) < 0.05


@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.slow
def test_the_range_that_adapt_gives_holds_the_true_dice() -> None:
    inside = []
    for name, spacing in itertools.product((*SMALL, LIVER), SPACINGS):
        volume, truth, support = around_labels(name, spacing)
        engine = Adapt(options={"steps": 8})
        engine.prepare(volume, support)
        filled = dict(engine.predict(support.unlabelled(support.labelled_range())))
        result = np.stack([label_slice(filled[index], support.labels)[0] for index in sorted(filled)])
        true_labels = truth[sorted(filled)]
        expected = engine.expected_dice()
        assert [item.label for item in expected] == list(support.labels)
        for item in expected:
            assert 0 <= item.low < item.dice < item.high <= 1
            inside.append(item.low <= dice(true_labels, result, item.label) <= item.high)
    assert np.mean(inside) >= 0.8


def around_labels(name: str, spacing: int) -> tuple[Volume, np.ndarray, Support]:
    """The middle slices of a case, cropped to its labels with a margin, with every n-th slice labelled."""
    volume, label_map = load_case(name)
    voxels = np.argwhere(label_map.array)
    first, last = voxels.min(axis=0), voxels.max(axis=0)
    middle = int(first[0] + last[0] + 1) // 2
    part = (
        slice(max(0, middle - 12), middle + 13),
        *(slice(max(0, low - 6), high + 7) for low, high in zip(first[1:], last[1:], strict=True)),
    )
    image, labels = (np.ascontiguousarray(array[part]) for array in (volume.array, label_map.array))
    cropped = LabelMap(labels, Geometry(labels.shape))
    support = Support.from_label_map(cropped, SliceAxis(0), range(0, len(labels), spacing))
    return Volume(image, cropped.geometry), labels, support


@pytest.mark.shared_data
def test_the_range_holds_the_true_dice() -> None:
    inside = []
    names = [shared_case(name) for name in ("mr_hippocampus_003", "mr_spine_cord_t2", "mr_cardiac_sax")]
    for name, spacing in itertools.product(names, (3, 4, 5, 6, 8, 10)):
        setting = make_setting(name, spacing)
        true = setting.true_dice(Calibration.fit(setting.held_out, CONFIG))
        for label, expected in setting.expected(Calibration.fit(setting.held_out, CONFIG)).items():
            assert 0 <= expected.low < expected.dice < expected.high <= 1
            inside.append(expected.low <= true[label] <= expected.high)
    assert np.mean(inside) >= 0.8


def test_without_held_out_slices_the_expected_dice_has_a_wider_range() -> None:
    setting = make_setting(*SETTINGS[0])
    uncalibrated, calibrated = (
        setting.expected(Calibration.fit([], CONFIG)),
        setting.expected(Calibration.fit(setting.held_out, CONFIG)),
    )
    true = setting.true_dice(Calibration.fit(setting.held_out, CONFIG))
    for label, expected in uncalibrated.items():
        assert expected.high - expected.low > calibrated[label].high - calibrated[label].low
        assert expected.low <= true[label] <= expected.high


def test_a_label_on_no_held_out_slice_has_a_wider_range() -> None:
    setting = make_setting(*SETTINGS[0])
    last = len(setting.labels)
    absent = [
        HeldOutPrediction(
            prediction.logits - 50 * (np.arange(last + 1) == last)[:, None, None],
            prediction.truth * 0,
            prediction.distances,
        )
        for prediction in setting.held_out
    ]
    label = setting.labels[-1]
    unseen, seen = (
        setting.expected(Calibration.fit(held_out, CONFIG))[label] for held_out in (absent, setting.held_out)
    )
    assert unseen.high - unseen.low > seen.high - seen.low


def test_predictions_that_are_wrong_on_held_out_slices_have_a_low_expected_dice() -> None:
    setting = make_setting(*SETTINGS[0])
    shifted = [
        HeldOutPrediction(np.roll(prediction.logits, 4, axis=1), prediction.truth, prediction.distances)
        for prediction in setting.held_out
    ]
    good, bad = (
        setting.expected(Calibration.fit(setting.held_out, CONFIG)),
        setting.expected(Calibration.fit(shifted, CONFIG)),
    )
    assert all(bad[label].dice < good[label].dice for label in good)


def test_a_label_that_is_wrong_on_held_out_slices_has_a_lower_expected_dice_than_others() -> None:
    setting = next(setting for setting in itertools.starmap(make_setting, SETTINGS) if len(setting.labels) > 1)
    with_errors = []
    for prediction in setting.held_out:
        moved = np.roll(prediction.truth == 2, 3, axis=0)
        truth = np.where(moved, 2, np.where(prediction.truth == 2, 0, prediction.truth))
        with_errors.append(HeldOutPrediction(prediction.logits, truth, prediction.distances))
    before, after = (
        setting.expected(Calibration.fit(setting.held_out, CONFIG)),
        setting.expected(Calibration.fit(with_errors, CONFIG)),
    )
    first, second = ((1 - after[label].dice) / (1 - before[label].dice) for label in setting.labels[:2])
    assert second > first
    assert second > 1


def test_a_label_of_unknown_extent_has_a_lower_expected_dice() -> None:
    setting = make_setting(*SETTINGS[0])
    calibration = Calibration.fit(setting.held_out, CONFIG)
    dice = []
    for open_ended in (False, True):
        expectation = DiceExpectation(calibration)
        for index, logits in setting.logits.items():
            probabilities = calibration.probabilities(logits, setting.distances[index])
            expectation.add(probabilities, np.full(len(setting.labels), open_ended))
        dice.append([found.dice for found in expectation.expected(setting.labels)])
    assert all(unknown < known_extent for known_extent, unknown in zip(*dice, strict=True))


def test_small_probabilities_over_a_large_background_do_not_lower_the_expected_dice() -> None:
    label = np.full((100, 100), 0.03, dtype=np.float32)
    label[40:50, 40:50] = 0.95
    expectation = DiceExpectation(Calibration(CONFIG))
    expectation.add(np.stack([1 - label, label]))
    (expected,) = expectation.expected([1])
    assert expected.dice > 0.9


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


def test_thresholds_at_half_of_the_expected_dice_raise_dice() -> None:
    gains = []
    for setting in itertools.starmap(make_setting, SETTINGS):
        with_thresholds, most_probable = (
            setting.true_dice(Calibration.fit(setting.held_out, CONFIG)),
            setting.dice_of_the_most_probable(),
        )
        gains += [with_thresholds[label] - most_probable[label] for label in setting.labels]
    assert np.mean(gains) > 0.001


def test_a_label_that_is_certain_is_filled_where_it_is_most_probable() -> None:
    certain, uncertain = np.zeros((2, 2, 40, 40), dtype=np.float32)
    certain[1, :20] = 1
    uncertain[1, :20] = 0.7
    likely = np.full((2, 1, 1), 0.55, dtype=np.float32) - [[[0]], [[0.1]]]
    for probabilities, label_index in ((certain, 0), (uncertain, 1)):
        probabilities[0] = 1 - probabilities[1]
        expectation = DiceExpectation(Calibration.fit([], CONFIG))
        assert expectation.apply_dice_thresholds(likely).argmax() == 0, "nothing is expected yet"
        expectation.add(probabilities)
        assert expectation.apply_dice_thresholds(likely).argmax() == label_index


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
DISTANCES = st.tuples(st.integers(1, 300), st.integers(1, 300)) | st.integers(1, 300).map(lambda side: (None, side))


@settings(deadline=None)
@given(logits=LOGITS, distances=DISTANCES, seed=st.integers(0, 99))
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
    reordered = expectation.apply_dice_thresholds(probabilities)
    assert reordered.dtype == np.float32
    assert np.allclose(reordered.sum(axis=0), 1, atol=1e-5)
    assert (reordered[0] <= probabilities[0] + 1e-6).all(), "no label is replaced by background"
    assert np.array_equal(np.sort(reordered, axis=0), np.sort(probabilities, axis=0)), (
        "probabilities only change labels"
    )
    for found in expectation.expected(range(1, len(logits))):
        assert 0 <= found.low <= found.dice <= found.high <= 1


def confidences(setting: Setting, calibration: Calibration) -> tuple[list[float], list[float]]:
    """Confidence and true Dice of each predicted slice."""
    found, true = [], []
    for index, logits in setting.logits.items():
        probabilities = calibration.probabilities(logits, setting.distances[index])
        labels = probabilities.argmax(axis=0)
        stored = np.round(255 * probabilities.max(axis=0)).astype(np.uint8)
        found.append(slice_confidence(labels, stored))
        truth = setting.truth[index]
        total = np.count_nonzero(labels) + np.count_nonzero(truth)
        true.append(2 * np.count_nonzero((labels == truth) & (labels > 0)) / total if total else 1.0)
    return found, true


@pytest.mark.parametrize("name", SMALL)
def test_wrong_slices_have_low_confidence(name: str) -> None:
    found, true = confidences(
        make_setting(name, SPACINGS[-1]), Calibration.fit(make_setting(name, SPACINGS[-1]).held_out, CONFIG)
    )
    order = np.argsort(true)
    worst, best = order[: len(order) // 3], order[-(len(order) // 3) :]
    assert np.mean(np.array(found)[worst]) < np.mean(np.array(found)[best])


def test_confidence_ranks_the_slices_of_all_settings_by_their_dice() -> None:
    pairs = [
        confidences(make_setting(*key), Calibration.fit(make_setting(*key).held_out, CONFIG)) for key in SETTINGS
    ]
    assert spearmanr(*(np.concatenate(each) for each in zip(*pairs, strict=True)))[0] > 0.5
