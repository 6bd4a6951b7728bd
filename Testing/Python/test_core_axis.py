"""Slices of a volume along an axis, and detection of the axis from labelled slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import (
    Plane,
    SliceAxis,
    axis_of_named_slices,
    detect_axis,
    labelled_indices,
    parse_axis,
    require_one_axis,
    run_lengths,
    thickest_axis,
)
from fewshot_annotate.core.volume import Geometry
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from support.data import every_case, load_case
from support.labels import OBLIQUE, every_nth, keep_slices

AXES = (0, 1, 2)
arrays = npst.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 3))


@given(arrays, st.sampled_from(AXES))
def test_an_array_is_restored_from_its_slices(array: np.ndarray, index: int) -> None:
    axis = SliceAxis(index)
    slices = axis.slices(array)
    geometry = Geometry(array.shape)
    assert slices.shape == axis.shape(geometry)
    assert len(slices) == axis.count(geometry)
    assert np.array_equal(axis.restore(slices), array)
    for number, slice_2d in enumerate(slices):
        assert np.array_equal(slice_2d, array.take(number, axis=index))


def test_slices_are_views_so_that_writing_to_them_writes_to_the_array() -> None:
    array = np.zeros((3, 4, 5), dtype=np.uint8)
    for index in AXES:
        SliceAxis(index).slices(array)[1] = index + 1
    assert (array[1, 1, 1], array[1, 0, 0], array[0, 1, 0], array[0, 0, 1]) == (3, 1, 2, 3)


@given(st.sampled_from(AXES), st.tuples(*[st.floats(0.1, 9)] * 3))
def test_spacing_is_given_in_the_order_of_the_slices(index: int, spacing: tuple[float, float, float]) -> None:
    array_order = spacing[::-1]
    slice_spacing, row, column = SliceAxis(index).spacing(Geometry((2, 2, 2), spacing))
    others = [array_order[axis] for axis in AXES if axis != index]
    assert (slice_spacing, row, column) == (array_order[index], *others)


@pytest.mark.parametrize("index", [-1, 3, 99])
def test_an_axis_that_does_not_exist_is_refused(index: int) -> None:
    with pytest.raises(InputError, match="0, 1 or 2"):
        SliceAxis(index)


def test_axes_are_named_after_the_nearest_patient_plane() -> None:
    straight, tilted = Geometry((2, 2, 2)), Geometry((2, 2, 2), direction=OBLIQUE)
    assert [SliceAxis(index).patient_plane(straight) for index in AXES] == ["axial", "coronal", "sagittal"]
    assert [SliceAxis(index).patient_plane(tilted) for index in AXES] == [
        "oblique axial",
        "oblique coronal",
        "oblique sagittal",
    ]
    sagittal_stack = load_case("mr_spine_cord_t2")[0].geometry
    assert [SliceAxis(index).patient_plane(sagittal_stack) for index in AXES] == ["sagittal", "axial", "coronal"]


def test_a_plane_determines_an_axis_unless_the_volume_is_tilted_too_far() -> None:
    straight, by_20, by_45 = (_turned(degrees) for degrees in (0, 20, 45))
    for geometry in (straight, by_20):
        assert [SliceAxis.of_plane(plane, geometry).index for plane in Plane] == [0, 1, 2]
    assert SliceAxis.of_plane(Plane.SAGITTAL, by_45).index == 2
    with pytest.raises(InputError, match="tilted too far"):
        SliceAxis.of_plane(Plane.AXIAL, by_45)
    assert SliceAxis(0).describe(by_20) == "axis 0 (oblique axial)"
    assert parse_axis("Coronal") is Plane.CORONAL


def _turned(degrees: float) -> Geometry:
    """Geometry turned about the axis from right to left."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Geometry((4, 5, 6), direction=(1, 0, 0, 0, cosine, -sine, 0, sine, cosine))


@given(arrays, st.sampled_from(AXES))
def test_run_lengths_are_those_counted_one_by_one(array: np.ndarray, index: int) -> None:
    lengths = np.moveaxis(run_lengths(array != 0, index), index, -1)
    lines = np.moveaxis(array != 0, index, -1)
    for position in np.ndindex(lines.shape[:-1]):
        text = "".join("x" if voxel else " " for voxel in lines[position])
        counted = [len(run) for run in text.split(" ") for _ in run]
        assert lengths[position][lines[position]].tolist() == counted
        assert not lengths[position][~lines[position]].any()


@pytest.mark.parametrize("index", AXES)
@pytest.mark.parametrize("step", [4, 8, 16])
@pytest.mark.parametrize("name", every_case())
def test_the_painted_axis_is_found_when_every_nth_slice_is_labelled(name: Path, step: int, index: int) -> None:
    label_map = load_case(name)[1]
    axis = SliceAxis(index)
    indices = every_nth(label_map, axis, step)
    kept = keep_slices(label_map, axis, indices)
    assert detect_axis(kept.array, kept.geometry) == axis
    assert labelled_indices(kept.array, axis) == indices


@pytest.mark.parametrize("index", AXES)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", every_case())
def test_the_painted_axis_is_found_from_a_few_slices_side_by_side(name: Path, count: int, index: int) -> None:
    label_map = load_case(name)[1]
    axis = SliceAxis(index)
    labelled = labelled_indices(label_map.array, axis)
    first = len(labelled) // 2
    kept = keep_slices(label_map, axis, labelled[first : first + count])
    assert detect_axis(kept.array, kept.geometry) == axis


@pytest.mark.parametrize("crossing_count", [1, 2])
@pytest.mark.parametrize("painted", ["every eighth", "one", "two side by side"])
@pytest.mark.parametrize(("index", "other"), [(a, b) for a in AXES for b in AXES if a != b])
@pytest.mark.parametrize("name", every_case())
def test_slices_painted_along_a_second_axis_are_refused(
    name: Path, index: int, other: int, painted: str, crossing_count: int
) -> None:
    label_map = load_case(name)[1]
    axis, crossing = SliceAxis(index), SliceAxis(other)
    labelled = labelled_indices(label_map.array, axis)
    middle = len(labelled) // 2
    indices = {"one": labelled[middle : middle + 1], "two side by side": labelled[middle : middle + 2]}.get(
        painted, every_nth(label_map, axis, 8)
    )
    crossing_indices = labelled_indices(label_map.array, crossing)
    crossing_indices = crossing_indices[len(crossing_indices) // 2 :][:crossing_count]
    kept = [keep_slices(label_map, axis, indices), keep_slices(label_map, crossing, crossing_indices)]
    with pytest.raises(InputError) as error:
        detect_axis(np.maximum(kept[0].array, kept[1].array), label_map.geometry, "labels.nrrd")
    assert error.value.code == "crossing_axes"
    assert {error.value.data["axis"], error.value.data["other"]} == {index, other}
    assert error.value.data["index"] in (crossing_indices if error.value.data["other"] == other else indices)


@pytest.mark.parametrize("index", AXES)
@pytest.mark.parametrize("name", every_case())
def test_a_completely_labelled_volume_is_not_mistaken_for_crossing_slices(name: Path, index: int) -> None:
    label_map = load_case(name)[1]
    require_one_axis(label_map.array, SliceAxis(index))


def body_with_ribs(border: int, beyond: int) -> np.ndarray:
    """Labelled slices of a body, and of ribs at the first or last row; `beyond` more slices show ribs only."""
    array = np.zeros((20 + beyond, 24, 30), np.uint8)
    array[:20, 6:18, 8:22] = 1
    for column in (3, 12, 24):
        array[:, :2, column : column + 3] = 2
    return array if border == 0 else array[:, ::-1]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("beyond", [0, 8])
@pytest.mark.parametrize("border", [0, -1])
def test_ribs_cut_by_the_border_of_a_crop_are_not_mistaken_for_crossing_slices(
    border: int, beyond: int, order: tuple[int, int, int]
) -> None:
    array = body_with_ribs(border, beyond).transpose(order)
    for index in AXES:
        require_one_axis(array, SliceAxis(index))


def test_a_thin_structure_inside_a_completely_labelled_crop_is_not_mistaken_for_a_crossing_slice() -> None:
    array = np.zeros((20, 24, 30), np.uint8)
    array[:, 10:18, 8:22] = 1
    array[:, 5:6, 4:26] = 2
    require_one_axis(array, SliceAxis(0))


@pytest.mark.parametrize("other", [1, 2])
def test_a_slice_painted_across_is_refused_even_if_its_structure_reaches_the_border(other: int) -> None:
    body = np.zeros((20, 24, 30), np.uint8)
    body[:, :18, :22] = 1
    array = np.zeros_like(body)
    array[::5] = body[::5]
    SliceAxis(other).slices(array)[9] = SliceAxis(other).slices(body)[9]
    with pytest.raises(InputError) as error:
        require_one_axis(array, SliceAxis(0))
    assert (error.value.code, error.value.data["other"], error.value.data["index"]) == ("crossing_axes", other, 9)


@pytest.mark.parametrize(
    ("spacing", "axis"), [((5.0, 1.0, 1.0), 0), ((1.0, 1.0, 3.0), 2), ((1.0, 1.0, 1.0), 0), ((0.5, 0.9, 0.9), 1)]
)
def test_the_axis_of_the_largest_spacing_is_the_thickest(spacing: tuple[float, float, float], axis: int) -> None:
    assert thickest_axis(Geometry((4, 4, 4), spacing[::-1])).index == axis  # spacing of a geometry is [i, j, k]


def test_named_slices_determine_the_axis_of_a_block_of_labels() -> None:
    block = np.zeros((9, 9, 9), dtype=np.uint8)
    block[2:5, 1:7, 3:8] = 1
    geometry = Geometry(block.shape)
    for named, axis in (((2, 3, 4), 0), ((1, 2, 3, 4, 5, 6), 1), ((3, 4, 5, 6, 7), 2)):
        assert axis_of_named_slices(block, named, geometry).index == axis
    with pytest.raises(InputError, match="do not show along which axis"):
        axis_of_named_slices(block, (3, 4), geometry)


def test_without_painted_slices_there_is_no_axis() -> None:
    label_map = load_case("ct_liver")[1]
    with pytest.raises(InputError) as error:
        detect_axis(np.zeros_like(label_map.array), label_map.geometry, "empty.nrrd")
    assert error.value.code == "no_labelled_slice"
    assert str(error.value).startswith("empty.nrrd:")


@given(arrays)
def test_any_array_has_a_detected_axis_or_is_refused(array: np.ndarray) -> None:
    try:
        axis = detect_axis(array, Geometry(array.shape))
    except InputError as error:
        assert error.code in ("no_labelled_slice", "crossing_axes")
    else:
        assert axis.index in AXES
        assert array.any()
