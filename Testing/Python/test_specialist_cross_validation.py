"""Cross-validation over patients, and the expected Dice of a specialist that follows from it."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.engines.specialist.cross_validation import folds_of_patients, patient_digest, splits_by_fold
from fewshot_annotate.engines.specialist.dice_model import (
    MEMBERS_EXPONENT,
    PATIENTS_EXPONENT,
    DiceModel,
    SoftDice,
    mean_soft_dice,
    soft_dice,
)


def test_no_patient_is_on_both_sides_of_a_split() -> None:
    patients = [f"patient {number % 7}" for number in range(23)]
    splits = splits_by_fold(patients, folds_of_patients(patients))
    assert len(splits) == 4
    for split in splits:
        seen, unseen = ({patients[index] for index in side} for side in (split.training, split.unseen))
        assert seen
        assert unseen
        assert not seen & unseen
    assert sorted(index for split in splits for index in split.unseen) == list(range(23))


def test_a_single_patient_is_trained_on_without_an_expected_dice() -> None:
    (split,) = splits_by_fold(["one", "one"], folds_of_patients(["one", "one"]))
    assert split.training == (0, 1)
    assert not split.unseen


def test_expected_dice_is_the_mean_of_unseen_patients_with_the_gain_of_the_ensemble() -> None:
    true = np.array([[0.8], [0.9], [0.7], [0.8]])
    (expected,) = DiceModel.fit(true, true, members=4).of_task()
    error = (1 - 0.8) * (3 / 4) ** PATIENTS_EXPONENT * 4**-MEMBERS_EXPONENT
    assert expected.dice == pytest.approx(1 - error)
    assert 0.82 < expected.dice < 0.84
    assert expected.low < 0.75


def test_patients_who_do_not_show_a_label_are_left_out_of_its_expected_dice() -> None:
    shown = np.array([[0.8], [0.9], [0.7], [0.8]])
    with_absent = np.insert(shown, 1, np.nan, axis=0)
    both = [DiceModel.fit(true, true, members=4).of_task() for true in (shown, with_absent)]
    assert both[0] == both[1]


def test_a_volume_with_uncertain_probabilities_is_expected_to_be_worse() -> None:
    true = np.array([[0.9], [0.85], [0.6], [0.8], [0.9]])
    model = DiceModel.fit(true, true - 0.05, members=4)
    (good,), (poor,) = model.of_volume(np.array([0.9]), [3]), model.of_volume(np.array([0.4]), [3])
    assert good.label == 3
    assert poor.dice < good.dice - 0.1


def test_a_large_background_does_not_lower_the_soft_dice() -> None:
    label = np.tile(np.array([[0.01], [0.99]]), 100)
    background = np.tile(np.array([[0.996], [0.004]]), 100_000)
    alone, among = (soft_dice(one, 0.4)[0] for one in (label, np.concatenate([label, background], axis=1)))
    assert among == pytest.approx(alone)


def test_networks_that_differ_have_the_soft_dice_of_each_alone() -> None:
    first = np.tile(np.array([[0.1, 0.9], [0.9, 0.1]]), 50)
    second = np.tile(np.array([[0.9, 0.1], [0.1, 0.9]]), 50)
    members = [SoftDice(1).add(first), SoftDice(1).add(second)]
    assert mean_soft_dice(members)[0] == pytest.approx(soft_dice(first)[0])
    assert soft_dice((first + second) / 2)[0] < soft_dice(first)[0] - 0.2


def test_the_soft_dice_of_parts_of_a_volume_is_that_of_the_whole() -> None:
    whole = np.random.default_rng(0).dirichlet((1, 1, 1), 100).T
    parts = SoftDice(2).add(whole[:, :30]).add(whole[:, 30:])
    np.testing.assert_allclose(parts.dice(), soft_dice(whole), rtol=1e-6)


def test_a_label_that_one_network_lacks_has_the_soft_dice_of_the_others() -> None:
    shown, nowhere = np.array([[0.1], [0.9], [0.0]]), np.array([[1.0], [0.0], [0.0]])
    np.testing.assert_allclose(mean_soft_dice([SoftDice(2).add(shown), SoftDice(2).add(nowhere)]), soft_dice(shown))


def test_certain_probabilities_have_a_soft_dice_of_one() -> None:
    certain = np.zeros((3, 4, 4))
    certain[0], certain[1, :2], certain[0, :2] = 1, 1, 0
    np.testing.assert_allclose(soft_dice(certain), [1, np.nan], atol=1e-4)


def test_patients_stay_in_their_fold_when_others_are_added() -> None:
    before = folds_of_patients([f"patient {number}" for number in range(5)])
    after = folds_of_patients([f"patient {number}" for number in range(12)], earlier=before)
    assert before.items() <= after.items()
    together = {patient_digest(f"patient {number}"): 2 for number in range(4)}
    assert len(set(folds_of_patients([f"patient {number}" for number in range(4)], earlier=together).values())) == 4
    assert sorted(np.bincount(list(after.values()))) == [3, 3, 3, 3]
