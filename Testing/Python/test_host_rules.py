"""What a commit may change: locks, other segments, the editor's masks and overwrite modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.host.fill.commit import commit
from fewshot_annotate.host.fill.edit_rules import EditRules, FilledSlices, compute_changes
from fewshot_annotate.host.mrml.grid_reader import GridReader
from fewshot_annotate.host.mrml.reading import image_array, read_grid, read_image, set_locked
from support import mrml, scene_cases
from support.scene_cases import Scene, all_equal, case, scene_of

Node = slicer.vtkMRMLSegmentationNode
Editor = slicer.vtkMRMLSegmentEditorNode
SURFACE = "Closed surface"
TERMINOLOGY = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue^Tissue~x~^^~~^^~^^"

MASK_MODES = {
    "everywhere": Node.EditAllowedEverywhere,
    "inside all": Node.EditAllowedInsideAllSegments,
    "inside visible": Node.EditAllowedInsideVisibleSegments,
    "outside all": Node.EditAllowedOutsideAllSegments,
    "outside visible": Node.EditAllowedOutsideVisibleSegments,
    "inside single": Node.EditAllowedInsideSingleSegment,
}


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    scene_cases.require_quiet(capfd.readouterr())


@pytest.fixture
def scene() -> Scene:
    """Painted slices of two segments, and two complete segments, one hidden, that cross the slices to be filled."""
    scene = scene_of(case("ct_vertebrae"))
    columns = np.zeros(scene.case.volume.geometry.shape, dtype=bool)
    columns[:, :, : _middle(scene)] = True
    for name, half in (("shown", columns), ("hidden", ~columns)):
        block = np.zeros_like(columns)
        block[:, ::2] = half[:, ::2]
        _add(scene, name, block)
    scene.node.GetDisplayNode().SetSegmentVisibility("hidden", False)
    return scene


def _middle(scene: Scene) -> int:
    any_segment = np.logical_or.reduce(list(scene.case.masks.values()))
    return int(np.median(np.nonzero(any_segment)[2]))


def _add(scene: Scene, name: str, mask: np.ndarray) -> None:
    scene.node.GetSegmentation().AddEmptySegment(name, name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)


def _truth_as_result(scene: Scene, ids: list[str] | None = None) -> FilledSlices:
    """The truth, as the result of an engine."""

    def read(index: int) -> dict[str, np.ndarray]:
        masks = {name: scene.axis.slices(mask)[index] for name, mask in scene.case.masks.items()}
        return {name: mask for name, mask in masks.items() if mask.any()}

    return FilledSlices(scene.axis, ids or scene.ids, scene.between, read)


def _apply(scene: Scene, may_overwrite: bool = False, ids: list[str] | None = None) -> None:
    grid = read_grid(scene.volume_node, scene.node)
    image = read_image(scene.volume_node, scene.node, grid.geometry)
    rules = EditRules.from_nodes(scene.node, scene.editor_node, may_overwrite)
    commit(scene.nodes, grid, compute_changes(grid, image, _truth_as_result(scene, ids), rules), GridReader())


def _truth_between_painted(scene: Scene) -> dict[str, np.ndarray]:
    """The truth from the first to the last painted slice."""
    slices = slice(scene.labelled[0], scene.labelled[-1] + 1)
    result = {}
    for name, mask in scene.case.masks.items():
        result[name] = np.zeros_like(mask)
        scene.axis.slices(result[name])[slices] = scene.axis.slices(mask)[slices]
    return result


def _slicers_mask(scene: Scene, segment_id: str, intensity: tuple[float, float] | None = None) -> np.ndarray:
    """Where Slicer itself would let a segment be edited."""
    mask, reference, source = (slicer.vtkOrientedImageData() for _ in range(3))
    converter = slicer.vtkSegmentationConverter
    name = converter.GetReferenceImageGeometryParameterName()
    text = scene.node.GetSegmentation().GetConversionParameter(name)
    assert converter.DeserializeImageGeometry(text, reference, False)
    source.ShallowCopy(scene.volume_node.GetImageData())
    matrix = vtk.vtkMatrix4x4()
    scene.volume_node.GetIJKToRASMatrix(matrix)
    source.SetGeometryFromImageToWorldMatrix(matrix)
    editor = scene.editor_node
    assert scene.node.GenerateEditMask(
        mask,
        editor.GetMaskMode(),
        reference,
        segment_id,
        editor.GetMaskSegmentID() or "",
        source if intensity else None,
        intensity or (0.0, 0.0),
        None,
    )
    return image_array(mask) == 0


def test_other_segments_lose_no_voxel_unless_the_user_allows_it(scene: Scene) -> None:
    before = scene.arrays()
    others = before["shown"] | before["hidden"]
    _apply(scene)
    after, truth = scene.arrays(), _truth_between_painted(scene)
    assert all(np.array_equal(after[name], before[name]) for name in ("shown", "hidden"))
    for name in scene.ids:
        np.testing.assert_array_equal(after[name], before[name] | (truth[name] & ~others))
        assert (truth[name] & others).any()


@pytest.mark.parametrize(
    ("mode", "overwritten", "shared"),
    [
        (Editor.OverwriteAllSegments, ("shown", "hidden"), ()),
        (Editor.OverwriteVisibleSegments, ("shown",), ("hidden",)),
        (Editor.OverwriteNone, (), ("shown", "hidden")),
    ],
)
def test_the_overwrite_mode_decides_which_segments_may_lose_voxels(
    scene: Scene, mode: int, overwritten: tuple[str, ...], shared: tuple[str, ...]
) -> None:
    scene.editor_node.SetOverwriteMode(mode)
    before, truth = scene.arrays(), _truth_between_painted(scene)
    _apply(scene, may_overwrite=True)
    after = scene.arrays()
    truth_of_any = np.logical_or.reduce(list(truth.values()))
    written = truth_of_any.copy()
    scene.axis.slices(written)[scene.labelled] = False  # painted slices are not written, so nothing is taken there
    for name in overwritten:
        np.testing.assert_array_equal(after[name], before[name] & ~written)
        assert not np.array_equal(after[name], before[name])
    for name in shared:
        np.testing.assert_array_equal(after[name], before[name])
        assert (before[name] & written).any()
    for name in scene.ids:
        np.testing.assert_array_equal(after[name], before[name] | truth[name])


def test_a_locked_segment_keeps_every_voxel_even_when_overwriting(scene: Scene) -> None:
    scene.editor_node.SetOverwriteMode(Editor.OverwriteAllSegments)
    set_locked(scene.node.GetSegmentation().GetSegment("shown"), True)
    before = scene.arrays()
    _apply(scene, may_overwrite=True)
    after = scene.arrays()
    np.testing.assert_array_equal(after["shown"], before["shown"])
    assert not np.array_equal(after["hidden"], before["hidden"])
    for name in scene.ids:
        assert not (after[name] & before["shown"])[scene.between].any()


def test_a_segment_locked_during_the_run_is_not_changed(scene: Scene) -> None:
    locked, other = scene.ids
    set_locked(scene.node.GetSegmentation().GetSegment(locked), True)
    before = scene.arrays()
    _apply(scene)
    after = scene.arrays()
    np.testing.assert_array_equal(after[locked], before[locked])
    assert not np.array_equal(after[other], before[other])


@pytest.mark.parametrize("with_intensity", [False, True])
@pytest.mark.parametrize("mode", MASK_MODES)
def test_the_mask_equals_that_of_slicer(scene: Scene, mode: str, with_intensity: bool) -> None:
    segment_id = scene.ids[0]
    others = [scene.ids[1], "shown", "hidden"]
    editor = scene.editor_node
    editor.SetMaskMode(MASK_MODES[mode])
    editor.SetMaskSegmentID("shown")
    editor.SetOverwriteMode(Editor.OverwriteNone)  # so that the other segments do not restrict the edit
    intensity: tuple[float, float] | None = None
    if with_intensity:
        low, high = np.percentile(slicer.util.arrayFromVolume(scene.volume_node), (30, 90))
        intensity = (float(low), float(high))
        editor.SetSourceVolumeIntensityMask(True)
        editor.SetSourceVolumeIntensityMaskRange(*intensity)
    allowed = _slicers_mask(scene, segment_id, intensity)
    before, truth = scene.arrays(), _truth_between_painted(scene)[segment_id]
    _apply(scene, ids=[segment_id])
    after = scene.arrays()
    np.testing.assert_array_equal(after[segment_id], before[segment_id] | (truth & allowed))
    assert all(np.array_equal(after[name], before[name]) for name in others)
    if mode != "everywhere" or intensity:
        assert (truth & ~allowed)[scene.between].any()
    assert (truth & allowed)[scene.between].any()


@pytest.mark.parametrize("kind", [np.int16, np.uint8])
def test_fractional_limits_mask_whole_numbers_as_vtk_does(kind: type) -> None:
    scene = scene_of(case("ct_vertebrae", 1))
    (segment_id,) = scene.ids
    array = np.clip(scene.case.volume.array, 0, 255).astype(kind)
    slicer.util.updateVolumeFromArray(scene.volume_node, array)
    values = array[scene.case.masks[segment_id]]
    limits = (float(np.percentile(values, 20)) + 0.5, float(np.percentile(values, 70)) + 0.5)
    scene.editor_node.SetSourceVolumeIntensityMask(True)
    scene.editor_node.SetSourceVolumeIntensityMaskRange(*limits)
    allowed = _slicers_mask(scene, segment_id, limits)
    before = scene.array(segment_id)
    _apply(scene)
    np.testing.assert_array_equal(
        scene.array(segment_id), before | (_truth_between_painted(scene)[segment_id] & allowed)
    )


def test_the_outside_mask_excludes_other_segments_but_not_those_of_the_run(scene: Scene) -> None:
    scene.editor_node.SetMaskMode(Node.EditAllowedOutsideAllSegments)
    _apply(scene)
    first = scene.arrays()
    _apply(scene)  # as a second run: voxels of one filled segment do not exclude another
    assert all_equal(scene.arrays(), first)
    outside = ~(first["shown"] | first["hidden"])
    for name, truth in _truth_between_painted(scene).items():
        np.testing.assert_array_equal(first[name][scene.between], (truth & outside)[scene.between])


@pytest.mark.parametrize("mode", ["everywhere", "outside all"])
def test_a_second_run_may_give_voxels_of_one_filled_segment_to_another(scene: Scene, mode: str) -> None:
    scene.editor_node.SetMaskMode(MASK_MODES[mode])
    _apply(scene)
    first, second = scene.ids
    before = scene.arrays()
    masks = {first: scene.case.masks[second], second: scene.case.masks[first]}
    swapped = replace(scene, case=replace(scene.case, masks=masks))
    _apply(swapped)
    after = scene.arrays()
    for name, other in ((first, second), (second, first)):
        np.testing.assert_array_equal(after[name][scene.between], before[other][scene.between])
        np.testing.assert_array_equal(after[name][scene.labelled], before[name][scene.labelled])


def test_voxels_of_an_earlier_fill_outside_the_mask_stay(scene: Scene) -> None:
    segment_id = scene.ids[0]
    old = scene.array(segment_id)
    stray = np.zeros_like(old)
    index = scene.between[0]
    stray[index, 1:5:2, 1:30] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        (old | stray).astype(np.uint8), scene.node, segment_id, scene.volume_node
    )
    editor = scene.editor_node
    editor.SetMaskMode(Node.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("shown")
    editor.SetOverwriteMode(Editor.OverwriteNone)
    mask, truth = scene.array("shown"), _truth_between_painted(scene)[segment_id]
    _apply(scene)
    expected = (stray & ~mask) | (truth & mask)
    np.testing.assert_array_equal(scene.array(segment_id)[index], expected[index])


def test_names_colours_tags_order_status_visibility_and_parent_are_kept(scene: Scene) -> None:
    segmentation, display = scene.node.GetSegmentation(), scene.node.GetDisplayNode()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    first, second = (segmentation.GetSegment(name) for name in scene.ids)
    first.SetName("Anterior é")
    first.SetColor(0.1, 0.2, 0.3)
    first.SetTerminology(TERMINOLOGY)
    first.SetTag("Ours", "kept")
    logic.SetSegmentStatus(first, logic.Completed)
    logic.SetSegmentStatus(second, logic.NotStarted)
    display.SetSegmentVisibility(scene.ids[1], False)
    display.SetSegmentOpacity2DFill(scene.ids[0], 0.37)
    segmentation.ReorderSegments(["hidden", scene.ids[1], scene.ids[0], "shown"])
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    item = hierarchy.GetItemByDataNode(scene.node)
    hierarchy.SetItemParent(item, study)
    other = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study of the volume")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scene.volume_node), other)
    _apply(scene)
    assert list(segmentation.GetSegmentIDs()) == ["hidden", scene.ids[1], scene.ids[0], "shown"]
    assert first.GetName() == "Anterior é"
    assert first.GetColor() == pytest.approx((0.1, 0.2, 0.3))
    assert first.GetTerminology() == TERMINOLOGY
    assert _tag(first, "Ours") == "kept"
    assert logic.GetSegmentStatus(first) == logic.Completed
    assert logic.GetSegmentStatus(second) == logic.InProgress
    assert not display.GetSegmentVisibility(scene.ids[1])
    assert not display.GetSegmentVisibility("hidden")
    assert display.GetSegmentVisibility(scene.ids[0])
    assert display.GetSegmentOpacity2DFill(scene.ids[0]) == 0.37
    assert hierarchy.GetItemParent(item) == study


def _tag(segment: Any, name: str) -> str:
    text = vtk.reference("")
    assert segment.GetTag(name, text)
    return str(text)


def test_the_settings_of_the_editor_are_kept(scene: Scene) -> None:
    editor = scene.editor_node
    editor.SetMaskMode(Node.EditAllowedOutsideAllSegments)
    editor.SetOverwriteMode(Editor.OverwriteVisibleSegments)
    editor.SetSelectedSegmentID("shown")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    _apply(scene)
    assert editor.GetMaskMode() == Node.EditAllowedOutsideAllSegments
    assert editor.GetOverwriteMode() == Editor.OverwriteVisibleSegments
    assert editor.GetSelectedSegmentID() == "shown"
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_segments_that_share_a_layer_still_share_it_afterwards(scene: Scene) -> None:
    segmentation = scene.node.GetSegmentation()
    segmentation.CollapseBinaryLabelmaps(False)
    assert segmentation.GetNumberOfLayers() == 2  # painted slices overlap the two blocks
    _apply(scene)
    assert segmentation.GetNumberOfLayers() == 2


def test_a_closed_surface_is_updated_and_undone_in_the_same_step(scene: Scene) -> None:
    segmentation = scene.node.GetSegmentation()
    assert scene.node.CreateClosedSurfaceRepresentation()
    segment_id = scene.ids[0]
    before, voxels = _point_count(segmentation, segment_id), scene.arrays()
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(scene.editor_node)
    logic.SetSegmentationNode(scene.node)
    logic.SaveStateForUndo()
    scene.editor_node.SetOverwriteMode(Editor.OverwriteNone)
    _apply(scene)
    for name in segmentation.GetSegmentIDs():
        assert segmentation.GetSegment(name).GetRepresentation(SURFACE).GetNumberOfPoints() > 0
    assert _point_count(segmentation, segment_id) != before
    logic.Undo()
    assert all_equal(scene.arrays(), voxels)
    assert segmentation.ContainsRepresentation(SURFACE)
    assert _point_count(segmentation, segment_id) == before


def _point_count(segmentation: Any, segment_id: str) -> int:
    return segmentation.GetSegment(segment_id).GetRepresentation(SURFACE).GetNumberOfPoints()


def test_without_a_closed_surface_none_is_made(scene: Scene) -> None:
    _apply(scene)
    assert not scene.node.GetSegmentation().ContainsRepresentation(SURFACE)


def test_many_segments_of_one_layer_are_each_written_to_its_own_voxels() -> None:
    scene = scene_of(case("mic_ovule_cells", 12))
    before, truth = scene.arrays(), _truth_between_painted(scene)
    _apply(scene)
    assert all_equal(scene.arrays(), {name: before[name] | truth[name] for name in scene.ids})
    assert scene.node.GetSegmentation().GetNumberOfLayers() == 1


@pytest.mark.parametrize("axis", [1, 2])
def test_other_axes_are_written_as_well(axis: int) -> None:
    scene = scene_of(case("ct_vertebrae"), axis)
    assert scene.axis == SliceAxis(axis)
    before, truth = scene.arrays(), _truth_between_painted(scene)
    _apply(scene)
    assert all_equal(scene.arrays(), {name: before[name] | truth[name] for name in scene.ids})


def test_a_second_commit_removes_what_only_the_first_filled(scene: Scene) -> None:
    _apply(scene)
    segment_id = scene.ids[0]
    assert scene.array(segment_id)[scene.between].any()
    grid = read_grid(scene.volume_node, scene.node)
    image = read_image(scene.volume_node, scene.node, grid.geometry)
    nothing = FilledSlices(scene.axis, scene.ids, scene.between, lambda index: {})
    rules = EditRules.from_nodes(scene.node, scene.editor_node, False)
    commit(scene.nodes, grid, compute_changes(grid, image, nothing, rules), GridReader())
    painted = scene.painted()
    for name in scene.ids:
        np.testing.assert_array_equal(mrml.segment_array(scene.node, name), painted[name])
