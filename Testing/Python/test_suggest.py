"""`suggest`: first the slices where labels may end, then the most uncertain ones, and no slice twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.job import Job
from fewshot_annotate.core.slice_axis import SliceAxis, labelled_indices
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LabelMap, Volume
from fewshot_annotate.engines.base import Engine, label_slice
from fewshot_annotate.engines.propagate.engine import FlowAlone, Propagate
from fewshot_annotate.guidance.suggestion import Suggestion, suggest
from fewshot_annotate.guidance.uncertainty import Uncertainty
from fewshot_annotate.io.files import write_array, write_label_maps
from fewshot_annotate.jobs.process import run_in_worker
from hypothesis import given
from hypothesis import strategies as st
from support.labels import keep_slices, overlapping_layers, small_case
from support.processes import Spawned
from support.run_folders import create_folder

pytestmark = pytest.mark.usefixtures("forked_workers")

AXIS = SliceAxis(0)
LAST = small_case()[0].array.shape[0] - 1
LABEL_SLICES = labelled_indices(small_case()[1].array, AXIS)
ENDS = [LABEL_SLICES[0], LABEL_SLICES[-1]]
MIDDLE = (LABEL_SLICES[0] + LABEL_SLICES[-1]) // 2


def support_of(labelled: Sequence[int]) -> Support:
    return Support.from_label_map(small_case()[1], AXIS, labelled)


def names_of(support: Support) -> list[str]:
    return [segment.name for segment in small_case()[1].segments if segment.value in support.labels]


def propagated(
    support: Support, slices: range | None = None, engine_type: type[Engine] = FlowAlone
) -> dict[int, np.ndarray]:
    engine = engine_type()
    engine.prepare(small_case()[0], support)
    return dict(engine.predict(support.unlabelled(slices or range(LAST + 1))))


def uncertainty_of(labelled: Sequence[int], slices: range | None = None) -> Uncertainty:
    """Uncertainty of the small case when some slices are labelled."""
    support = support_of(labelled)
    return Uncertainty.from_probabilities(support, names_of(support), propagated(support, slices).items())


def suggested(labelled: Sequence[int], slices: range | None = None, count: int = 1) -> list[Suggestion]:
    return suggest(uncertainty_of(labelled, slices), count)


def table(
    labelled: Sequence[int], shown: Sequence[Sequence[int]], wrong: dict[int, Sequence[float]], size: float = 100.0
) -> Uncertainty:
    """Uncertainty made by hand: for each unlabelled slice the wrong voxels of each label, of `size`."""
    errors = np.array(list(wrong.values()), dtype=float)
    names = tuple(f"organ {number}" for number in range(errors.shape[1]))
    return Uncertainty(
        labelled=tuple(labelled),
        names=names,
        present=np.array(shown, bool),
        unlabelled=tuple(wrong),
        expected_errors=errors,
        expected_sizes=np.full(errors.shape, size),
    )


def even_uncertainty(labelled: Sequence[int], unlabelled: Sequence[int]) -> Uncertainty:
    return table(labelled, [[1]] * len(labelled), {index: [10.0] for index in unlabelled if index not in labelled})


# --- which slice


def test_where_labels_reach_the_outermost_labelled_slices_the_ends_come_first() -> None:
    first, second = suggested([MIDDLE, MIDDLE + 4], count=2)
    for one in (first, second):
        assert not MIDDLE < one.index < MIDDLE + 4
        assert "labelled one: where" in str(one.reason)
        assert str(one.reason).endswith("is unknown.")


def test_ends_limited_by_empty_slices_are_not_suggested() -> None:
    labelled = [8, MIDDLE, LAST - 8]
    array = np.zeros_like(small_case()[1].array)
    AXIS.slices(array)[MIDDLE] = AXIS.slices(small_case()[1].array)[MIDDLE]
    support = Support.from_label_map(small_case()[1].with_array(array), AXIS, labelled)
    uncertainty = Uncertainty.from_probabilities(support, names_of(support), propagated(support).items())
    assert all(labelled[0] < one.index < labelled[-1] for one in suggest(uncertainty, 4))


def test_the_most_uncertain_gap_comes_first() -> None:
    labelled = [LABEL_SLICES[0], LABEL_SLICES[0] + 2, LABEL_SLICES[0] + 4, LABEL_SLICES[-1]]
    (first,) = suggested(labelled, range(LABEL_SLICES[0], LABEL_SLICES[-1] + 1))
    assert labelled[2] + 2 < first.index < labelled[3] - 2


def test_an_uncertain_gap_comes_before_a_wider_certain_one() -> None:
    wrong = {index: [0.0] for index in range(1, 20)} | {index: [30.0] for index in range(21, 27)}
    (first,) = suggest(table([0, 20, 27], [[1]] * 3, wrong), 1)
    assert 20 < first.index < 27


def test_a_small_label_counts_as_much_as_a_large_one() -> None:
    wrong = {index: [3000.0, 0.0] for index in range(1, 10)} | {index: [0.0, 6.0] for index in range(11, 20)}
    uncertainty = table([0, 10, 20], [[1, 1]] * 3, wrong)
    sized = replace(uncertainty, expected_sizes=np.tile([30_000.0, 30.0], (len(wrong), 1)))
    (first,) = suggest(sized, 1)
    assert first.index > 10
    assert first.labels == (1,)


def test_within_a_gap_even_uncertainty_suggests_the_middle_and_uneven_uncertainty_its_maximum() -> None:
    (even,) = suggest(even_uncertainty([0, 20], range(1, 20)), 1)
    assert even.index == 10
    peak = {index: [40.0 if index in (15, 16) else 1.0] for index in range(1, 20)}
    assert suggest(table([0, 20], [[1], [0]], peak), 1)[0].index in (15, 16)


def test_several_suggestions_are_spread() -> None:
    chosen = sorted(one.index for one in suggested(ENDS, range(LABEL_SLICES[0], LABEL_SLICES[-1] + 1), count=4))
    assert min(np.diff([LABEL_SLICES[0], *chosen, LABEL_SLICES[-1]])) >= 2
    smooth = table([0, 40], [[1], [1]], {index: [index * (40 - index) / 40] for index in range(1, 40)})
    assert sorted(one.index for one in suggest(smooth, 3)) == [10, 20, 30]


def test_labels_on_a_single_slice_suggest_that_others_were_missed() -> None:
    shown = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0] * 6]
    wrong = {index: [20.0 if index < 6 else 0.0] * 6 for index in range(1, 37) if index not in (6,)}
    (seen,) = suggest(table([0, 6, 37], [[1] * 6] * 3, wrong), 1)
    (unseen,) = suggest(table([0, 6, 37], shown, wrong), 1)
    assert seen.index < 6 < unseen.index
    assert unseen.labels == ()
    assert str(unseen.reason) == (
        "Between slices 6 and 37 no slice is labelled: there may be structures that no labelled slice shows."
    )


@pytest.mark.slow
def test_labelling_the_suggested_slice_helps_more_than_most_others() -> None:
    between = range(LABEL_SLICES[0], LABEL_SLICES[-1] + 1)
    truth = AXIS.slices(small_case()[1].array)

    def errors(labelled: list[int]) -> int:
        support = support_of(labelled)
        results = propagated(support, between).items()
        return sum(int((label_slice(one, support.labels)[0] != truth[index]).sum()) for index, one in results)

    (first,) = suggested(ENDS, between)
    others = [errors([*ENDS, index]) for index in between if index not in ENDS]
    assert errors([*ENDS, first.index]) < np.median(others)


# --- which slices are never suggested


def test_labelled_slices_are_never_suggested_and_all_others_once() -> None:
    labelled = [*ENDS, MIDDLE]
    every = [one.index for one in suggested(labelled, count=1000)]
    assert sorted([*every, *labelled]) == list(range(LAST + 1))


def test_nothing_is_suggested_outside_the_range() -> None:
    part = range(LABEL_SLICES[0] + 2, LABEL_SLICES[0] + 7)
    assert sorted(one.index for one in suggested(ENDS, part, count=99)) == list(part)


def test_the_same_input_gives_the_same_suggestions() -> None:
    assert suggested(ENDS, count=5) == suggested(ENDS, count=5)


def test_the_gain_is_at_most_1_although_labels_that_were_missed_are_added() -> None:
    (only,) = suggest(table([0], [[1]], {1: [100.0]}), 1)
    assert only.gain == 1


def test_one_labelled_slice_is_enough() -> None:
    first, second = suggested([MIDDLE], count=2)
    assert first.index != MIDDLE
    assert f"slice {MIDDLE}, the only labelled one" in str(first.reason)
    assert second.index not in (first.index, MIDDLE)


# --- the reason


def test_the_reason_names_the_segments_and_the_labelled_slices_around() -> None:
    gap = [MIDDLE - 2, MIDDLE + 2]
    (first,) = suggested(gap, range(gap[0], gap[1] + 1))
    assert first.labels
    assert all(uncertainty_of(gap).names[label] in str(first.reason) for label in first.labels)
    assert str(first.reason).startswith(f"Between slices {gap[0]} and {gap[1]} ")


@pytest.mark.parametrize(
    ("shown", "wrong", "message"),
    [
        ([[1, 0], [1, 0]], (9, 0), "Between slices 0 and 9 organ 0 is least certain."),
        ([[1, 1], [1, 1]], (9, 8), "Between slices 0 and 9 organ 0 and organ 1 are least certain."),
        ([[1, 1], [1, 1]], (9, 1), "Between slices 0 and 9 organ 0 is least certain."),
        ([[1, 1], [0, 1]], (9, 8), "Between slices 0 and 9 organ 0 begins or ends."),
        ([[1, 0], [0, 1]], (9, 8), "Between slices 0 and 9 organ 0 and organ 1 begin or end."),
    ],
)
def test_reasons_between_labelled_slices(shown: list[list[int]], wrong: tuple[float, float], message: str) -> None:
    (first,) = suggest(table([0, 9, 10], [*shown, [1, 1]], dict.fromkeys(range(1, 9), wrong)), 1)
    assert str(first.reason) == message


def test_reasons_beyond_the_labelled_slices() -> None:
    after = table([0, 9], [[1, 1], [1, 1]], dict.fromkeys(range(10, 15), (9, 8)))
    before = table([5, 9], [[1, 0], [1, 0]], dict.fromkeys(range(5), (9, 0)))
    assert str(suggest(after, 1)[0].reason) == (
        "organ 0 and organ 1 reach slice 9, the last labelled one: where they end is unknown."
    )
    assert (
        str(suggest(before, 1)[0].reason)
        == "organ 0 reaches slice 5, the first labelled one: where it ends is unknown."
    )


# --- uncertainty


def test_certain_predictions_have_no_uncertainty() -> None:
    support = support_of(ENDS)
    sure = (AXIS.slices(small_case()[1].array)[MIDDLE] == np.array([0, *support.labels])[:, None, None]).astype(float)
    uncertainty = Uncertainty.from_probabilities(support, names_of(support), [(MIDDLE, sure)])
    assert not uncertainty.expected_errors.any()
    assert uncertainty.expected_sizes[0].tolist() == (2 * sure[1:].sum(axis=(1, 2))).tolist()


def test_uncertainty_predicts_the_accuracy_of_the_result() -> None:
    labelled = list(range(LABEL_SLICES[0], LABEL_SLICES[-1] + 1, 4))
    support, uncertainty = support_of(labelled), uncertainty_of(labelled, range(LABEL_SLICES[0], labelled[-1]))
    truth = AXIS.slices(small_case()[1].array)
    results = propagated(support, range(LABEL_SLICES[0], labelled[-1]))
    predicted = np.stack([label_slice(probabilities, support.labels)[0] for probabilities in results.values()])
    true = truth[list(results)]
    for number, label in enumerate(support.labels):
        overlap = 2 * np.sum((predicted == label) & (true == label))
        dice = overlap / (np.sum(predicted == label) + np.sum(true == label))
        expected = 1 - uncertainty.expected_errors[:, number].sum() / uncertainty.expected_sizes[:, number].sum()
        assert abs(dice - expected) < 0.15


def test_labels_and_confidence_of_a_finished_job_give_about_the_same(tmp_path: Path) -> None:
    support = support_of([LABEL_SLICES[0], MIDDLE, LABEL_SLICES[-1]])
    folder = create_folder(
        tmp_path / "job",
        Job(engine="propagate", slices=tuple(support.unlabelled(range(LAST + 1)))),
        small_case()[0],
        support,
    )
    run_in_worker(folder, lambda event: None)
    finished = support.unlabelled(range(LAST + 1))
    kept = ((index, folder.result_slice(index), folder.confidence_slice(index)) for index in finished)
    read = Uncertainty.from_labels(folder.read_support(), names_of(support), kept)
    predictions = propagated(support, engine_type=Propagate).items()  # as the job is filled
    computed = Uncertainty.from_probabilities(support, names_of(support), predictions)
    assert read.unlabelled == computed.unlabelled
    # Uncertainty between two labels is counted for the predicted one, so sums over labels are compared.
    assert np.corrcoef(read.expected_errors.sum(axis=1), computed.expected_errors.sum(axis=1))[0, 1] > 0.9
    assert read.expected_sizes.sum() == pytest.approx(computed.expected_sizes.sum(), rel=0.1)
    assert abs(suggest(read, 1)[0].index - suggest(computed, 1)[0].index) <= 3


def test_uncertain_background_counts_for_the_label_nearby() -> None:
    masks = np.zeros((2, 9, 9), dtype=np.uint8)
    masks[:, 1:4, 1:4], masks[:, 6:8, 6:8] = 3, 7
    support = Support(AXIS, (0, 4), masks, (3, 7), np.ones((2, 2), bool))
    confidence = np.ones((9, 9), np.float32)
    confidence[6, 6] = 0.25
    uncertainty = Uncertainty.from_labels(support, ["a", "b"], [(2, np.zeros((9, 9), np.uint8), confidence)])
    assert uncertainty.expected_errors.tolist() == [[0, 0.75]]


def test_beyond_the_labelled_slices_a_label_may_have_ended() -> None:
    masks = np.ones((2, 4, 4), dtype=np.uint8)
    support = Support(AXIS, (10, 19), masks, (1,), np.ones((2, 1), bool))
    sure = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    uncertainty = Uncertainty.from_probabilities(support, ["a"], [(index, sure) for index in (15, 29, 0)])
    assert uncertainty.unlabelled == (0, 15, 29)
    assert uncertainty.expected_errors[:, 0].tolist() == [8, 0, 8], (
        "its probability is 0.5 at a distance equal to its known extent"
    )


def test_layers_are_considered_together_and_must_have_the_same_slices() -> None:
    one, other = even_uncertainty([0, 9], range(1, 9)), even_uncertainty([0, 9], range(1, 9))
    both = Uncertainty.concatenate(
        [one, replace(other, names=("tumour",), expected_errors=3 * other.expected_errors)]
    )
    assert suggest(both, 1)[0].labels == (1,)
    assert "tumour" in str(suggest(both, 1)[0].reason)
    with pytest.raises(ValueError, match="same slices"):
        Uncertainty.concatenate([one, even_uncertainty([0, 8], range(1, 8))])


@st.composite
def uncertainties(draw: st.DrawFn) -> Uncertainty:
    count = draw(st.integers(2, 24))
    labelled = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count)))
    unlabelled = tuple(index for index in range(count) if index not in labelled)
    labels = draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    size = random.integers(0, 50, (len(unlabelled), labels)) * 2.0
    wrong = size * random.random(size.shape) * draw(st.sampled_from([0.0, 0.1, 1.0]))
    shown = random.random((len(labelled), labels)) < 0.7
    return Uncertainty(
        labelled=tuple(labelled),
        names=tuple("abcd"[:labels]),
        present=shown,
        unlabelled=unlabelled,
        expected_errors=wrong,
        expected_sizes=size,
    )


@given(uncertainties(), st.integers(1, 30))
def test_whatever_the_uncertainty_suggestions_are_new_slices_with_valid_gains(
    uncertainty: Uncertainty, count: int
) -> None:
    found = suggest(uncertainty, count)
    indices = [one.index for one in found]
    assert len(found) == len(set(indices)) == min(count, len(uncertainty.unlabelled))
    assert set(indices) <= set(uncertainty.unlabelled)
    assert all(np.isfinite(one.gain) and one.gain >= 0 for one in found)
    assert all(str(one.reason).endswith(".") and "\n" not in str(one.reason) for one in found)
    assert suggest(uncertainty, max(1, count - 1)) == found[: max(1, count - 1)]


@given(uncertainties())
def test_a_mirrored_volume_gains_as_much(uncertainty: Uncertainty) -> None:
    last = max(*uncertainty.labelled, *uncertainty.unlabelled, 0)
    mirrored = Uncertainty(
        labelled=tuple(last - index for index in uncertainty.labelled[::-1]),
        names=uncertainty.names,
        present=uncertainty.present[::-1],
        unlabelled=tuple(last - index for index in uncertainty.unlabelled[::-1]),
        expected_errors=uncertainty.expected_errors[::-1],
        expected_sizes=uncertainty.expected_sizes[::-1],
    )
    gains = [[one.gain for one in suggest(each, 1)] for each in (uncertainty, mirrored)]
    assert gains[0] == pytest.approx(gains[1], abs=1e-9)


# --- the command


@pytest.fixture
def case_folder(awkward_path: Path) -> Path:
    """A folder with an image and a support that has three labelled slices."""
    put(
        awkward_path, small_case()[0], keep_slices(small_case()[1], AXIS, [LABEL_SLICES[0], MIDDLE, LABEL_SLICES[-1]])
    )
    return awkward_path


def put(folder: Path, volume: Volume, *layers: LabelMap) -> None:
    write_array(folder / "image.nii.gz", volume.array, volume.geometry)
    write_label_maps(folder / "support.seg.nrrd", layers)


def command(case_folder: Path, *more: object) -> list[str]:
    return ["suggest", *map(str, (case_folder / "image.nii.gz", case_folder / "support.seg.nrrd", *more))]


def printed(capfd: pytest.CaptureFixture[str], case_folder: Path, *more: object) -> list[dict]:
    capfd.readouterr()
    assert main(command(case_folder, *more)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    found: list[dict] = json.loads(out)
    return found


def test_the_command_prints_json_best_first(case_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in case_folder.iterdir()}
    found = printed(capfd, case_folder)
    assert len(found) == 3
    assert all(list(one) == ["slice", "axis", "plane", "gain", "reason", "labels"] for one in found)
    assert [one["slice"] for one in found] == [
        one.index for one in suggested([LABEL_SLICES[0], MIDDLE, LABEL_SLICES[-1]], count=3)
    ]
    names = {segment.name for segment in small_case()[1].segments}
    assert all(set(one["labels"]) <= names for one in found)
    assert {path.name: path.read_bytes() for path in case_folder.iterdir()} == before


def test_range_count_and_empty_slices_are_respected(case_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    between = printed(capfd, case_folder, "--slices", "between", "--count", "99")
    inner = set(range(LABEL_SLICES[0], LABEL_SLICES[-1])) - {LABEL_SLICES[0], MIDDLE}
    assert {one["slice"] for one in between} == inner
    part = printed(capfd, case_folder, "--slices", f"{LABEL_SLICES[0] + 1}:{LABEL_SLICES[0] + 4}", "--count", "99")
    assert {one["slice"] for one in part} == set(range(LABEL_SLICES[0] + 1, LABEL_SLICES[0] + 4))
    named = ",".join(map(str, [LABEL_SLICES[0], LABEL_SLICES[0] + 2, MIDDLE, LABEL_SLICES[-1]]))
    with_empty = printed(capfd, case_folder, "--axis", 0, "--labelled-slices", named, "--count", "99")
    assert LABEL_SLICES[0] + 2 not in {one["slice"] for one in with_empty}


def test_where_every_slice_is_labelled_there_is_nothing_to_suggest(
    case_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    every = ",".join(map(str, range(LAST + 1)))
    assert printed(capfd, case_folder, "--axis", 0, "--labelled-slices", every) == []
    put(case_folder, small_case()[0], keep_slices(small_case()[1], AXIS, [MIDDLE]))
    assert printed(capfd, case_folder, "--axis", 0, "--slices", "between") == []
    assert len(printed(capfd, case_folder, "--axis", 0)) == 3


def test_overlapping_segments_are_considered_together(case_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labelled = [LABEL_SLICES[0], LABEL_SLICES[-1]]
    layers = [keep_slices(layer, AXIS, labelled) for layer in overlapping_layers(small_case()[1], 2)]
    put(case_folder, small_case()[0], *layers)
    names = {segment.name for layer in layers for segment in layer.segments}
    found = printed(capfd, case_folder, "--axis", 0, "--slices", "between")
    assert len(found) == 3
    assert {name for one in found for name in one["labels"]} <= names


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--count", "0"], "'0' is no number of slices"),
        (["--count", "-2"], "'-2' is no number of slices"),
        (["--count", "two"], "'two' is no number of slices"),
        (["--slices", "9:3"], "'9:3' is not a slice range"),
        (["--slices", "0:9999"], "Slice 9998 does not exist"),
        (["--axis", "7"], "Axis 7 does not exist"),
        (["--labelled-slices", "1/2"], "'1/2' is not a list"),
        (["--axis", "0", "--labelled-slices", "9999"], "Slice 9999 does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(
    more: list[str], message: str, case_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if more[0] == "--count":
        more = ["--count=" + more[1]]
    assert main(command(case_folder, *more)) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("fewshot-annotate: ")
    assert message in err


def test_a_support_without_labels_is_refused(case_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(case_folder, small_case()[0], small_case()[1].with_array(np.zeros_like(small_case()[1].array)))
    assert main(command(case_folder)) == 2
    assert "no slice is labelled" in capfd.readouterr().err


def test_the_real_program_prints_nothing_but_json(case_folder: Path, spawned: Spawned) -> None:
    program = spawned.cli(*command(case_folder, "--count", 1, "--progress", "none"))
    out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, "")
    assert len(json.loads(out)) == 1
