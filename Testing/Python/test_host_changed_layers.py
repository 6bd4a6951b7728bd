"""Labelmaps put in place by a commit: the same segmentation as Slicer's editor logic makes by adding and removing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.host.fill.changed_layers import can_be_written, changed_layers
from fewshot_annotate.host.fill.changes import Box, Changes
from fewshot_annotate.host.fill.commit import commit
from fewshot_annotate.host.fill.saved_segmentation import CopiedSegmentation, ReferencedSegmentation
from fewshot_annotate.host.mrml.chosen_nodes import ChosenNodes
from fewshot_annotate.host.mrml.grid_reader import GridReader
from fewshot_annotate.host.mrml.reading import BINARY_LABELMAP, CLOSED_SURFACE, image_array
from hypothesis import given
from hypothesis import strategies as st
from support import mrml, scene_cases

SHAPE = (6, 7, 8)
OBLIQUE = (0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6)
EVENTS = ("SourceRepresentationModified", "RepresentationModified")


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    scene_cases.require_quiet(capfd.readouterr())


def nodes_of(masks: dict[str, np.ndarray], collapsed: bool = True) -> ChosenNodes:
    """A segmentation on an oblique grid; segments that do not overlap share a labelmap if `collapsed`."""
    mrml.new_scene()
    volume = mrml.add_volume(np.zeros(SHAPE, np.int16), (0.7, 0.8, 1.5), (3.0, -4.0, 5.0), OBLIQUE, "v")
    node = mrml.add_segmentation(volume, masks)
    if collapsed:
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return ChosenNodes(volume, node)


def two_blocks() -> dict[str, np.ndarray]:
    """Segments 'a' and 'b' beside each other on slices 1 and 4."""
    masks = {name: np.zeros(SHAPE, dtype=bool) for name in "ab"}
    for index in (1, 4):
        masks["a"][index, 2:5, 1:4] = True
        masks["b"][index, 2:5, 4:7] = True
    return masks


def box_of(mask: np.ndarray) -> Box:
    first = np.argwhere(mask).min(axis=0)
    stop = np.argwhere(mask).max(axis=0) + 1
    part = tuple(slice(low, high) for low, high in zip(first, stop, strict=True))
    return Box((int(first[0]), int(first[1]), int(first[2])), np.ascontiguousarray(mask[part]))


def changes_to(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> Changes:
    """The voxels to add and to remove."""
    added = {name: after[name] & ~before[name] for name in before}
    removed = {name: before[name] & ~after[name] for name in before}
    return Changes(
        {name: box_of(mask) for name, mask in added.items() if mask.any()},
        {name: box_of(mask) for name, mask in removed.items() if mask.any()},
    )


def segmentation_of(nodes: ChosenNodes) -> list[Any]:
    """Voxels, extent, label value, shared labelmap and tags of each segment, as Slicer has them."""
    segmentation = nodes.segmentation.GetSegmentation()
    names = list(segmentation.GetSegmentIDs())
    labelmaps = [segmentation.GetSegment(name).GetRepresentation(BINARY_LABELMAP) for name in names]
    result: list[Any] = []
    for name, labelmap in zip(names, labelmaps, strict=True):
        segment = segmentation.GetSegment(name)
        voxels = image_array(labelmap).tolist()
        status = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment)
        grid = (labelmap.GetExtent(), labelmap.GetOrigin(), labelmap.GetSpacing(), labelmap.GetScalarTypeAsString())
        result.append((name, segment.GetLabelValue(), labelmaps.index(labelmap), grid, status, voxels))
    return result


def commit_both_ways(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> tuple[list[Any], list[Any] | None]:
    """The segmentation as written by Slicer's editor logic and by new labelmaps; None where these do not apply."""
    results: list[list[Any] | None] = []
    for replaced in (False, True):
        nodes, grids = nodes_of(before), GridReader()
        grid, changes = grids.read(nodes), changes_to(before, after)
        layers = changed_layers(grid, changes) if replaced else None
        if replaced and layers is None:
            results.append(None)
            continue
        commit(nodes, grid, changes, grids, layers=layers)
        for name, mask in after.items():
            np.testing.assert_array_equal(mrml.segment_array(nodes.segmentation, name), mask)
        results.append(segmentation_of(nodes))
    assert results[0] is not None
    return results[0], results[1]


def test_voxels_are_added_and_removed_as_by_slicer() -> None:
    before = two_blocks()
    after = {name: mask.copy() for name, mask in before.items()}
    after["a"][2:4, 2:5, 1:4] = True  # between the two slices
    after["b"][4] = False  # the labelmap becomes shorter there
    after["a"][5, 6, 7] = True  # it grows to a corner of the grid
    expected, found = commit_both_ways(before, after)
    assert found == expected


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5))
def test_any_change_without_overlap_is_written_as_by_slicer(seed: int, fraction: float) -> None:
    random = np.random.default_rng(seed)
    before = two_blocks()
    values = np.where(random.random(SHAPE) < fraction, random.integers(0, 3, SHAPE), before["a"] + 2 * before["b"])
    after = {"a": values == 1, "b": values == 2}
    expected, found = commit_both_ways(before, after)
    assert found is None or found == expected
    assert (found is None) == (not values.any())


def test_segments_that_begin_to_overlap_are_left_to_slicer() -> None:
    before = two_blocks()
    after = {name: mask.copy() for name, mask in before.items()}
    after["a"][1, 2, 4] = True  # a voxel of 'b'
    expected, found = commit_both_ways(before, after)
    assert found is None
    assert [layer for _name, _value, layer, *_ in expected] == [0, 1]


def test_a_labelmap_that_loses_all_voxels_is_left_to_slicer() -> None:
    before = two_blocks()
    after = {name: np.zeros_like(mask) for name, mask in before.items()}
    _expected, found = commit_both_ways(before, after)
    assert found is None


def test_an_empty_segment_that_shares_the_labelmap_is_written_as_by_slicer() -> None:
    before = {**two_blocks(), "c": np.zeros(SHAPE, dtype=bool)}
    after = {name: mask.copy() for name, mask in before.items()}
    after["c"][2, 2, 2] = True
    expected, found = commit_both_ways(before, after)
    assert found == expected


def test_a_segment_without_labelmap_is_left_to_slicer() -> None:
    nodes = nodes_of({})
    nodes.segmentation.GetSegmentation().AddEmptySegment("new", "new")
    added = np.zeros(SHAPE, dtype=bool)
    added[2, 2, 2] = True
    assert changed_layers(GridReader().read(nodes), Changes({"new": box_of(added)}, {})) is None


def test_segments_with_another_representation_are_left_to_slicer() -> None:
    nodes = nodes_of(two_blocks())
    assert can_be_written(nodes.segmentation)
    nodes.segmentation.CreateClosedSurfaceRepresentation()
    assert can_be_written(nodes.segmentation)
    nodes.segmentation.GetSegmentation().CreateRepresentation("Fractional labelmap")
    assert not can_be_written(nodes.segmentation)


def test_only_labelmaps_that_change_are_written() -> None:
    before = two_blocks()
    nodes, grids = nodes_of(before, collapsed=False), GridReader()
    segmentation = nodes.segmentation.GetSegmentation()
    labelmaps = {name: segmentation.GetSegment(name).GetRepresentation(BINARY_LABELMAP) for name in "ab"}
    after = {**before, "a": before["a"] | np.roll(before["a"], 1, axis=0)}
    changes = changes_to(before, after)
    layers = changed_layers(grids.read(nodes), changes)
    assert layers is not None
    commit(nodes, grids.read(nodes), changes, grids, layers=layers)
    assert segmentation.GetSegment("a").GetRepresentation(BINARY_LABELMAP) is not labelmaps["a"]
    assert segmentation.GetSegment("b").GetRepresentation(BINARY_LABELMAP) is labelmaps["b"]
    np.testing.assert_array_equal(mrml.segment_array(nodes.segmentation, "a"), after["a"])


def test_observers_are_notified_of_the_segments_that_changed() -> None:
    before = two_blocks()
    after = {**before, "b": before["b"] | np.roll(before["b"], 1, axis=0)}
    notified: dict[bool, list[tuple[str, str]]] = {}
    for replaced in (False, True):
        nodes, grids = nodes_of(before), GridReader()
        segmentation, changes = nodes.segmentation.GetSegmentation(), changes_to(before, after)
        events: list[tuple[str, str]] = []
        for event in EVENTS:

            @vtk.calldata_type(vtk.VTK_STRING)
            def record_event(
                _caller: Any, _event: str, segment_id: str, event: str = event, events: Any = events
            ) -> None:
                events.append((event, segment_id))

            segmentation.AddObserver(getattr(segmentation, event), record_event)
        layers = changed_layers(grids.read(nodes), changes) if replaced else None
        commit(nodes, grids.read(nodes), changes, grids, layers=layers)
        notified[replaced] = events
    assert notified[True] == [(event, "b") for event in EVENTS]
    assert set(notified[True]) == set(notified[False])


@pytest.mark.parametrize("surface", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_saved_segmentation_is_restored_as_it_was(copied: bool, surface: bool) -> None:
    before = two_blocks()
    nodes, grids = nodes_of(before), GridReader()
    node, segmentation = nodes.segmentation, nodes.segmentation.GetSegmentation()
    segmentation.GetSegment("a").SetTag("kept", "1")
    if surface:
        node.CreateClosedSurfaceRepresentation()
    state = segmentation_of(nodes)
    surfaces = {name: segmentation.GetSegment(name).GetRepresentation(CLOSED_SURFACE) for name in "ab"}
    points = {name: found.GetNumberOfPoints() for name, found in surfaces.items() if found is not None}
    saved = (CopiedSegmentation if copied else ReferencedSegmentation)(node)
    after = {name: mask | np.roll(mask, 1, axis=0) for name, mask in before.items()}
    changes = changes_to(before, after)
    layers = None if copied else changed_layers(grids.read(nodes), changes)
    commit(nodes, grids.read(nodes), changes, grids, layers=layers)
    segmentation.GetSegment("a").SetTag("kept", "2")
    node.SetAttribute("FewShotAnnotate.Review", "other")
    assert segmentation_of(nodes) != state
    saved.restore()
    assert segmentation_of(nodes) == state
    text = vtk.reference("")
    assert segmentation.GetSegment("a").GetTag("kept", text)
    assert str(text) == "1"
    assert segmentation.ContainsRepresentation(CLOSED_SURFACE) == surface
    for name, count in points.items():
        assert segmentation.GetSegment(name).GetRepresentation(CLOSED_SURFACE).GetNumberOfPoints() == count
    for name, mask in before.items():
        np.testing.assert_array_equal(mrml.segment_array(node, name), mask)
