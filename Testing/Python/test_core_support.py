"""Support: which labels each labelled slice shows, lacks or leaves unannotated."""

from __future__ import annotations

import numpy as np
import pytest
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import Plane, SliceAxis, labelled_indices
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import LABEL_TOLERANCE, Geometry, LabelMap, as_label_array, present_values
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from support.data import load_case
from support.labels import every_nth, keep_slices

BRAIN = "mni152"
SPLEEN = "ct_liver"
label_arrays = npst.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 4))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_painted_slices_become_the_support_unchanged(index: int) -> None:
    label_map = load_case(BRAIN)[1]
    axis = SliceAxis(index)
    indices = every_nth(label_map, axis, 16)
    support = Support.from_label_map(keep_slices(label_map, axis, indices))
    assert support.axis == axis
    assert list(support.indices) == indices
    assert np.array_equal(support.masks, axis.slices(label_map.array)[indices])
    assert support.labels == present_values(support.masks)
    assert support.unlabelled(support.labelled_range()) == sorted(
        set(range(indices[0], indices[-1] + 1)) - set(indices)
    )


def test_slices_around_and_one_hot_labels_of_a_support() -> None:
    masks = np.array([[[0, 3]], [[5, 5]], [[0, 0]]], dtype=np.uint8)
    support = Support(SliceAxis(0), (2, 6, 9), masks, (3, 5), np.ones((3, 2), dtype=bool))
    assert [support.nearest_around(index) for index in (0, 3, 4, 5, 12)] == [(0,), (0, 1), (0, 1), (1, 0), (2,)]
    assert support.nearest_around(6) == (2, 0)  # a labelled slice is not its own neighbour
    assert support.labelled_range() == range(2, 10)
    assert support.one_hot(0).tolist() == [[[1, 0]], [[0, 1]], [[0, 0]]]
    assert support.one_hot(1, (slice(None), slice(1, 2))).tolist() == [[[0]], [[0]], [[1]]]


def test_an_empty_slice_is_labelled_if_the_user_names_it() -> None:
    label_map = load_case(SPLEEN)[1]
    axis = SliceAxis(0)
    labelled = labelled_indices(label_map.array, axis)
    empty = labelled[0] - 1 if labelled[0] else labelled[-1] + 1
    support = Support.from_label_map(label_map, axis, labelled_slices=[labelled[3], empty])
    assert support.indices == tuple(sorted([labelled[3], empty]))
    assert not support.masks[support.indices.index(empty)].any()
    assert support.annotated.all()


def test_unnamed_slices_do_not_belong_to_the_support_even_if_they_hold_labels() -> None:
    label_map = load_case(SPLEEN)[1]
    labelled = labelled_indices(label_map.array, SliceAxis(0))
    named = [labelled[2], labelled[-3]]
    support = Support.from_label_map(label_map, SliceAxis(0), named)
    assert list(support.indices) == named


def test_the_axis_of_named_slices_is_ambiguous_where_all_slices_are_labelled() -> None:
    box = np.zeros((12, 12, 12), dtype=np.uint8)
    box[1:11, 1:11, 1:11] = 1
    with pytest.raises(InputError) as error:
        Support.from_label_map(LabelMap(box, Geometry(box.shape)), labelled_slices=[3, 8])
    assert error.value.code == "axis_unclear"
    assert "axis 1 (coronal)" in str(error.value)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_naming_some_of_the_painted_slices_keeps_their_axis(index: int) -> None:
    axis = SliceAxis(index)
    array = np.zeros((20, 20, 20), dtype=np.uint8)
    for painted in (2, 6, 10, 14):
        axis.slices(array)[painted, 5:15, 5:15] = 1
    support = Support.from_label_map(LabelMap(array, Geometry(array.shape)), labelled_slices=[2, 10])
    assert (support.axis, support.indices) == (axis, (2, 10))


def test_the_axis_may_be_named_by_its_plane() -> None:
    array = np.zeros((9, 9, 9), dtype=np.uint8)
    array[2:7, 4, 2:7] = 1
    label_map = LabelMap(array, Geometry(array.shape))
    assert Support.from_label_map(label_map, Plane.CORONAL).axis == SliceAxis(1)


def test_named_slices_determine_the_axis_on_which_nothing_else_is_painted() -> None:
    label_map = load_case(BRAIN)[1]
    for index in (0, 1, 2):
        axis = SliceAxis(index)
        indices = every_nth(label_map, axis, 16)
        empty = [0] if 0 not in indices else []
        kept = keep_slices(label_map, axis, indices)
        assert Support.from_label_map(kept, labelled_slices=[*empty, *indices]).axis == axis


def test_on_a_complete_slice_a_missing_label_is_absent() -> None:
    label_map = load_case(BRAIN)[1]
    kept = keep_slices(label_map, SliceAxis(0), every_nth(label_map, SliceAxis(0), 16))
    assert Support.from_label_map(kept, complete=True).annotated.all()


def test_on_an_incomplete_slice_a_missing_label_is_unannotated() -> None:
    label_map = load_case(BRAIN)[1]
    axis = SliceAxis(0)
    indices = every_nth(label_map, axis, 16)
    kept = keep_slices(label_map, axis, indices)
    first_label = kept.values[0]
    missing = axis.slices(kept.array)[indices[1]]
    missing[missing == first_label] = 0
    support = Support.from_label_map(kept, axis, [0, *indices], complete=False)
    assert support.annotated[0].all(), "a labelled slice that is empty is annotated for every label"
    assert not support.annotated[2, support.labels.index(first_label)]
    for mask, annotated in zip(support.masks[1:], support.annotated[1:], strict=True):
        assert set(np.array(support.labels)[annotated]) == set(present_values(mask[None]))


@pytest.mark.parametrize("beyond_last", [None, 1, 10_000], ids=["before the first", "after the last", "far away"])
def test_a_slice_outside_the_volume_is_refused(beyond_last: int | None) -> None:
    label_map = load_case(SPLEEN)[1]
    last = len(label_map.array) - 1
    outside = -1 if beyond_last is None else last + beyond_last
    with pytest.raises(InputError) as error:
        Support.from_label_map(label_map, SliceAxis(0), [3, outside])
    assert error.value.code == "slice_out_of_range"
    assert str(outside) in str(error.value)
    assert str(last) in str(error.value)


def test_named_slices_without_any_label_are_refused() -> None:
    label_map = load_case(SPLEEN)[1]
    labelled = labelled_indices(label_map.array, SliceAxis(0))
    blank = keep_slices(label_map, SliceAxis(0), labelled[4:6])
    with pytest.raises(InputError) as error:
        Support.from_label_map(blank, SliceAxis(0), [labelled[8], labelled[9]])
    assert error.value.code == "no_labelled_slice"


def test_crossing_slices_are_refused_along_a_given_axis_too() -> None:
    label_map = load_case(SPLEEN)[1]
    first, second = SliceAxis(0), SliceAxis(1)
    array = np.maximum(
        keep_slices(label_map, first, every_nth(label_map, first, 4)).array,
        keep_slices(label_map, second, labelled_indices(label_map.array, second)[40:41]).array,
    )
    with pytest.raises(InputError, match="axis"):
        Support.from_label_map(label_map.with_array(array), first)


def test_named_slices_along_a_given_axis_are_the_support_although_others_cross_them() -> None:
    array = np.zeros((20, 20, 20), np.uint8)
    array[[4, 12], 2:18, 2:18] = 1
    array[2:18, 9, 2:18] = 2
    label_map = LabelMap(array, Geometry(array.shape))
    support = Support.from_label_map(label_map, SliceAxis(0), [4, 12])
    assert support.indices == (4, 12)
    assert np.array_equal(support.masks, array[[4, 12]])
    with pytest.raises(InputError, match="axis"):
        Support.from_label_map(label_map, SliceAxis(0))


@given(label_arrays, st.sampled_from([0, 1, 2]), st.booleans(), st.data())
def test_any_labels_give_a_consistent_support_or_are_refused(
    array: np.ndarray, index: int, complete: bool, data: st.DataObject
) -> None:
    label_map = LabelMap(array, Geometry(array.shape))
    named = data.draw(st.none() | st.lists(st.integers(0, array.shape[index] - 1), min_size=1))
    try:
        support = Support.from_label_map(label_map, SliceAxis(index), named, complete=complete)
    except InputError as error:
        assert error.code in ("no_labelled_slice", "crossing_axes")
        return
    assert support.masks.shape == (len(support.indices), *SliceAxis(index).shape(label_map.geometry)[1:])
    assert set(support.labels) == set(np.unique(support.masks)) - {0}
    assert support.annotated.shape == (len(support.indices), len(support.labels))
    for mask, annotated in zip(support.masks, support.annotated, strict=True):
        for label, is_annotated in zip(support.labels, annotated, strict=True):
            assert is_annotated or (not complete and label not in mask and mask.any())


@given(npst.arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(*[st.integers(1, 5)] * 3)))
def test_present_values_are_the_unique_ones(array: np.ndarray) -> None:
    assert list(present_values(array)) == [value for value in np.unique(array).tolist() if value]


@given(
    npst.arrays(
        st.sampled_from(["u1", "i2", "u4", "i8", "u8", "f4", "f8", "c8", ">i2"]), st.tuples(*[st.integers(1, 4)] * 3)
    )
)
def test_any_numbers_are_converted_to_labels_without_loss_or_refused(array: np.ndarray) -> None:
    try:
        labels = as_label_array(array, "labels.nrrd")
    except InputError as error:
        assert error.code in ("label_not_integer", "label_out_of_range", "not_scalar")
        integral = array.dtype.kind != "c" and np.isfinite(array).all() and (array == np.rint(array)).all()
        assert not integral or array.min() < 0 or array.max() > 65535
    else:
        assert labels.dtype in (np.uint8, np.uint16)
        assert np.abs(labels - array.astype(float)).max() <= LABEL_TOLERANCE
