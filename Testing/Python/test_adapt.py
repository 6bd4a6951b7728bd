"""Engine `adapt` with real fits on real volumes; fits are short, so accuracy is compared with a margin."""

from __future__ import annotations

import dataclasses
import itertools
import re
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.expected_dice import ExpectedDice
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Volume
from fewshot_annotate.engines import registry, torch_loading
from fewshot_annotate.engines.adapt import engine as adapt
from fewshot_annotate.engines.adapt import training
from fewshot_annotate.engines.adapt.config import AdaptConfig
from fewshot_annotate.engines.adapt.engine import Adapt
from fewshot_annotate.engines.adapt.fitting import fit
from fewshot_annotate.engines.adapt.network import FittedNetwork
from fewshot_annotate.engines.adapt.stack import TrainingSlice
from fewshot_annotate.engines.base import RunContext, Stopped, label_slice
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.propagate.flow_propagation import FlowPropagation
from fewshot_annotate.engines.registry import engine_class
from support.data import LIVER, VERTEBRAE, load_case, shared_case

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")
STEPS = 12
CONFIG = AdaptConfig()
PREVIEWED = CONFIG.replace("schedule.preview_seconds", 0.0)


def middle_slices(
    spacing: int = 4, slices: int = 17, case: str | Path = VERTEBRAE
) -> tuple[Volume, np.ndarray, Support]:
    """The middle slices of a case, every `spacing`-th of them labelled."""
    volume, label_map = load_case(case)
    middle = len(volume.array) // 2
    part = slice(middle - slices // 2, middle - slices // 2 + slices)
    image, labels = volume.array[part], label_map.array[part]
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), range(0, len(labels), spacing))
    return Volume(np.ascontiguousarray(image), geometry), np.ascontiguousarray(labels), support


def prepared(
    volume: Volume,
    support: Support,
    config: AdaptConfig = CONFIG,
    context: RunContext = RunContext(),
    **options: int,
) -> Adapt:
    engine = Adapt(options={"steps": STEPS, **options}, config=config)
    engine.prepare(volume, support, context)
    return engine


def predicted(engine: Adapt, support: Support) -> dict[int, np.ndarray]:
    return dict(engine.predict(support.unlabelled(support.labelled_range())))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run of `STEPS` steps, shared by tests that only read it."""

    truth: np.ndarray
    support: Support
    result: dict[int, np.ndarray]
    fractions: list[float]
    drafts: list[int]
    expected_before: tuple[ExpectedDice, ...]
    expected: tuple[ExpectedDice, ...]


@cache
def usual_run() -> Run:
    volume, truth, support = middle_slices()
    fractions: list[float] = []
    drafts: list[int] = []
    context = RunContext(on_progress=fractions.append, report_draft=lambda index, probabilities: drafts.append(index))
    engine = prepared(volume, support, context=context)
    before = engine.expected_dice()
    result = predicted(engine, support)
    return Run(
        truth=truth,
        support=support,
        result=result,
        fractions=fractions,
        drafts=drafts,
        expected_before=before,
        expected=engine.expected_dice(),
    )


@cache
def short_run() -> dict[int, np.ndarray]:
    volume, _, support = middle_slices()
    return predicted(prepared(volume, support, steps=5), support)


def mean_dice(truth: np.ndarray, result: dict[int, np.ndarray], support: Support) -> float:
    slices = sorted(result)
    true = truth[slices]
    filled = np.stack([label_slice(result[index], support.labels)[0] for index in slices])
    return float(
        np.mean(
            [
                2 * np.sum((true == label) & (filled == label)) / (np.sum(true == label) + np.sum(filled == label))
                for label in support.labels
            ]
        )
    )


@pytest.mark.slow
def test_is_more_accurate_than_optical_flow_alone() -> None:
    volume, truth, support = middle_slices(spacing=6, slices=25)
    engine = prepared(volume, support, steps=60)
    flow = dict(FlowPropagation(volume, support).predict(support.unlabelled(support.labelled_range())))
    assert mean_dice(truth, predicted(engine, support), support) > mean_dice(truth, flow, support)


def test_drafts_are_what_optical_flow_gives() -> None:
    volume, _, support = middle_slices()
    query = support.unlabelled(support.labelled_range())
    drafts = dict(prepared(volume, support).draft(query))
    assert sorted(drafts) == query
    for index, probabilities in FlowPropagation(volume, support).predict(query):
        np.testing.assert_array_equal(drafts[index], probabilities)


def test_probabilities_sum_to_one_on_every_requested_slice() -> None:
    run = usual_run()
    assert sorted(run.result) == run.support.unlabelled(run.support.labelled_range())
    for probabilities in run.result.values():
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (len(run.support.labels) + 1, *run.truth.shape[1:])
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_a_short_refinement_in_orthogonal_views_is_awaited() -> None:
    assert not usual_run().drafts


@pytest.mark.slow
def test_the_output_depends_only_on_input_and_seed() -> None:
    volume, _, support = middle_slices()
    second, other = (predicted(prepared(volume, support, steps=5, seed=seed), support) for seed in (0, 1))
    first = short_run()
    assert all(np.array_equal(first[index], second[index]) for index in first)
    assert any(not np.array_equal(first[index], other[index]) for index in first)


def test_earlier_drafts_do_not_change_the_result() -> None:
    volume, _, support = middle_slices()
    after_drafts = prepared(volume, support, steps=5)
    assert list(after_drafts.draft(support.labelled_range()))
    for index, probabilities in predicted(after_drafts, support).items():
        np.testing.assert_array_equal(probabilities, short_run()[index])


@pytest.mark.slow
def test_every_slice_has_a_draft_before_orthogonal_views_improve_a_large_organ() -> None:
    volume, label_map = load_case(LIVER)
    part = slice(18, 35), slice(4, 76), slice(10, 88)
    image, labels = (np.ascontiguousarray(array[part]) for array in (volume.array, label_map.array))
    gains = []
    for spacing in (4, 8):
        cropped = LabelMap(labels, Geometry(labels.shape))
        support = Support.from_label_map(cropped, SliceAxis(0), range(0, len(labels), spacing))
        drafts: dict[int, np.ndarray] = {}
        context = RunContext(report_draft=drafts.__setitem__)
        engine = prepared(Volume(image, cropped.geometry), support, PREVIEWED, context, steps=60)
        results = engine.predict(support.unlabelled(support.labelled_range()))
        index, probabilities = next(results)
        assert sorted(drafts) == support.unlabelled(support.labelled_range())
        final = {index: probabilities, **dict(results)}
        gains.append(mean_dice(labels, final, support) - mean_dice(labels, drafts, support))
    assert np.mean(gains) > 0


@pytest.mark.shared_data
def test_every_slice_has_a_draft_before_orthogonal_views_improve_it() -> None:
    gains = []
    for spacing in (4, 6, 8):
        volume, truth, support = middle_slices(spacing=spacing, case=shared_case("mr_hippocampus_003"))
        drafts: dict[int, np.ndarray] = {}
        context = RunContext(report_draft=drafts.__setitem__)
        engine = prepared(volume, support, PREVIEWED, context, steps=60)
        results = engine.predict(support.unlabelled(support.labelled_range()))
        index, probabilities = next(results)
        assert sorted(drafts) == support.unlabelled(support.labelled_range())
        final = {index: probabilities, **dict(results)}
        gains.append(mean_dice(truth, final, support) - mean_dice(truth, drafts, support))
    assert np.mean(gains) > 0


@pytest.mark.slow
def test_many_labels_get_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, labels, support = middle_slices()
    parts = np.add.outer(np.arange(labels.shape[1]) // 4, np.arange(labels.shape[2]) // 4 * 13) + 1
    many = np.where(labels > 0, parts, 0).astype(labels.dtype)
    steps_of_fits: list[list[int]] = []

    def recorded_fit(stack: object, examples: object, steps: int, *rest: object, **named: object) -> object:
        steps_of_fits[-1].append(steps)
        return fit(stack, examples, steps, *rest, **named)

    monkeypatch.setattr("fewshot_annotate.engines.adapt.fitting.fit", recorded_fit)
    for array in (labels, many):
        steps_of_fits.append([])
        label_map = LabelMap(array, volume.geometry)
        support_of_array = Support.from_label_map(label_map, SliceAxis(0), support.indices)
        next(prepared(volume, support_of_array, steps=10).predict([1]))
    assert max(steps_of_fits[0]) == 10 < max(steps_of_fits[1])


def test_query_slices_that_are_not_contiguous_are_filled_without_orthogonal_views() -> None:
    volume, truth, support = middle_slices(spacing=6)
    drafts: dict[int, np.ndarray] = {}
    engine = prepared(volume, support, PREVIEWED, RunContext(report_draft=drafts.__setitem__))
    query = support.unlabelled(support.labelled_range())[::2]
    result = dict(engine.predict(query))
    assert sorted(result) == query
    assert not drafts
    assert mean_dice(truth, result, support) > 0.5


@pytest.mark.slow
def test_slices_outside_the_labelled_range_are_left_out_of_orthogonal_views() -> None:
    volume, labels, _ = middle_slices()
    support = Support.from_label_map(LabelMap(labels, volume.geometry), SliceAxis(0), range(4, 13, 4))
    drafts: dict[int, np.ndarray] = {}
    engine = prepared(volume, support, PREVIEWED, RunContext(report_draft=drafts.__setitem__))
    query = support.unlabelled(range(len(labels)))
    assert sorted(dict(engine.predict(query))) == query
    assert sorted(drafts) == support.unlabelled(support.labelled_range())


@pytest.mark.slow
@pytest.mark.parametrize("tip", [2, 3])
def test_region_growing_keeps_the_tip_of_a_vertebra_labelled_on_a_single_slice(
    tip: int,
) -> None:
    volume, label_map = load_case("ct_abdomen_pelvis")
    part = slice(13, 34), slice(3, 49), slice(34, 77)
    (vertebra,) = (segment.value for segment in label_map.segments if segment.name == "vertebrae_L2")
    labels = np.where(label_map.array[part] == vertebra, label_map.array[part], 0)
    cropped = Volume(np.ascontiguousarray(volume.array[part]), Geometry(labels.shape))
    support = Support.from_label_map(LabelMap(labels, cropped.geometry), SliceAxis(0), (0, tip, 20))
    assert support.labels == (vertebra,)
    assert 0 < np.count_nonzero(labels[tip]) < CONFIG.candidates.tip_pixels

    def right_and_wrong(engine: Adapt | Propagate) -> tuple[int, int]:
        engine.prepare(cropped, support)
        filled = predicted(engine, support)
        found = np.stack([label_slice(filled[index], support.labels)[0] for index in sorted(filled)]) > 0
        true = labels[sorted(filled)] > 0
        return np.count_nonzero(found & true), np.count_nonzero(found & ~true)

    grown, wrong = right_and_wrong(Adapt(options={"steps": 20}))
    propagated, _ = right_and_wrong(Propagate())
    without_tip_rule, _ = right_and_wrong(
        Adapt(options={"steps": 20}, config=CONFIG.replace("candidates.tip_pixels", 0))
    )
    assert grown > (2 if tip == 2 else 1.2) * propagated
    assert grown > 2 * wrong
    # Shape interpolation keeps about as much of the wider tip.
    assert grown > (1.5 * without_tip_rule if tip == 2 else without_tip_rule), (
        "a tip is grown even where region growing is not reliable"
    )


@pytest.mark.shared_data
def test_region_growing_keeps_a_tip_labelled_on_a_single_slice() -> None:
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
    assert grown > 1.1 * propagated


def test_uncertain_labels_are_filled_also_where_they_are_not_the_most_probable() -> None:
    volume, _, support = middle_slices(spacing=8)
    filled = []
    by_threshold_only = CONFIG.replace("labelling.small_components", False)
    for config in (by_threshold_only, by_threshold_only.replace("labelling.min_threshold", 0.5)):
        result = predicted(prepared(volume, support, config, steps=1), support).values()
        filled.append(np.stack([label_slice(item, support.labels)[0] > 0 for item in result]))
    by_threshold, most_probable = filled
    assert (by_threshold >= most_probable).all()
    assert by_threshold.sum() > 1.01 * most_probable.sum()


def test_the_expected_dice_of_each_label_is_near_the_true_one() -> None:
    run = usual_run()
    assert run.expected_before == ()
    assert [item.label for item in run.expected] == list(run.support.labels)
    expected = np.mean([item.dice for item in run.expected])
    assert abs(expected - mean_dice(run.truth, run.result, run.support)) < 0.1


def test_a_run_can_be_stopped_during_the_fit() -> None:
    volume, _, support = middle_slices()
    engine = prepared(volume, support, steps=100_000, context=RunContext(stop=lambda: time.monotonic() > until))
    until = time.monotonic() + 1
    with pytest.raises(Stopped):
        predicted(engine, support)
    assert time.monotonic() < until + 5


def test_the_fraction_of_work_rises_to_one() -> None:
    fractions = usual_run().fractions
    assert fractions[-1] == pytest.approx(1)
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_the_time_limit_is_kept(seconds: float) -> None:
    volume, _, support = middle_slices()
    began = time.monotonic()
    engine = prepared(volume, support, steps=100_000, context=RunContext(deadline=began + seconds))
    result = predicted(engine, support)
    assert sorted(result) == support.unlabelled(support.labelled_range())
    assert time.monotonic() - began < seconds + 10


@pytest.mark.slow
def test_a_fit_cut_short_by_a_time_limit_does_not_worsen_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, truth, support = middle_slices()
    completed: list[float] = []

    def recorded_fit(*args: object, **options: object) -> FittedNetwork:
        network = fit(*args, **options)
        completed.append(network.completed)
        return network

    monkeypatch.setattr("fewshot_annotate.engines.adapt.fitting.fit", recorded_fit)
    unfitted = prepared(volume, support, context=RunContext(deadline=time.monotonic()))
    expected = predicted(unfitted, support)
    assert not completed
    # Each time the clock is read, 0.05 s have passed: as many steps on a busy machine as on a quiet one.
    monkeypatch.setattr(time, "monotonic", itertools.count(0.0, 0.05).__next__)
    short = prepared(volume, support, steps=100_000, context=RunContext(deadline=time.monotonic() + 9))
    result = predicted(short, support)
    assert completed
    assert max(completed) < 0.1
    assert mean_dice(truth, result, support) == pytest.approx(mean_dice(truth, expected, support), abs=0.003)


def test_a_long_time_limit_does_not_change_the_result() -> None:
    volume, _, support = middle_slices()
    limited = prepared(volume, support, steps=5, context=RunContext(deadline=time.monotonic() + 3600))
    for index, probabilities in predicted(limited, support).items():
        np.testing.assert_array_equal(probabilities, short_run()[index])


def test_no_network_is_fitted_where_drafts_of_another_process_need_the_time() -> None:
    volume, _, support = middle_slices()
    slow = CONFIG.replace("schedule.candidates_per_draft_time", 1e9)
    began = time.monotonic()
    engine = prepared(volume, support, slow, steps=100_000, context=RunContext(deadline=began + 60))
    assert sorted(predicted(engine, support)) == support.unlabelled(support.labelled_range())
    assert time.monotonic() - began < 20, "the time is too short for a fit"


def test_networks_also_train_on_labelled_slices_without_neighbouring_query_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume, labels, _ = middle_slices(slices=21)
    rare = int(labels.max()) + 1
    foreground = labels[12] > 0
    changed = labels.copy()
    changed[12][foreground] = rare
    support = Support.from_label_map(LabelMap(changed, volume.geometry), SliceAxis(0), range(0, 21, 4))
    fits_with_rare: list[bool] = []

    def recorded_fit(stack: object, examples: Sequence[TrainingSlice], *rest: object, **named: object) -> object:
        fits_with_rare.append(any(example.labelled and bool(example.target[-1].max() > 0.5) for example in examples))
        return fit(stack, examples, *rest, **named)

    monkeypatch.setattr("fewshot_annotate.engines.adapt.fitting.fit", recorded_fit)
    next(prepared(volume, support, CONFIG.replace("held_out.max_slices", 2), steps=1).predict([1]))
    assert support.labels[-1] == rare
    assert any(fits_with_rare)


def test_held_out_slices_beyond_the_memory_limit_are_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, truth, support = middle_slices()
    scored: list[int] = []

    def recorded_fit_fusion(held_out: Sequence[Sequence[object]], *rest: object) -> object:
        scored.append(sum(map(len, held_out)))
        return fit_fusion(held_out, *rest)

    fit_fusion = training.fit_fusion
    monkeypatch.setattr(training, "fit_fusion", recorded_fit_fusion)
    little_memory = CONFIG.replace("held_out.max_bytes", 1)
    assert mean_dice(truth, predicted(prepared(volume, support, little_memory), support), support) > 0.6
    assert 0 < scored[0] <= CONFIG.held_out.folds < len(support.indices)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_labelled_slices_are_enough(count: int) -> None:
    volume, truth, support = middle_slices(spacing=6, slices=25)
    few = support.subset(range(1, 1 + count))
    engine = prepared(volume, few)
    query = few.unlabelled(range(few.indices[0] - 2, few.indices[-1] + 3))
    result = dict(engine.predict(query))
    assert sorted(result) == query
    assert mean_dice(truth, result, few) > 0.3
    assert all(item.low <= item.dice <= item.high for item in engine.expected_dice())


@pytest.mark.slow
def test_a_label_is_propagated_to_labelled_slices_that_are_not_annotated_for_it() -> None:
    volume, _, support = middle_slices()
    annotated = support.annotated.copy()
    annotated[2, 0] = False
    masks = support.masks.copy()
    masks[2][masks[2] == support.labels[0]] = 0
    unannotated, absent = (
        dataclasses.replace(support, annotated=flags, masks=masks) for flags in (annotated, support.annotated)
    )
    index = support.indices[2] - 1
    sizes = []
    for changed in (unannotated, absent):
        probabilities = predicted(prepared(volume, changed), changed)[index]
        sizes.append(int((label_slice(probabilities, support.labels)[0] == support.labels[0]).sum()))
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.slow
def test_many_labels_are_filled() -> None:
    volume, label_map = load_case("mic_ovule_cells")
    image, labels = volume.array[:9], label_map.array[:9]
    geometry = Geometry(image.shape)
    support = Support.from_label_map(LabelMap(labels, geometry), SliceAxis(0), [0, 4, 8])
    result = predicted(prepared(Volume(np.ascontiguousarray(image), geometry), support), support)
    assert mean_dice(labels, result, support) > 0.5


def test_without_torch_adapt_names_the_package_and_auto_is_propagate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "AUTO_ENGINES", ("adapt", "propagate"))
    assert engine_class("auto") is Adapt
    monkeypatch.setattr(adapt, "find_spec", lambda name: None)
    assert re.search(r"-m pip install \S.*\[adapt\]\"$", str(Adapt.unavailable_reason()))
    assert engine_class("auto") is Propagate


@pytest.mark.parametrize(("installed", "usable"), [("1.13.1", False), ("2.4.1+cpu", False), ("2.5.0", True)])
def test_an_old_torch_is_refused_and_auto_is_propagate(
    installed: str, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / f"torch-{installed}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {installed}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "AUTO_ENGINES", ("adapt", "propagate"))
    assert (Adapt.unavailable_reason() is None) == usable
    assert usable or f"not {installed}" in str(Adapt.unavailable_reason())
    assert engine_class("auto") is (Adapt if usable else Propagate)


def test_a_torch_of_unknown_version_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(torch_loading, "version", unknown)
    assert Adapt.unavailable_reason() is None
