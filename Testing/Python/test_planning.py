"""Planning of runs: which slices, which layers, how much time, by the same rules for every caller."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.job import Device
from fewshot_annotate.core.layers import group_disjoint
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment, Volume
from fewshot_annotate.engines.registry import engine_class
from fewshot_annotate.jobs.labelled_layers import layers_of_label_maps, layers_of_segments
from fewshot_annotate.jobs.planning import (
    EngineSettings,
    FillRequest,
    SliceRange,
    jobs_of_layers,
    plan,
    slices_to_fill,
)
from fewshot_annotate.jobs.suggestions import suggest_slices, suggestions

AXIS = SliceAxis(0)
PROPAGATE = EngineSettings("propagate")


def label_map(painted: dict[int, list[tuple[int, int]]], name: str = "organ", count: int = 8) -> LabelMap:
    """Squares of label 1 on 6 x 6 slices: slice -> first and last pixel of rows and columns."""
    array = np.zeros((count, 6, 6), dtype=np.uint8)
    for index, spans in painted.items():
        array[index, slice(*spans[0]), slice(*spans[1])] = 1
    return LabelMap(array, Geometry(array.shape), (Segment(value=1, name=name, colour=(1, 0, 0)),))


def mask(*pixels: tuple[int, int]) -> np.ndarray:
    result = np.zeros((3, 3), dtype=bool)
    for pixel in pixels:
        result[pixel] = True
    return result


# --- which slices


@pytest.mark.parametrize(
    ("slices", "labelled", "query"),
    [
        ("between", (2, 5, 6), (3, 4)),
        ("all", (2, 5, 6), (0, 1, 3, 4, 7)),
        ((4, 8), (2, 5, 6), (4, 7)),
        ("all", (3,), (0, 1, 2, 4, 5, 6, 7)),
        ("between", (), tuple(range(8))),
        ((1, 3), (), (1, 2)),
    ],
)
def test_slices_to_fill_are_the_requested_ones_that_are_not_labelled(
    slices: SliceRange, labelled: tuple[int, ...], query: tuple[int, ...]
) -> None:
    assert slices_to_fill(slices, labelled, AXIS, 8) == query


@pytest.mark.parametrize(
    ("slices", "labelled", "code", "index"),
    [
        ((-1, 3), (2,), "slice_out_of_range", -1),
        ((4, 9), (2,), "slice_out_of_range", 8),
        ("all", (2, 8), "slice_out_of_range", 8),
        ("between", (4,), "one_labelled_slice", 4),
        ("between", (3, 4, 5), "nothing_to_fill", None),
        ((3, 5), (3, 4), "nothing_to_fill", None),
        ("all", tuple(range(8)), "nothing_to_fill", None),
    ],
)
def test_slices_that_cannot_be_filled_are_refused(
    slices: SliceRange, labelled: tuple[int, ...], code: str, index: int | None
) -> None:
    with pytest.raises(InputError) as error:
        slices_to_fill(slices, labelled, AXIS, 8, "labels.nii")
    assert error.value.code == code
    assert error.value.data.get("index") == index


# --- layers


def test_masks_that_do_not_overlap_share_a_group() -> None:
    left, right, both = mask((0, 0)), mask((0, 2)), mask((0, 0), (0, 2))
    assert group_disjoint([{1: left}, {1: right}, {1: both}, {2: both}]) == [[0, 1, 3], [2]]
    assert group_disjoint([{1: both}, {1: left}, {1: right}]) == [[0], [1, 2]]


def test_layers_share_the_labelled_slices_of_all_label_maps() -> None:
    maps = [
        label_map({0: [(0, 3), (0, 3)], 4: [(0, 3), (0, 3)]}, "a"),
        label_map({}),
        label_map({6: [(1, 5), (1, 5)]}, "b"),
    ]
    first, second = layers_of_label_maps(maps, AXIS)
    assert (first.number, second.number) == (0, 2)
    assert first.support.indices == second.support.indices == (0, 4, 6)
    assert (first.names, second.names) == ({1: "a"}, {1: "b"})
    assert first.support.annotated.all()
    partial = layers_of_label_maps(maps, AXIS, [0, 4, 6, 7], complete=False)
    assert partial[0].support.annotated[:, 0].tolist() == [True, True, False, True]
    assert partial[1].support.annotated[:, 0].tolist() == [False, False, True, True], "an empty slice has no label"


def test_overlapping_segments_are_in_different_layers() -> None:
    masks = {
        1: {"liver": mask((0, 0), (0, 1)), "tumour": mask((0, 1)), "spleen": mask((2, 2))},
        3: {"liver": mask((1, 1))},
        5: {},
    }
    names = {"absent": "Absent", "liver": "Liver", "tumour": "Tumour", "spleen": "Spleen"}
    (ids, layer), (others, overlapping) = layers_of_segments(AXIS, masks, names)
    assert (ids, others) == (["liver", "spleen"], ["tumour"])
    assert (layer.number, overlapping.number) == (0, 1)
    assert layer.names == {1: "Liver", 2: "Spleen"}
    assert layer.support.indices == overlapping.support.indices == (1, 3, 5)
    assert layer.support.masks[0].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 2]]
    assert layer.support.annotated.all()


def test_a_segment_missing_on_a_slice_may_be_unannotated_there() -> None:
    masks = {1: {"a": mask((0, 0))}, 3: {"b": mask((1, 1))}, 5: {}, 6: {"a": mask((0, 0))}}
    ((_, layer),) = layers_of_segments(AXIS, masks, {"a": "A", "b": "B"}, complete=False, annotated=(6,))
    assert layer.support.annotated.tolist() == [[True, False], [False, True], [True, True], [True, True]]


def test_segments_on_no_labelled_slice_are_refused() -> None:
    with pytest.raises(InputError) as error:
        layers_of_segments(AXIS, {1: {}}, {"a": "A"}, source="Segmentation 'x'")
    assert error.value.code == "no_labelled_slice"


# --- jobs


def test_layers_share_the_time_limit() -> None:
    jobs = jobs_of_layers(EngineSettings("propagate", {}, Device.CPU, 60.0), (1, 3), [{1: "a"}, {1: "b"}, {1: "c"}])
    assert [job.budget for job in jobs] == [20.0] * 3
    assert {job.slices for job in jobs} == {(1, 3)}
    assert {job.device for job in jobs} == {Device.CPU}


def test_names_are_given_only_to_engines_that_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [{1: "a"}, {1: "b"}]
    assert [job.names for job in jobs_of_layers(PROPAGATE, (1,), names)] == [{}, {}]
    monkeypatch.setattr(engine_class("propagate"), "uses_names", True)
    assert [job.names for job in jobs_of_layers(PROPAGATE, (1,), names)] == names


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (EngineSettings("no-such-engine"), "engine_unknown"),
        (EngineSettings("propagate", {"steps": 3}), "option_unknown"),
        (EngineSettings("propagate", {}, Device.CUDA), "device_unavailable"),
        (EngineSettings("propagate", {}, Device.AUTO, 0.0), "budget_invalid"),
        (EngineSettings("adapt", {"steps": 0}), "option_invalid"),
    ],
)
def test_settings_with_which_an_engine_cannot_run_are_refused(settings: EngineSettings, code: str) -> None:
    with pytest.raises(InputError) as error:
        settings.require_runnable()
    assert error.value.code == code


def test_a_plan_has_one_run_for_each_layer() -> None:
    maps = [label_map({0: [(0, 3), (0, 3)], 4: [(0, 3), (0, 3)]}), label_map({}), label_map({0: [(1, 5), (1, 5)]})]
    volume = Volume(np.zeros((8, 6, 6), dtype=np.float32), maps[0].geometry)
    runs = plan(
        FillRequest(
            volume=volume, layers=maps, axis=AXIS, slices=(2, 6), settings=EngineSettings("propagate", budget=9.0)
        )
    )
    assert [run.layer for run in runs] == [0, 2]
    assert {run.job.slices for run in runs} == {(2, 3, 5)}
    assert {run.job.budget for run in runs} == {4.5}


# --- suggestions


def test_every_caller_gets_the_same_suggestions() -> None:
    maps = [label_map({0: [(0, 4), (0, 4)], 6: [(2, 6), (2, 6)]}, "a"), label_map({0: [(1, 5), (1, 5)]}, "b")]
    generator = np.random.default_rng(0)
    volume = Volume(generator.normal(size=(8, 6, 6)).astype(np.float32), maps[0].geometry)
    expected = suggestions(FillRequest(volume=volume, layers=maps, axis=AXIS), 2)
    masks = {
        index: {
            name: labels.array[index] == 1
            for name, labels in zip("ab", maps, strict=True)
            if labels.array[index].any()
        }
        for index in (0, 6)
    }
    layers = [layer for _, layer in layers_of_segments(AXIS, masks, {"a": "a", "b": "b"})]
    assert suggest_slices(volume, layers, [1, 2, 3, 4, 5], 2) == expected
    assert len(expected) == 2
    assert 0 < expected[0].index < 6
