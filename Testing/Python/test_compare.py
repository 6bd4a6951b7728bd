"""`compare`: nothing of a held-out slice leaks, scores are correct, and the recommendation follows from them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.dice import dice, dice_of_counts
from fewshot_annotate.core.errors import InputError, Message
from fewshot_annotate.core.events import Event, Failed
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.engines.propagate.engine import Propagate
from fewshot_annotate.engines.registry import engine_class
from fewshot_annotate.evaluation import trials as trial_module
from fewshot_annotate.evaluation.case import ComparisonCase, support_subset
from fewshot_annotate.evaluation.compare import available_engines
from fewshot_annotate.evaluation.design import Trial, TrialDesign, design_trials
from fewshot_annotate.evaluation.recommendation import Evidence, recommend
from fewshot_annotate.evaluation.scores import dice_difference, engine_score, mean_dice
from fewshot_annotate.evaluation.trials import EngineFailed, run_trial
from fewshot_annotate.host import messages as panel
from fewshot_annotate.jobs.planning import EngineSettings
from fewshot_annotate.jobs.process import run_in_worker
from fewshot_annotate.jobs.run_folder import JobFolder
from fewshot_annotate.messages import sentence
from hypothesis import given
from hypothesis import strategies as st
from support.comparison_case import comparison_case

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
PROPAGATE = EngineSettings("propagate")


# --- which slices are held out


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(1, 20), st.integers(1, 4), st.integers(0, 9))
def test_no_slice_of_a_trial_is_both_in_the_support_and_held_out(
    painted: list[bool], held_out: int, draws: int, seed: int
) -> None:
    try:
        trials = design_trials(painted, TrialDesign(draws=draws, held_out=held_out, seed=seed))
    except InputError as error:
        assert error.code == "compare_too_few"
        assert sum(painted) < 3 or held_out < len(painted)
        return
    for trial in trials:
        assert len(trial.support) == trial.size == len(set(trial.support))
        assert list(trial.support) == sorted(trial.support)
        assert not set(trial.support) & set(trial.held_out)
        assert any(painted[support_index] for support_index in trial.support)
        assert {*trial.support, *trial.held_out} <= set(range(len(painted)))
    assert len(set(trials)) == len(trials)
    by_draw = {}
    for trial in trials:
        by_draw.setdefault((trial.size, trial.draw), []).extend(trial.held_out)
    for indices in by_draw.values():
        assert len(indices) == len(set(indices)), "each slice is held out once per size and draw"
    assert len({tuple(sorted(indices)) for indices in by_draw.values()}) == 1, (
        "all sizes are scored on the same slices"
    )
    assert len(set(next(iter(by_draw.values())))) <= held_out


def test_sizes_double_up_to_all_labelled_slices_and_the_outermost_stay_in_the_support() -> None:
    trials = design_trials([True] * 12, TrialDesign(draws=2))
    assert sorted({trial.size for trial in trials}) == [1, 2, 4, 8, 9]
    held_out = sorted({support_index for trial in trials for support_index in trial.held_out})
    assert held_out == list(range(1, 11))
    assert trials[0].size == 9  # the largest support first
    draws = {trial.draw: trial.support for trial in trials if (trial.size, trial.fold) == (4, 0)}
    assert len(set(draws.values())) == 2
    for support in draws.values():  # evenly spread
        assert np.diff(support).max() <= 6
    assert design_trials([True] * 12, TrialDesign(draws=2)) == trials
    assert design_trials([True] * 12, TrialDesign(draws=2, seed=1)) != trials


def test_requested_sizes_are_used_where_they_are_possible() -> None:
    assert {trial.size for trial in design_trials([True] * 9, TrialDesign(sizes=(3, 2, 64)))} == {2, 3}
    with pytest.raises(InputError, match="choose from 1 to 7"):
        design_trials([True] * 9, TrialDesign(sizes=(64,)))


@pytest.mark.parametrize("painted", [[], [True], [False, False, False], [False, True, False]])
def test_too_few_labelled_slices_are_refused(painted: list[bool]) -> None:
    with pytest.raises(InputError, match="two slices that show a label"):
        design_trials(painted)


# --- input of an engine


def test_an_engine_sees_no_label_of_a_held_out_slice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = comparison_case()
    trial = design_trials(case.painted, TrialDesign(sizes=(1,), draws=1))[0]
    folders: list[JobFolder] = []

    def inspect_folder(folder: JobFolder, *_: object) -> None:
        folders.append(folder)
        support = folder.read_support()
        assert support.indices == tuple(case.indices[support_index] for support_index in trial.support)
        assert (support.masks == case.supports[0].masks[list(trial.support)]).all()
        assert set(support.labels) == set(np.unique(support.masks)) - {0}
        held_out_masks = [
            case.supports[0].masks[support_index].tobytes()
            for support_index in trial.held_out
            if case.painted[support_index]
        ]
        written = b"".join(path.read_bytes() for path in folder.path.rglob("*.*") if path.name != "image.npy")
        assert held_out_masks
        assert not any(mask in written for mask in held_out_masks)
        raise EngineFailed("inspected")

    monkeypatch.setattr(trial_module, "run_in_worker", inspect_folder)
    with pytest.raises(EngineFailed, match="inspected"):
        run_trial(case, trial, PROPAGATE, tmp_path, lambda fraction: None)
    assert folders
    assert not list(tmp_path.iterdir())


def test_an_engine_is_compared_once_and_by_its_own_name() -> None:
    """Scores are stored by name, and 'auto' would be no advice."""
    best = engine_class("auto").name
    asked = [EngineSettings("auto", {}, budget=5.0), PROPAGATE, EngineSettings(best), PROPAGATE]
    available, unscored = available_engines(asked)
    assert [settings.engine for settings in available] == list(dict.fromkeys((best, "propagate")))
    assert available[0].budget == 5.0
    assert not unscored


def test_an_error_of_an_engine_names_no_temporary_folder(tmp_path: Path) -> None:
    case = comparison_case()
    trial = design_trials(case.painted, TrialDesign(sizes=(1,), draws=1))[0]

    def fail(folder: JobFolder, *_: object) -> Failed:
        detail = Message("file_missing", path=str(folder.path / "support.npz"))
        return Failed.of(Message("damaged_file", path=str(folder.path), detail=detail))

    with pytest.raises(EngineFailed) as raised:
        run_trial(case, trial, PROPAGATE, tmp_path, lambda fraction: None, runner=fail)
    assert str(tmp_path) not in repr(raised.value.content.to_json())


def test_a_subset_of_the_support_has_only_its_own_labels() -> None:
    support = comparison_case().supports[0]
    with_first_label = [
        support_index
        for support_index, mask in enumerate(support.masks)
        if set(np.unique(mask)) == {0, support.labels[0]}
    ]
    subset = support_subset(support, with_first_label[:1])
    assert subset is not None
    assert subset.labels == support.labels[:1]
    assert subset.annotated.shape == (1, 1)
    empty = Support(support.axis, support.indices, np.zeros_like(support.masks), support.labels, support.annotated)
    assert support_subset(empty, [0, 1]) is None


# --- scores


def test_a_trial_scores_the_result_of_the_engine_itself(tmp_path: Path) -> None:
    case = comparison_case()
    trial = design_trials(case.painted, TrialDesign(sizes=(3,), draws=1))[0]
    outcome = run_trial(case, trial, PROPAGATE, tmp_path, lambda fraction: None)
    engine = Propagate()
    subset = support_subset(case.supports[0], trial.support)
    assert subset is not None
    engine.prepare(case.volume, subset)
    query = [case.indices[support_index] for support_index in trial.held_out]
    predicted = {index: np.array([0, *subset.labels])[found.argmax(axis=0)] for index, found in engine.predict(query)}
    assert sorted(predicted) == query
    for number, index in enumerate(query):
        assert (outcome.masks[0, number] == predicted[index]).all()
    truth = case.supports[0].masks[list(trial.held_out)]
    for label_index, structure in enumerate(case.structures):
        expected = dice(truth, outcome.masks[0], structure.segment.value)
        assert dice_of_counts(outcome.counts[:, label_index].sum(axis=0)) == pytest.approx(expected, nan_ok=True)
    assert outcome.start_seconds > 0


def test_the_progress_of_a_trial_rises_from_0_to_1(tmp_path: Path) -> None:
    case = comparison_case(2)
    trial = design_trials(case.painted, TrialDesign(sizes=(2,), draws=1))[0]
    assert len(trial.held_out) > 1
    reported: list[float] = []
    run_trial(case, trial, PROPAGATE, tmp_path, reported.append)
    assert reported == sorted(reported)
    assert reported[0] == 0
    assert reported[-1] == 1


def test_voxels_are_counted_in_the_truth_in_the_result_and_in_both() -> None:
    truth = np.array([[[1, 1], [0, 2]], [[0, 0], [2, 2]]], dtype=np.uint8)
    result = np.array([[[1, 0], [0, 2]], [[1, 0], [2, 0]]], dtype=np.uint16)
    grid = Geometry(truth.shape)
    support = Support(AXIS, (0, 1), truth, (1, 2), np.ones((2, 2), dtype=bool))
    labels = LabelMap(truth, grid, (Segment(value=1, name="one"), Segment(value=2, name="two")))
    case = ComparisonCase.from_supports(Volume(truth.astype(np.float32), grid), [support], [labels])
    counts = trial_module.count_voxels(case, [0, 1], result[None])
    assert counts.tolist() == [[[2, 1, 1], [1, 1, 1]], [[0, 1, 0], [2, 1, 1]]]
    assert dice_of_counts(counts.sum(axis=0)).tolist() == [2 * 1 / (2 + 2), 2 * 2 / (3 + 2)]


def test_a_slice_unannotated_for_a_label_is_not_scored_for_it() -> None:
    case = comparison_case()
    annotated = np.ones_like(case.supports[0].annotated)
    annotated[:, 0] = False
    (support,) = case.supports
    partly_annotated = replace(case, supports=(replace(support, annotated=annotated),))
    masks = support.masks[None].astype(np.uint16)
    support_indices = range(len(support.indices))
    counts, all_counts = (
        trial_module.count_voxels(scored, support_indices, masks) for scored in (partly_annotated, case)
    )
    assert all_counts[:, 0].any()
    assert not counts[:, 0].any()
    assert (counts[:, 1:] == all_counts[:, 1:]).all()


def test_a_label_filled_on_an_empty_slice_lowers_dice() -> None:
    right = np.array([[[100, 100, 100]], [[0, 0, 0]]])
    wrong = np.array([[[100, 100, 100]], [[0, 100, 0]]])
    assert mean_dice(right) == 1
    assert mean_dice(wrong) == pytest.approx(2 / 3)
    assert np.isnan(mean_dice(np.zeros((2, 1, 3))))


def test_voxels_are_pooled_not_slices_averaged() -> None:
    counts = np.array([[[1000, 1000, 1000]], [[10, 10, 0]]])
    assert mean_dice(counts) == pytest.approx(2000 / 2020)


def test_a_difference_is_significant_only_if_most_slices_agree() -> None:
    random = np.random.default_rng(5)
    truth = random.integers(80, 120, 12)

    def counts(share: np.ndarray) -> np.ndarray:
        return np.stack([truth, truth, np.rint(truth * share)], axis=-1)[:, None].astype(np.int64)

    good, worse = counts(np.full(12, 0.9)), counts(np.full(12, 0.8))
    found = dice_difference(good, worse)
    assert found.significant
    assert found.low <= found.dice <= found.high
    mixed = counts(np.where(np.arange(12) % 2, 0.99, 0.8))
    assert not dice_difference(mixed, good).significant
    assert dice_difference(good, good).dice == 0


def test_a_trial_fills_only_the_held_out_slices(tmp_path: Path) -> None:
    case = comparison_case()
    trial = Trial(2, 0, 0, support=(0, 3), held_out=(1, 4))
    filled = []

    def runner(folder: JobFolder, on_event: Callable[[Event], None]) -> Event:
        filled.append((folder.job.slices, tuple(folder.pending()), folder.indices))
        return run_in_worker(folder, on_event)

    result = run_trial(case, trial, PROPAGATE, tmp_path, lambda fraction: None, runner)
    slices = (case.indices[1], case.indices[4])
    assert set(filled) == {(slices, slices, (case.indices[0], case.indices[3]))}
    assert result.masks.shape[1] == 2


# --- recommendation


def advice(  # type: ignore[no-untyped-def]
    slices: int, labelled: int = 6, to_fill: int = 50, **engines_seconds: tuple[Sequence[float], float]
):
    """Recommendation for engines that each fill a share of 100 voxels of a slice correctly, in seconds per slice."""
    counts = {}
    points = []
    for engine, (share, seconds) in engines_seconds.items():
        right = np.resize(np.rint(100 * np.array(share)), slices).astype(np.int64)
        voxels = np.stack([np.full(slices, 100), np.full(slices, 100), right], axis=-1)[:, None]
        counts[engine] = voxels
        points += [engine_score(engine, 4, voxels[None], [(seconds, seconds)])]
    return recommend(points, counts, ["organ"], slices, labelled, to_fill)


def test_a_clear_lead_is_called_clear() -> None:
    found = advice(10, slow=([0.9, 0.92], 100.0), quick=([0.7, 0.72], 1.0))
    assert (found.engine, found.evidence) == ("slow", Evidence.CLEAR)
    assert "0.910" in str(found.reasons[0])
    assert "quick" in str(found.reasons[0])
    assert "about 83 minutes" in str(found.reasons[1])


def test_an_uncertain_lead_is_called_probable_and_its_cost_is_stated() -> None:
    found = advice(9, slow=([0.9, 0.7, 0.92], 0.44), quick=([0.7, 0.9, 0.74], 0.12))
    assert (found.engine, found.evidence) == ("slow", Evidence.PROBABLE)
    assert "probably better: +0.060 against quick (95 % CI" in str(found.reasons[0])
    assert "slow takes about 22 seconds, quick about 6 seconds." in str(found.reasons[0])


def test_a_very_uncertain_lead_is_called_possible() -> None:
    found = advice(9, slow=([0.9, 0.7, 0.92], 0.44), quick=([0.7, 0.9, 0.9], 0.12))
    assert (found.engine, found.evidence) == ("slow", Evidence.POSSIBLE)
    assert "ahead, perhaps by chance: +0.007 against quick (95 % CI -0." in str(found.reasons[0])


def test_a_quicker_engine_is_recommended_if_the_lead_is_tiny_or_uncertain_and_costs_much_time() -> None:
    tiny = advice(10, slow=([0.904, 0.914], 100.0), quick=([0.9, 0.91], 1.0))
    assert (tiny.engine, tiny.evidence) == ("quick", Evidence.EQUAL)
    assert "too little to matter" in str(tiny.reasons[0])
    costly = advice(9, slow=([0.9, 0.7, 0.92], 100.0), quick=([0.7, 0.9, 0.74], 1.0))
    assert (costly.engine, costly.evidence) == ("quick", Evidence.EQUAL)
    assert "may be chance and costs much more time" in str(costly.reasons[0])


def test_too_few_held_out_slices_give_no_recommendation() -> None:
    found = advice(4, one=([0.9], 1.0), other=([0.2], 1.0))
    assert found.evidence is Evidence.TOO_LITTLE
    assert "too little evidence" in str(found.reasons[0])
    assert "at least 7 slices" in str(found.reasons[0])


def test_where_enough_slices_are_painted_more_of_them_are_to_be_hidden() -> None:
    reason = str(advice(4, labelled=13, one=([0.9], 1.0), other=([0.2], 1.0)).reasons[0])
    assert "only 4 of the painted slices were hidden. Compare again with at least 5." in reason
    assert "Paint" not in reason


def test_a_single_engine_has_no_other_to_be_compared_with() -> None:
    found = advice(10, one=([0.5], 1.0))
    assert found.evidence is Evidence.ONE_ENGINE
    assert "nothing to compare" in str(found.reasons[0])
    assert any("is low" in str(reason) for reason in found.reasons)


def test_the_reasons_of_the_panel_state_the_same_facts_as_those_of_the_library() -> None:
    """The panel translates sentence by sentence; in English, its sentences equal those of the library."""
    found = [
        advice(10, slow=([0.9, 0.92], 100.0), quick=([0.7, 0.72], 1.0)),
        advice(9, slow=([0.9, 0.7, 0.92], 0.44), quick=([0.7, 0.9, 0.74], 0.12)),
        advice(10, slow=([0.904, 0.914], 100.0), quick=([0.9, 0.91], 1.0)),
        advice(9, slow=([0.9, 0.7, 0.92], 0.44), quick=([0.7, 0.9, 0.9], 0.12)),
        advice(9, slow=([0.9, 0.7, 0.92], 100.0), quick=([0.7, 0.9, 0.74], 1.0)),
        advice(4, recommendation=([0.9], 1.0), other=([0.2], 1.0)),
        advice(1, recommendation=([0.9], 1.0), other=([0.2], 1.0)),
        advice(10, recommendation=([0.5], 1.0)),
    ]
    for recommendation in found:
        written = json.loads(json.dumps(recommendation.to_json()))
        read = [Message.from_json(data) for data in written["reason_data"]]
        assert (
            [panel.error_text(reason) for reason in read] == written["reasons"] == [*map(str, recommendation.reasons)]
        )
        marked = {code: f"«{text}»" for code, text in panel.sentences().items()}
        for reason in read:
            assert re.fullmatch("«[^«»]*»", re.sub("(?<!^)«[^«»]*»", "", sentence(reason, marked, "{code}")))
