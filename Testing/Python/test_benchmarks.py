"""Metrics and statistics of the benchmarks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, to_image
from scipy.ndimage import binary_dilation, shift
from support.labels import every_nth, small_case

sys.path.append(str(Path(__file__).parents[1] / "Benchmarks"))

from curve import LEVELS, Case, Suggested, dice_by_count, evenly, first_reaching, needs
from methods import NEAREST_COPY, Listener, Task, fill, limited, run_in_process
from peers import GROW_FROM_SEEDS
from report import markdown_table, summary, write_markdown
from responsiveness import COMMANDS
from results import LabelRow, Point, Row, Setting, calibration, compare, write_csv
from scores import (
    Range,
    calibration_error,
    dice_by_label,
    hd95,
    label_scores,
    mean_dice,
    ranges,
    rank_correlation,
    scored_labels,
    surface,
)
from startup import import_seconds

AXIS = SliceAxis(0)
RIVALS = ("copy", "grow")


def task(step: int = 6) -> Task:
    """The small case with every `step`-th of its labelled slices labelled."""
    volume, truth = small_case()
    return Task(volume, truth, AXIS, tuple(every_nth(truth, AXIS, step)))


def square_on_slice(index: int, slices: int = 12) -> np.ndarray:
    """A mask [slices, 6, 6] with a square on one slice."""
    mask = np.zeros((slices, 6, 6), dtype=bool)
    mask[index, 2:4, 2:4] = True
    return mask


def row(case: str, method: str, dice: float | None, rank: float | None = None) -> Row:
    """A row of which only the Dice matters."""
    hd = None if dice is None else 1.0
    return Row(
        case=case,
        spacing=4,
        start=0,
        method=method,
        slices=20,
        labelled=5,
        labels=1,
        dice_between=dice,
        dice_all=dice,
        hd95_between=hd,
        hd95_all=hd,
        one_sided_between=0,
        one_sided_all=0,
        rank_between=rank,
        rank_all=rank,
        calibration_between=None,
        calibration_all=None,
        first_slice_s=None,
        seconds=1.0,
        peak_mib=None,
    )


def label_row(
    dice: float, expected: float | None, low: float | None, high: float | None, label: int = 1, between: int = 700
) -> LabelRow:
    """A row of which only the true and the expected Dice matter, and the voxels between the labelled slices."""
    return LabelRow(
        case="spleen",
        spacing=4,
        start=0,
        method="adapt",
        label=label,
        name="spleen",
        voxels=900,
        voxels_between=between,
        voxels_all=800,
        dice_between=dice,
        dice_all=dice,
        hd95_between=1.0,
        hd95_all=1.0,
        expected=expected,
        low=low,
        high=high,
    )


# Dice


def test_dice_is_that_of_simpleitk_on_a_real_case():
    truth = small_case()[1].array
    result = shift(truth, (1, 2, 0), order=0)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(array) for array in (result, truth)))
    labels = scored_labels(truth)
    found = dice_by_label(truth, result, labels)
    assert labels
    assert found == pytest.approx({label: overlap.GetDiceCoefficient(label) for label in labels})


def test_dice_leaves_out_a_label_that_neither_side_holds_and_counts_a_false_one_as_0():
    truth, result = np.array([[[1, 1, 0, 0]]]), np.array([[[1, 0, 2, 0]]])
    assert dice_by_label(truth, result, [1, 2, 3]) == {1: pytest.approx(2 / 3), 2: 0.0}


def test_mean_dice_is_of_the_given_slices_only():
    truth, result = np.ones((3, 4, 4), dtype=np.uint8), np.ones((3, 4, 4), dtype=np.uint8)
    result[1] = 0
    assert mean_dice(truth, result, [0, 2], [1]) == 1.0
    assert mean_dice(truth, result, [1], [1]) == 0.0
    assert mean_dice(truth, result, [], [1]) is None


def test_labels_of_fewer_than_200_voxels_and_the_background_are_not_scored():
    truth = np.zeros((4, 20, 20), dtype=np.uint8)
    truth[0, :10] = 1
    truth[1].flat[:199] = 2
    assert scored_labels(truth) == [1]


def test_ranges_hold_the_unlabelled_slices_between_labelled_ones_and_all_of_them():
    found = ranges(8, (2, 5))
    assert found["between"] == Range(2, 6, (3, 4))
    assert found["all"] == Range(0, 8, (0, 1, 3, 4, 6, 7))
    assert ranges(4, (0,))["between"].unlabelled == ()


# HD95


def hd95_by_simpleitk(truth: np.ndarray, result: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """HD95 over all slices from the contours and distance maps of SimpleITK."""
    geometry = Geometry(truth.shape, spacing[::-1])
    images = [to_image(mask.astype(np.uint8), geometry) for mask in (truth, result)]
    outlines = [sitk.LabelContour(image, fullyConnected=False) for image in images]
    maps = [
        sitk.SignedMaurerDistanceMap(outline, squaredDistance=False, useImageSpacing=True) for outline in outlines
    ]
    distances = [np.abs(sitk.GetArrayFromImage(image)) for image in maps]
    on_truth, on_result = (sitk.GetArrayFromImage(outline) > 0 for outline in outlines)
    return max(np.percentile(distances[1][on_truth], 95), np.percentile(distances[0][on_result], 95))


@pytest.mark.parametrize("move", [(0, 0, 0), (1, 0, 0), (0, 2, -1), (2, -3, 1)])
def test_hd95_is_that_of_simpleitk_on_a_real_case_with_uneven_spacing(move):
    label_map = small_case()[1]
    spacing = (2.5, 0.7, 1.1)
    truth = np.pad(label_map.array == label_map.values[0], 5)
    result = binary_dilation(shift(truth, move, order=0))
    everywhere = range(len(truth))
    assert hd95(truth, result, everywhere, spacing) == pytest.approx(hd95_by_simpleitk(truth, result, spacing))


def test_hd95_of_a_square_two_slices_off_is_two_slice_spacings():
    assert hd95(square_on_slice(3), square_on_slice(5), range(12), (5.0, 1.0, 1.0)) == pytest.approx(10.0)


def test_hd95_is_symmetric_and_0_for_equal_masks():
    small, large = square_on_slice(4), square_on_slice(4) | square_on_slice(8)
    assert hd95(small, large, range(12), (1.0, 1.0, 1.0)) == hd95(large, small, range(12), (1.0, 1.0, 1.0)) == 4.0
    assert hd95(large, large, range(12), (1.0, 1.0, 1.0)) == 0.0


def test_hd95_counts_from_the_given_slices_only():
    truth, result = square_on_slice(2) | square_on_slice(8), square_on_slice(2) | square_on_slice(10)
    assert hd95(truth, result, [2], (1.0, 1.0, 1.0)) == 0.0
    assert hd95(truth, result, [2, 8, 10], (1.0, 1.0, 1.0)) == 2.0


def test_hd95_ignores_the_farthest_5_percent_of_the_surface():
    truth, result = (np.zeros((1, 1, 400), dtype=bool) for _ in range(2))
    truth[0, 0, :300] = result[0, 0, :300] = True
    result[0, 0, 390] = True
    assert hd95(truth, result, [0], (1.0, 1.0, 1.0)) == 0.0


def test_a_surface_voxel_has_a_face_neighbour_outside():
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[1:4, 1:4, 1:4] = True
    assert np.count_nonzero(surface(mask)) == 26
    assert surface(np.ones((3, 3, 3), dtype=bool)).sum() == 26


def test_a_label_in_one_mask_only_has_dice_0_and_the_diagonal_of_its_box_as_hd95():
    truth = np.zeros((10, 20, 20), dtype=np.uint8)
    truth[2:8, 5:15, 5:13] = 1
    (found,) = label_scores(truth, np.zeros_like(truth), ranges(10, (2, 7))["between"], [1], (3.0, 1.0, 0.5)).values()
    assert (found.dice, found.one_sided) == (0.0, True)
    assert found.hd95 == pytest.approx(np.linalg.norm((6 * 3.0, 10 * 1.0, 8 * 0.5)))


def test_scores_of_the_truth_itself_are_perfect():
    volume, label_map = small_case()
    truth, labels = label_map.array, scored_labels(label_map.array)
    found = label_scores(truth, truth, ranges(len(truth), (8, 16))["all"], labels, AXIS.spacing(volume.geometry))
    assert list(found) == labels
    assert all((score.dice, score.hd95, score.one_sided) == (1.0, 0.0, False) for score in found.values())


# Confidence and expected Dice


def ranked_slices() -> tuple[np.ndarray, np.ndarray]:
    """Truth and a result [6, 20, 20] that gets worse from slice to slice."""
    truth, result = (np.zeros((6, 20, 20), dtype=np.uint8) for _ in range(2))
    truth[:, 5:15, 5:15] = 1
    for index in range(6):
        result[index, 5:15, 5 + index : 15] = 1
    return truth, result


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
def test_the_rank_correlation_has_the_sign_of_the_order_of_confidence(sign, expected):
    truth, result = ranked_slices()
    confidence = np.full(truth.shape, 0.5) - sign * np.arange(6)[:, None, None] / 20
    assert rank_correlation(truth, result, confidence, range(6), [1]) == pytest.approx(expected)


def test_too_few_slices_or_equal_confidence_give_no_ranking():
    truth, result = ranked_slices()
    confidence = np.full(truth.shape, 0.5) - np.arange(6)[:, None, None] / 20
    assert rank_correlation(truth, result, confidence, range(3), [1]) is None
    assert rank_correlation(truth, truth, np.ones(truth.shape), range(6), [1]) is None


def test_calibrated_confidence_has_no_calibration_error():
    truth, result = np.zeros((1, 12, 12), dtype=np.uint8), np.zeros((1, 12, 12), dtype=np.uint8)
    truth[0, 3:9, 3:6], result[0, 3:9, 3:9] = 1, 1
    confidence = np.where(result == 1, 0.5, 1.0)
    assert calibration_error(truth, result, confidence, [0]) == pytest.approx(0.0)
    near = binary_dilation(result[0], iterations=2).sum()
    assert calibration_error(truth, result, np.where(result == 1, 0.9, 1.0), [0]) == pytest.approx(0.4 * 36 / near)
    assert calibration_error(truth, truth * 0, confidence, [0]) is None


def test_calibration_is_the_mean_error_and_the_share_of_true_dice_within_the_range():
    rows = [label_row(0.9, 0.8, 0.7, 0.85), label_row(0.6, 0.65, 0.5, 0.7), label_row(0.5, None, None, None)]
    found = calibration(rows, "adapt")
    assert (found.count, found.error, found.inside) == (2, pytest.approx(0.075), 0.5)
    assert calibration(rows, "propagate") is None


def test_the_listener_records_the_first_slice_and_the_last_expected_dice_of_each_label():
    listener = Listener()
    for line in (
        b"not json\n",
        b'{"event": "slice", "index": 4, "draft": true}\n',
        b'{"event": "expected", "label": 3, "dice": 0.5, "low": 0.4, "high": 0.6}\n',
        b'{"event": "slice", "index": 5}\n',
        b'{"event": "expected", "label": 3, "dice": 0.8, "low": 0.7, "high": 0.9}\n',
        b'{"seconds": 2.0, "peak_mib": 100, "code": 0}\n',
    ):
        listener(line)
        if line.startswith(b'{"event": "slice", "index": 4'):
            first = listener.first_slice
    assert first == listener.first_slice > 0
    assert listener.expected == {3: (0.8, 0.7, 0.9)}


# Against the best rival


def test_the_error_ratio_is_the_geometric_mean_against_the_best_rival_of_each_setting():
    rows = [
        *(row("a", "copy", 0.8), row("a", "grow", 0.6), row("a", "adapt", 0.9)),
        *(row("b", "copy", 0.5), row("b", "grow", 0.9), row("b", "adapt", 0.7)),
    ]
    found = compare(rows, "adapt", RIVALS, "between")
    assert found.ratio == pytest.approx(np.sqrt(0.5 * 3))
    assert list(found.gains.values()) == pytest.approx([-0.2, 0.1])
    assert list(found.notably_behind) == [Setting("b", 4, 0)]


def test_smaller_errors_count_as_a_thousandth():
    rows = [row("a", "copy", 0.998), row("a", "grow", 0.9), row("a", "adapt", 1.0)]
    assert compare(rows, "adapt", RIVALS, "between").ratio == pytest.approx(0.5)


def test_a_setting_without_such_slices_or_without_a_rival_is_left_out():
    rows = [*(row("a", method, None) for method in (*RIVALS, "adapt")), row("b", "copy", 0.5), row("b", "adapt", 0.5)]
    assert compare(rows, "adapt", RIVALS, "between") is None


def test_a_setting_a_hundredth_behind_is_not_notable():
    rows = [row("a", "copy", 0.9), row("a", "grow", 0.8), row("a", "adapt", 0.891)]
    assert compare(rows, "adapt", RIVALS, "between").notably_behind == {}


def test_the_mean_over_larger_labels_leaves_out_a_label_of_a_few_voxels_between_the_labelled_slices(tmp_path):
    rows = [label_row(0.9, None, None, None), label_row(0.0, None, None, None, label=2, between=1)]
    path = tmp_path / "accuracy.md"
    write_markdown(path, [row("spleen", "adapt", 0.45)], rows, ["adapt"], ["adapt"], "between")
    text = path.read_text(encoding="utf-8")
    assert "| spleen | 4 | 0 | 0.450 (1.0) |" in text
    assert "| spleen | 4 | 0 | 1 | 0.900 |" in text


def test_the_summary_names_the_settings_that_are_behind():
    rows = [row("spleen", rival, 0.9) for rival in ("nearest copy", "Fill between slices", "Grow from seeds")]
    rows += [row("spleen", "adapt", 0.8, rank=0.5), row("heart", "adapt", None)]
    text = "\n".join(summary(rows, [label_row(0.9, 0.8, 0.7, 0.95)], ["adapt"], "between"))
    assert "-0.100  spleen, every 4th" in text
    assert "off by 0.100 (mean over 1 labels" in text
    assert "in its range in 100% of cases" in text
    assert "mean over 1 settings: 0.50" in text
    assert "left out: 1 settings" in text


# Dice by number of labelled slices


def test_evenly_spaced_slices_include_both_ends():
    assert evenly(range(10, 31), 3) == [10, 20, 30]
    assert evenly(range(4, 8), 9) == [4, 5, 6, 7]


@pytest.mark.parametrize("smallest", [3, 4, 7, 10, 11, 16])
def test_the_first_crossing_is_found_between_the_counts_tried(smallest):
    assert first_reaching(lambda count: 0.9 if count >= smallest else 0.5, (3, 4, 6, 10, 16), 0.9) == smallest


def test_no_crossing_where_the_level_is_never_reached_or_nothing_is_left_to_fill():
    assert first_reaching(lambda count: 0.5, (3, 4, 6), 0.9) is None
    assert first_reaching(lambda count: None if count > 4 else 0.5, (3, 4, 6, 8), 0.9) is None
    assert first_reaching(lambda count: 1.0, (), 0.9) is None


def test_the_number_needed_is_the_smallest_that_reached_each_level():
    points = [Point("spleen", "adapt", count, dice) for count, dice in ((3, 0.8), (5, 0.93), (4, 0.91), (8, 0.94))]
    assert [str(need) for need in needs(points)] == ["4", "> 8"]


def test_slices_are_suggested_one_at_a_time_until_there_are_no_more():
    supports = []

    def suggest(painted):
        supports.append(list(painted))
        return {3: 7, 4: 2}.get(len(painted))

    choose = Suggested(suggest, [0, 5, 10])
    assert choose(3) == [0, 5, 10]
    assert choose(5) == [0, 2, 5, 7, 10]
    assert choose(4) == [0, 5, 7, 10]
    assert choose(6) is None
    assert supports == [[0, 5, 10], [0, 5, 7, 10], [0, 2, 5, 7, 10]]


def test_the_curve_of_a_real_case_ends_at_the_highest_level_or_the_most_slices():
    points = dice_by_count(Case("small", *small_case(), AXIS), "propagate", (3, 6, 12), suggests=False, cache=None)
    assert points[0].slices == 3
    assert points[-1].dice >= max(LEVELS) or points[-1].slices == 12
    assert points[-1].dice >= points[0].dice


# Methods


def test_an_engine_run_as_a_command_gives_what_it_gives_in_this_process():
    run = fill("propagate", task(), slices="between")
    assert np.array_equal(run.labels, run_in_process("propagate", task()))
    assert run.confidence.shape == run.labels.shape
    assert 0 < run.first_slice < run.seconds
    assert run.peak_mib > 20


def test_a_time_limit_reaches_the_engine():
    with pytest.raises(RuntimeError, match="code 2"):
        fill(limited("propagate", 0), task())
    assert np.array_equal(
        fill(limited("propagate", 60), task(), slices="between").labels, run_in_process("propagate", task())
    )


def test_an_engine_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="code 2"):
        fill("no such engine", task())


@pytest.mark.parametrize("method", [NEAREST_COPY, GROW_FROM_SEEDS])
def test_a_kept_result_is_the_first_one_with_its_seconds(method, tmp_path):
    first = fill(method, task(), tmp_path)
    (kept,) = tmp_path.iterdir()
    again = fill(method, task(), tmp_path)
    assert np.array_equal(again.labels, first.labels)
    assert (again.seconds, again.peak_mib) == (first.seconds, first.peak_mib)
    assert list(tmp_path.iterdir()) == [kept]


def test_kept_results_differ_by_image_labels_slices_and_method(tmp_path):
    usual = task()
    other_labels = Task(usual.volume, usual.truth.with_array(np.minimum(usual.truth.array, 1)), AXIS, usual.indices)
    for different in (usual, other_labels, task(step=4)):
        fill(NEAREST_COPY, different, tmp_path)
    fill("shape interpolation", usual, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_every_method_returns_the_labelled_slices_unchanged():
    usual = task()
    labelled = list(usual.indices)
    for method in (NEAREST_COPY, "shape interpolation", GROW_FROM_SEEDS, "propagate"):
        assert np.array_equal(fill(method, usual).labels[labelled], usual.labels[labelled]), method


# Files


def test_missing_values_are_empty_cells_in_csv(tmp_path):
    write_csv(tmp_path / "rows.csv", [row("a", "copy", None)], Row)
    head, line = (text.split(",") for text in (tmp_path / "rows.csv").read_text().splitlines())
    cells = dict(zip(head, line, strict=True))
    assert (cells["case"], cells["dice_between"], cells["seconds"]) == ("a", "", "1")


def test_a_markdown_table_has_a_header_row():
    assert markdown_table([["a", "b"], ["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]


# Startup


def test_times_of_imports_leave_out_what_was_loaded_before():
    found = import_seconds("import csv", before="import json")
    assert found["csv"] > 0
    assert "json" not in found


def test_the_first_output_of_every_command_is_measured():
    reference = Path(__file__).parents[2] / "Resources" / "Documentation" / "command_line.md"
    lines = re.findall(
        r"^    fewshot-annotate ([a-z]+)(?: ([a-z]+)(?= |$))?", reference.read_text(encoding="utf-8"), re.M
    )
    commands = {" ".join(filter(None, words)) for words in lines}
    measured = [command.split() for command in COMMANDS.values()]
    missing = commands - {words[0] for words in measured} - {" ".join(words[:2]) for words in measured}
    assert len(commands) > 20
    assert missing == set()
