"""What `adapt` promises, with real fits on real volumes; fits are short, so accuracy is judged with a margin."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from FewShotAnnotateLib import engines
from FewShotAnnotateLib.core.axis import SliceAxis
from FewShotAnnotateLib.core.support import Support
from FewShotAnnotateLib.core.volume import Geometry, LabelMap, Volume
from FewShotAnnotateLib.engines import adapt, calibration, engine_class, learning, neighbours
from FewShotAnnotateLib.engines.adapt import Adapt
from FewShotAnnotateLib.engines.base import Stopped, label_slice
from FewShotAnnotateLib.engines.network import Example, FittedNetwork, fit
from FewShotAnnotateLib.engines.propagate import Propagate
from support.data import LIVER, VERTEBRAE, load_case, shared_case

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
STEPS = 20


def brain_part(
    spacing: int = 4, slices: int = 25, case: str | Path = VERTEBRAE
) -> tuple[Volume, np.ndarray, Support]:
    """A small case, cropped in the number of its slices, with every n-th of them labelled."""
    volume, label_map = load_case(case)
    middle = len(volume.array) // 2
    part = slice(middle - slices // 2, middle - slices // 2 + slices)
    image, labels = volume.array[part], label_map.array[part]
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), range(0, len(labels), spacing))
    return Volume(np.ascontiguousarray(image), geometry), np.ascontiguousarray(labels), support


def prepared(volume: Volume, support: Support, **options: int) -> Adapt:
    engine = Adapt(options={"steps": STEPS, **options})
    engine.prepare(volume, support)
    return engine


def predicted(engine: Adapt, support: Support) -> dict[int, np.ndarray]:
    return dict(engine.predict(support.unlabelled(support.range_between())))


def mean_dice(truth: np.ndarray, result: dict[int, np.ndarray], support: Support) -> float:
    slices = sorted(result)
    own = truth[slices]
    other = np.stack([label_slice(result[index], support.labels)[0] for index in slices])
    return float(
        np.mean(
            [
                2 * np.sum((own == label) & (other == label)) / (np.sum(own == label) + np.sum(other == label))
                for label in support.labels
            ]
        )
    )


def test_is_more_accurate_than_propagate() -> None:
    volume, truth, support = brain_part(spacing=6)
    engine = prepared(volume, support, steps=60)
    drafts = dict(engine.draft(support.unlabelled(support.range_between())))
    assert mean_dice(truth, predicted(engine, support), support) > mean_dice(truth, drafts, support)


def test_drafts_are_what_propagate_gives() -> None:
    volume, _, support = brain_part()
    wanted = support.unlabelled(support.range_between())
    propagate = Propagate()
    propagate.prepare(volume, support)
    drafts = dict(prepared(volume, support).draft(wanted))
    assert sorted(drafts) == wanted
    for index, probabilities in propagate.predict(wanted):
        np.testing.assert_array_equal(drafts[index], probabilities)


def test_probabilities_sum_to_one_on_every_slice_asked_for() -> None:
    volume, truth, support = brain_part()
    result = predicted(prepared(volume, support), support)
    assert sorted(result) == support.unlabelled(support.range_between())
    for probabilities in result.values():
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (len(support.labels) + 1, *truth.shape[1:])
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_the_same_input_and_seed_give_the_same_output_and_another_seed_another() -> None:
    volume, _, support = brain_part()
    first, second, other = (predicted(prepared(volume, support, steps=5, seed=seed), support) for seed in (0, 0, 1))
    assert all(np.array_equal(first[index], second[index]) for index in first)
    assert any(not np.array_equal(first[index], other[index]) for index in first)


def test_drafts_made_before_change_nothing() -> None:
    volume, _, support = brain_part()
    alone, after_drafts = prepared(volume, support, steps=5), prepared(volume, support, steps=5)
    assert list(after_drafts.draft(support.range_between()))
    expected = predicted(alone, support)
    for index, probabilities in predicted(after_drafts, support).items():
        np.testing.assert_array_equal(probabilities, expected[index])


def test_every_slice_is_offered_before_a_look_from_the_sides_makes_a_large_organ_better() -> None:
    volume, label_map = load_case(LIVER)
    part = slice(18, 35), slice(4, 76), slice(10, 88)
    image, labels = (np.ascontiguousarray(array[part]) for array in (volume.array, label_map.array))
    gains = []
    for spacing in (4, 8):
        own = LabelMap(labels, Geometry(labels.shape))
        support = Support.from_label_map(own, SliceAxis(0), range(0, len(labels), spacing))
        engine, offered = prepared(Volume(image, own.geometry), support, steps=60), {}
        engine.offer = offered.__setitem__
        results = engine.predict(support.unlabelled(support.range_between()))
        index, probabilities = next(results)
        assert sorted(offered) == support.unlabelled(support.range_between())
        final = {index: probabilities, **dict(results)}
        gains.append(mean_dice(labels, final, support) - mean_dice(labels, offered, support))
    assert np.mean(gains) > 0


@pytest.mark.shared_data
def test_every_slice_is_offered_before_a_look_from_the_sides_makes_it_better() -> None:
    gains = []
    for spacing in (4, 6, 8):
        volume, truth, support = brain_part(spacing=spacing, case=shared_case("mr_hippocampus_003"))
        engine, offered = prepared(volume, support, steps=60), {}
        engine.offer = offered.__setitem__
        results = engine.predict(support.unlabelled(support.range_between()))
        index, probabilities = next(results)
        assert sorted(offered) == support.unlabelled(support.range_between())
        final = {index: probabilities, **dict(results)}
        gains.append(mean_dice(truth, final, support) - mean_dice(truth, offered, support))
    assert np.mean(gains) > 0


def test_many_labels_get_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, labels, support = brain_part()
    parts = np.add.outer(np.arange(labels.shape[1]) // 4, np.arange(labels.shape[2]) // 4 * 13) + 1
    many = np.where(labels > 0, parts, 0).astype(labels.dtype)
    taken: list[list[int]] = []

    def counted(stack: object, examples: object, steps: int, *rest: object, **named: object) -> object:
        taken[-1].append(steps)
        return fit(stack, examples, steps, *rest, **named)

    monkeypatch.setattr("FewShotAnnotateLib.engines.network.fit", counted)
    for one in (labels, many):
        taken.append([])
        label_map = LabelMap(one, volume.geometry)
        own = Support.from_label_map(label_map, SliceAxis(0), support.indices)
        next(prepared(volume, own, steps=10).predict([1]))
    assert max(taken[0]) == 10 < max(taken[1])


def test_slices_with_others_missing_between_them_are_filled_without_a_look_from_the_sides() -> None:
    volume, truth, support = brain_part(spacing=6)
    engine, offered = prepared(volume, support), {}
    engine.offer = offered.__setitem__
    wanted = support.unlabelled(support.range_between())[::2]
    result = dict(engine.predict(wanted))
    assert sorted(result) == wanted and not offered
    assert mean_dice(truth, result, support) > 0.5


def test_slices_beyond_the_labelled_ones_have_no_part_in_the_look_from_the_sides() -> None:
    volume, labels, _ = brain_part()
    support = Support.from_label_map(LabelMap(labels, volume.geometry), SliceAxis(0), range(4, 21, 4))
    engine, offered = prepared(volume, support), {}
    engine.offer = offered.__setitem__
    wanted = support.unlabelled(range(len(labels)))
    assert sorted(dict(engine.predict(wanted))) == wanted
    assert sorted(offered) == support.unlabelled(support.range_between())


def test_the_tip_of_a_vertebra_that_one_slice_alone_shows_is_grown_where_propagation_loses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, label_map = load_case("ct_abdomen_pelvis")
    part = slice(13, 34), slice(3, 49), slice(34, 77)
    (vertebra,) = (one.value for one in label_map.segments if one.name == "vertebrae_L2")
    labels = np.where(label_map.array[part] == vertebra, label_map.array[part], 0)
    own = Volume(np.ascontiguousarray(volume.array[part]), Geometry(labels.shape))
    support = Support.from_label_map(LabelMap(labels, own.geometry), SliceAxis(0), (0, 3, 20))
    assert support.labels == (vertebra,) and 0 < np.count_nonzero(labels[3]) < neighbours.TIP

    def right_and_wrong(engine: Adapt | Propagate) -> tuple[int, int]:
        engine.prepare(own, support)
        filled = predicted(engine, support)
        found = np.stack([label_slice(filled[index], support.labels)[0] for index in sorted(filled)]) > 0
        true = labels[sorted(filled)] > 0
        return np.count_nonzero(found & true), np.count_nonzero(found & ~true)

    grown, wrong = right_and_wrong(Adapt(options={"steps": STEPS}))
    propagated, _ = right_and_wrong(Propagate())
    monkeypatch.setattr(neighbours, "TIP", 0)
    as_others, _ = right_and_wrong(Adapt(options={"steps": STEPS}))
    assert grown > 2 * propagated and grown > 2 * wrong
    assert grown > 1.5 * as_others, "tips are grown also where growing has not proved itself"


@pytest.mark.shared_data
def test_a_tip_that_one_slice_alone_shows_is_grown_where_propagation_loses_it() -> None:
    volume, label_map = load_case(shared_case("mr_hippocampus_003"))
    support = Support.from_label_map(label_map, SliceAxis(0), (0, 16, 32))
    tip = 1
    assert np.count_nonzero(label_map.array[16] == tip) < 30
    sizes = []
    for engine in (prepared(volume, support), Propagate()):
        engine.prepare(volume, support)
        filled = predicted(engine, support)
        right = [(label_slice(filled[n], support.labels)[0] == tip) & (label_map.array[n] == tip) for n in filled]
        sizes.append(int(np.sum(right)))
    grown, propagated = sizes
    assert grown > 2 * propagated


def test_labels_that_are_hardly_certain_are_filled_also_where_they_are_not_most_probable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, _, support = brain_part(spacing=8)
    filled = []
    for least in (calibration.LEAST_THRESHOLD, 0.5):
        monkeypatch.setattr(calibration, "LEAST_THRESHOLD", least)
        result = predicted(prepared(volume, support, steps=1), support).values()
        filled.append(np.stack([label_slice(one, support.labels)[0] > 0 for one in result]))
    generous, most_probable = filled
    assert (generous >= most_probable).all() and generous.sum() > 1.01 * most_probable.sum()


def test_expects_a_dice_for_each_label_near_the_true_one() -> None:
    volume, truth, support = brain_part()
    engine = prepared(volume, support)
    assert engine.expected() == ()
    result = predicted(engine, support)
    expected = engine.expected()
    assert [one.label for one in expected] == list(support.labels)
    assert abs(np.mean([one.dice for one in expected]) - mean_dice(truth, result, support)) < 0.1


def test_a_run_that_should_stop_stops_during_the_fit() -> None:
    volume, _, support = brain_part()
    engine = prepared(volume, support, steps=100_000)

    def pulse(_: float) -> None:
        if time.monotonic() > until:
            raise Stopped

    engine.pulse = pulse
    until = time.monotonic() + 1
    with pytest.raises(Stopped):
        predicted(engine, support)
    assert time.monotonic() < until + 5


def test_the_fraction_of_work_rises_to_one() -> None:
    volume, _, support = brain_part()
    engine, told = prepared(volume, support), []
    engine.pulse = told.append
    predicted(engine, support)
    assert told[-1] == pytest.approx(1)
    assert told == sorted(told)


@pytest.mark.parametrize("seconds", [0.0, 12.0])
def test_keeps_to_a_time_limit(seconds: float) -> None:
    volume, _, support = brain_part()
    engine = prepared(volume, support, steps=100_000)
    began = time.monotonic()
    engine.deadline = began + seconds
    result = predicted(engine, support)
    assert sorted(result) == support.unlabelled(support.range_between())
    assert time.monotonic() - began < seconds + 10


def test_a_fit_that_a_time_limit_cuts_short_takes_nothing_from_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, truth, support = brain_part()
    short, none = prepared(volume, support, steps=100_000), prepared(volume, support)
    parts: list[float] = []

    def noted(*given: object, **named: object) -> FittedNetwork:
        network = fit(*given, **named)
        parts.append(network.part)
        return network

    monkeypatch.setattr("FewShotAnnotateLib.engines.network.fit", noted)
    none.deadline = time.monotonic()
    expected = predicted(none, support)
    assert not parts
    short.deadline = time.monotonic() + 14
    result = predicted(short, support)
    assert parts and max(parts) < 0.1
    assert mean_dice(truth, result, support) == pytest.approx(mean_dice(truth, expected, support), abs=0.003)


def test_a_time_limit_that_is_far_off_changes_nothing() -> None:
    volume, _, support = brain_part()
    free, limited = prepared(volume, support, steps=5), prepared(volume, support, steps=5)
    limited.deadline = time.monotonic() + 3600
    expected = predicted(free, support)
    for index, probabilities in predicted(limited, support).items():
        np.testing.assert_array_equal(probabilities, expected[index])


def test_where_time_is_short_drafts_of_another_process_are_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, _, support = brain_part()
    engine = prepared(volume, support, steps=100_000)
    monkeypatch.setattr(adapt, "POOL_WORK", 1e9)
    began = time.monotonic()
    engine.deadline = began + 60
    assert sorted(predicted(engine, support)) == support.unlabelled(support.range_between())
    assert time.monotonic() - began < 20, "nothing was fitted, for want of time"


def test_a_label_on_slices_that_nobody_would_look_at_is_learnt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, labels, _ = brain_part(slices=29)
    rare = int(labels.max()) + 1
    here = labels[12] > 0
    some = labels.copy()
    some[12][here] = rare
    support = Support.from_label_map(LabelMap(some, volume.geometry), SliceAxis(0), range(0, 29, 4))
    learnt: list[bool] = []

    def noted(stack: object, examples: Sequence[Example], *rest: object, **named: object) -> object:
        learnt.append(any(one.labelled and bool(one.target[-1].max() > 0.5) for one in examples))
        return fit(stack, examples, *rest, **named)

    monkeypatch.setattr("FewShotAnnotateLib.engines.network.fit", noted)
    monkeypatch.setattr(learning, "HIDDEN_SLICES", 2)
    next(prepared(volume, support, steps=1).predict([1]))
    assert support.labels[-1] == rare and any(learnt)


def test_hidden_slices_that_memory_has_no_room_for_do_not_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, truth, support = brain_part()
    judged: list[int] = []

    def counted(hidden: Sequence[Sequence[object]], *rest: object) -> object:
        judged.append(sum(map(len, hidden)))
        return weigh(hidden, *rest)

    weigh = learning._weigh
    monkeypatch.setattr(learning, "_weigh", counted)
    monkeypatch.setattr(learning, "JUDGED_BYTES", 1)
    assert mean_dice(truth, predicted(prepared(volume, support), support), support) > 0.6
    assert 0 < judged[0] <= learning.FOLDS < len(support.indices)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_labelled_slices_are_enough(count: int) -> None:
    volume, truth, support = brain_part(spacing=6)
    rows = range(1, 1 + count)
    few = support.only(rows)
    engine = prepared(volume, few)
    wanted = few.unlabelled(range(few.indices[0] - 2, few.indices[-1] + 3))
    result = dict(engine.predict(wanted))
    assert sorted(result) == wanted
    assert mean_dice(truth, result, few) > 0.3
    assert all(one.low <= one.dice <= one.high for one in engine.expected())


def test_a_label_that_a_slice_does_not_speak_about_is_carried_there() -> None:
    volume, _, support = brain_part()
    known = support.known.copy()
    known[2, 0] = False
    masks = support.masks.copy()
    masks[2][masks[2] == support.labels[0]] = 0
    silent, denied = (dataclasses.replace(support, known=one, masks=masks) for one in (known, support.known))
    index = support.indices[2] + 1
    sizes = []
    for one in (silent, denied):
        probabilities = predicted(prepared(volume, one), one)[index]
        sizes.append(int((label_slice(probabilities, support.labels)[0] == support.labels[0]).sum()))
    assert sizes[0] > 2 * sizes[1]


def test_many_labels_are_filled() -> None:
    volume, label_map = load_case("mic_ovule_cells")
    image, labels = volume.array[:9], label_map.array[:9]
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), [0, 4, 8])
    result = predicted(prepared(Volume(np.ascontiguousarray(image), geometry), support), support)
    assert mean_dice(labels, result, support) > 0.5


def test_without_torch_it_says_what_to_install_and_auto_is_propagate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_AUTO", ("adapt", "propagate"))
    assert engine_class("auto") is Adapt
    monkeypatch.setattr(adapt, "find_spec", lambda name: None)
    assert "pip install torch" in str(Adapt.cannot_run())
    assert engine_class("auto") is Propagate


@pytest.mark.parametrize(("installed", "usable"), [("1.13.1", False), ("2.4.1+cpu", False), ("2.5.0", True)])
def test_an_old_torch_is_refused_and_auto_is_propagate(
    installed: str, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / f"torch-{installed}.dist-info" / "METADATA"
    told.parent.mkdir()
    told.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {installed}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(engines, "_AUTO", ("adapt", "propagate"))
    assert (Adapt.cannot_run() is None) == usable
    assert usable or f"not {installed}" in str(Adapt.cannot_run())
    assert engine_class("auto") is (Adapt if usable else Propagate)


def test_a_torch_that_does_not_say_which_it_is_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(adapt, "version", unknown)
    assert Adapt.cannot_run() is None
