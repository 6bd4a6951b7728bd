"""Clean-up of filled labels: what it changes, and that painted slices and other labels are never changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.cli import main
from fewshot_annotate.core.clean_up import (
    CleanUp,
    CleanUpRule,
    clean_up_labels,
    clean_up_layers,
    clean_ups_by_value,
    confidence_after,
)
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.exit_codes import ExitCode
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, default_segment
from fewshot_annotate.io.files import read_label_maps, write_array, write_label_maps

LARGEST, HOLES = CleanUp(largest_component=True), CleanUp(fill_holes=True)
PAINTED, FILLED = (0, 4), (1, 2, 3)


def label_map(*boxes: tuple[Sequence[slice | int], int], spacing: tuple[float, float, float] = (1, 1, 1)) -> LabelMap:
    """Five slices of 9 x 9 voxels with boxes of label values."""
    array = np.zeros((5, 9, 9), np.uint8)
    for box, value in boxes:
        array[tuple(box)] = value
    segments = (Segment(value=1, name="liver"), Segment(value=2, name="spleen"))
    return LabelMap(array, Geometry(array.shape, spacing), segments)


def cleaned(labels: LabelMap, clean_ups: dict[int, CleanUp], axis: int = 0) -> np.ndarray:
    return clean_up_labels(labels, clean_ups, SliceAxis(axis), PAINTED, FILLED).array


BODY = ((slice(0, 5), slice(1, 5), slice(1, 5)), 1)


def test_an_island_on_filled_slices_is_removed_and_the_body_stays() -> None:
    with_island = label_map(BODY, ((2, 7, 7), 1))
    assert np.array_equal(cleaned(with_island, {1: LARGEST}), label_map(BODY).array)
    assert np.array_equal(cleaned(with_island, {2: LARGEST}), with_island.array)


def test_a_painted_component_and_what_is_connected_to_it_are_kept() -> None:
    labels = label_map(BODY, ((slice(0, 3), 7, 7), 1))
    assert np.array_equal(cleaned(labels, {1: LARGEST}), labels.array)


def test_a_hole_is_filled_except_for_other_labels_and_painted_holes() -> None:
    labels = label_map(BODY, ((2, 2, 2), 0), ((2, 3, 3), 2))
    assert np.array_equal(cleaned(labels, {1: HOLES}), label_map(BODY, ((2, 3, 3), 2)).array)
    painted = label_map(BODY, ((slice(0, 3), 2, 2), 0))
    assert np.array_equal(cleaned(painted, {1: HOLES}), painted.array)


def test_smoothing_removes_a_spike_and_measures_in_mm() -> None:
    spike = ((2, 3, slice(5, 8)), 1)
    assert np.array_equal(cleaned(label_map(BODY, spike), {1: CleanUp(smooth_mm=1.0)})[2, 3, 6:8], [0, 0])
    coarse = label_map(BODY, spike, spacing=(9, 9, 9))
    assert np.array_equal(cleaned(coarse, {1: CleanUp(smooth_mm=1.0)}), coarse.array)
    assert np.array_equal(cleaned(coarse, {1: CleanUp(smooth_mm=0.0)})[2, 3, 6:8], [0, 0])


def test_smoothing_opens_no_gap_between_labels_that_touch() -> None:
    labels = label_map(((slice(0, 5), slice(0, 9), slice(0, 9)), 2), ((slice(0, 5), slice(3, 6), slice(3, 6)), 1))
    assert np.array_equal(cleaned(labels, {1: CleanUp(smooth_mm=1.5), 2: CleanUp(smooth_mm=1.5)}), labels.array)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_that_were_painted_or_not_filled_and_other_labels_never_change(axis: int) -> None:
    array = np.random.default_rng(axis).choice(3, (7, 7, 7), p=(0.6, 0.3, 0.1)).astype(np.uint8)
    labels = LabelMap(array, Geometry(array.shape), tuple(map(default_segment, (1, 2))))
    all_clean_ups = CleanUp(1.0, largest_component=True, fill_holes=True)
    after = clean_up_labels(labels, {1: all_clean_ups}, SliceAxis(axis), (1, 5), (2, 3)).array
    changed = after != array
    assert changed.any()
    assert not np.delete(np.moveaxis(changed, axis, 0), (2, 3), axis=0).any()
    assert np.array_equal(after == 2, array == 2)


def test_the_confidence_of_a_changed_voxel_is_the_probability_of_all_other_labels() -> None:
    before, after = label_map(BODY, ((2, 7, 7), 1)), label_map(BODY)
    confidence = confidence_after(np.full(before.array.shape, 0.75, np.float32), before, after)
    assert confidence[2, 7, 7] == 0.25
    assert (np.delete(confidence.ravel(), np.ravel_multi_index((2, 7, 7), confidence.shape)) == 0.75).all()


def test_a_rule_for_one_label_overrides_the_rule_for_all() -> None:
    segments = label_map().segments
    rules = [CleanUpRule("spleen", HOLES), CleanUpRule("", LARGEST)]
    assert clean_ups_by_value(rules, segments) == {1: LARGEST, 2: HOLES}
    with pytest.raises(InputError, match="no label 'lung' to clean up; there are: liver, spleen"):
        clean_ups_by_value([CleanUpRule("lung", LARGEST)], segments)


def test_overlapping_layers_are_cleaned_separately() -> None:
    island = label_map(BODY, ((2, 7, 7), 1))
    layers = [LabelMap(island.array, island.geometry, island.segments[:1])] * 2
    layers[1] = LabelMap(island.array, island.geometry, (Segment(value=1, name="lesion"),))
    support = Support.from_label_map(island, SliceAxis(0), list(PAINTED))
    rules = [CleanUpRule("lesion", LARGEST)]
    (first, second), _ = clean_up_layers(layers, np.ones(island.array.shape), rules, support, FILLED)
    assert first.array[2, 7, 7] == 1
    assert second.array[2, 7, 7] == 0


@pytest.fixture
def case(tmp_path: Path) -> tuple[str, str]:
    """A volume with a bright bar, painted on its ends, and a bright small component beside it, not on these ends."""
    image = np.zeros((9, 24, 24), np.int16)
    image[:, 8:16, 8:16] = 100
    painted = np.zeros_like(image, dtype=np.uint8)
    painted[[0, 8], 8:16, 8:16] = 1
    write_array(tmp_path / "image.nii.gz", image, Geometry(image.shape))
    write_label_maps(
        tmp_path / "painted.nii.gz", [LabelMap(painted, Geometry(image.shape), (Segment(value=1, name="bar"),))]
    )
    return str(tmp_path / "image.nii.gz"), str(tmp_path / "painted.nii.gz")


def fill(case: tuple[str, str], output: Path, *more: str) -> int:
    return main(["fill", *case, "-o", str(output), "--engine", "propagate", "--progress", "none", *more])


def test_the_command_cleans_up_and_refuses_unknown_clean_ups_before_it_fills(
    case: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.nii.gz"
    for wrong, expected in (
        ("bar=polish", "'bar=polish' is no clean-up"),
        ("smooth:-1", "'smooth:-1' is no clean-up"),
        ("lung=largest", "no label 'lung' to clean up; there are: bar"),
    ):
        assert fill(case, output, "--clean-up", wrong) == ExitCode.BAD_INPUT
        assert expected in capsys.readouterr().err
        assert not output.exists()
    assert fill(case, output, "--clean-up", "bar=smooth:2.5,holes", "--clean-up", "largest") == ExitCode.DONE
    filled, painted = (read_label_maps(path)[0].array for path in (output, case[1]))
    assert np.array_equal(filled[[0, 8]], painted[[0, 8]])
    assert not filled[4, 8, 8]
    assert filled[4, 11, 11]
