"""Geometry of volume and segmentation: transforms, other grids, and what is refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from fewshot_annotate.core.errors import InputError
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.volume import Geometry, Volume, to_image
from fewshot_annotate.host.messages import error_text
from fewshot_annotate.host.mrml.reading import BINARY_LABELMAP, ijk_to_ras, read_grid, read_image
from fewshot_annotate.host.mrml.views import current_slice, jump_to_slice
from scipy.spatial.transform import Rotation
from support import mrml
from support.scene_cases import Case, Runs, Scene, add_volume, all_equal, case, painted, scene_of
from vtk.util.numpy_support import numpy_to_vtk

pytest_plugins = ("support.run_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def untransformed(runs: Runs) -> dict[str, np.ndarray]:
    """Result of a fill without any transform."""
    scene = scene_of(case("ct_vertebrae"))
    runs(scene).fill()
    return scene.arrays()


def _matrix(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def _transform(matrix: np.ndarray) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def _image(array: np.ndarray, to_ras: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)) -> Any:
    k, j, i = array.shape
    image = slicer.vtkOrientedImageData()
    extent = [number for start, size in zip(first, (i, j, k), strict=True) for number in (start, start + size - 1)]
    image.SetExtent(extent)
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(to_ras))
    scalars = numpy_to_vtk(np.ascontiguousarray(array).reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def _segmentation_on(
    masks: dict[str, np.ndarray], to_ras: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)
) -> Any:
    """Segmentation whose reference geometry has this matrix and begins at voxel `first` (i, j, k)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Elsewhere")
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    converter = slicer.vtkSegmentationConverter
    image = _image(np.zeros_like(next(iter(masks.values())), dtype=np.uint8), to_ras, first)
    text = converter.SerializeImageGeometry(image)
    segmentation.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), text)
    for name, mask in masks.items():
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation(BINARY_LABELMAP, _image(mask.astype(np.uint8), to_ras, first))
        segmentation.AddSegment(segment, name)
    return node


def _scene_on(
    original: Case,
    segment_masks: dict[str, np.ndarray],
    labelled: list[int],
    to_ras: np.ndarray,
    first: tuple[int, int, int] = (0, 0, 0),
) -> Scene:
    mrml.new_scene()
    volume_node = add_volume(original.volume)
    node = _segmentation_on(segment_masks, to_ras, first)
    editor = mrml.segment_editor_node(node, volume_node)
    return Scene(
        case=original, axis=SliceAxis(0), labelled=labelled, volume_node=volume_node, node=node, editor_node=editor
    )


def _on_grid(scene: Scene) -> dict[str, np.ndarray]:
    grid = read_grid(scene.volume_node, scene.node)
    return {name: grid.segment_box(name, (0, 0, 0), grid.geometry.shape) for name in scene.ids}


def test_a_common_transform_of_volume_and_segmentation_has_no_effect(
    runs: Runs, untransformed: dict[str, np.ndarray]
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    transform = _transform(_matrix((10, 20, 30), (1, 2, 3)))
    for node in (scene.volume_node, scene.node):
        node.SetAndObserveTransformNodeID(transform.GetID())
    runs(scene).fill()
    assert all_equal(_on_grid(scene), untransformed)


@pytest.mark.parametrize("segmentation_too", [False, True])
def test_volume_and_segmentation_may_be_under_different_transforms_or_none(
    runs: Runs, untransformed: dict[str, np.ndarray], segmentation_too: bool
) -> None:
    original = case("ct_vertebrae")
    labelled = original.labelled(SliceAxis(0), 4)
    moved, other = _matrix((10, 20, 30), (1, 2, 3)), _matrix((-5, 40, 0), (9, -8, 7))
    to_ras = moved @ ijk_to_ras(original.volume.geometry)
    if segmentation_too:
        to_ras = np.linalg.inv(other) @ to_ras
    scene = _scene_on(original, painted(original, SliceAxis(0), labelled), labelled, to_ras)
    scene.volume_node.SetAndObserveTransformNodeID(_transform(moved).GetID())
    if segmentation_too:
        scene.node.SetAndObserveTransformNodeID(_transform(other).GetID())
    runs(scene).fill()
    assert all_equal(_on_grid(scene), untransformed)


def test_a_cropped_reference_geometry_that_does_not_begin_at_voxel_0_is_filled(runs: Runs) -> None:
    original = case("ct_vertebrae")
    box = (slice(2, -1), slice(5, -4), slice(3, -2))
    array = np.ascontiguousarray(original.volume.array[box])
    to_ras = ijk_to_ras(original.volume.geometry)
    first = (3, 5, 2)
    origin = (to_ras @ (*first, 1.0))[:3] * (-1, -1, 1)
    geometry = replace(original.volume.geometry, shape=array.shape, origin=tuple(float(x) for x in origin))
    cropped = Case(Volume(array, geometry), {name: mask[box] for name, mask in original.masks.items()})
    labelled = cropped.labelled(SliceAxis(0), 4)
    expected = scene_of(cropped)
    runs(expected).fill()
    result = expected.arrays()

    scene = _scene_on(original, painted(cropped, SliceAxis(0), labelled), labelled, to_ras, first=first)
    runs(scene).fill()
    assert all_equal(_on_grid(scene), result)
    assert all(mask[scene.between].any() for mask in result.values())


@pytest.mark.parametrize("missing", [0, 3])
def test_slices_that_the_volume_does_not_reach_are_named(runs: Runs, missing: int) -> None:
    original = case("ct_vertebrae")
    count = len(original.volume.array)
    labelled = [0, 4, count - 1]
    to_ras = ijk_to_ras(original.volume.geometry)
    array = np.ascontiguousarray(original.volume.array[: count - missing])
    shorter = Case(Volume(array, replace(original.volume.geometry, shape=array.shape)), original.masks)
    scene = _scene_on(shorter, painted(original, SliceAxis(0), labelled), labelled, to_ras)
    runner = runs(scene)
    runner.fill()
    slices = ", ".join(str(index) for index in range(count - missing, count))
    text = f"Volume {scene.volume_node.GetName()} does not reach these slices, where values of its edge are used: "
    assert [warning for warning in runner.controller.warnings if "edge" in warning] == (
        [f"{text}{slices}."] if missing else []
    )


def test_a_coarser_reference_geometry_keeps_its_painted_voxels_and_is_filled_on_its_own_grid(runs: Runs) -> None:
    original = case("ct_vertebrae")
    to_ras = ijk_to_ras(original.volume.geometry) @ np.diag([2.0, 2.0, 1.0, 1.0])
    coarse = {name: np.ascontiguousarray(mask[:, ::2, ::2]) for name, mask in original.masks.items()}
    labelled = original.labelled(SliceAxis(0), 4)
    painted_masks = painted(Case(original.volume, coarse), SliceAxis(0), labelled)
    scene = _scene_on(original, painted_masks, labelled, to_ras)
    runs(scene).fill()
    for name, mask in _on_grid(scene).items():
        np.testing.assert_array_equal(mask[labelled], coarse[name][labelled])
        overlap = np.count_nonzero(mask[scene.between] & coarse[name][scene.between])
        total = np.count_nonzero(mask[scene.between]) + np.count_nonzero(coarse[name][scene.between])
        assert 2 * overlap / total > 0.6
        labelmap = scene.node.GetSegmentation().GetSegment(name).GetRepresentation(BINARY_LABELMAP)
        assert labelmap.GetSpacing()[0] == pytest.approx(2 * original.volume.geometry.spacing[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_volume_on_another_grid_equals_that_resampled_by_itk(axis: int) -> None:
    import SimpleITK as sitk

    original = case("ct_vertebrae")
    to_ras = (
        ijk_to_ras(original.volume.geometry) @ _matrix((7, -4, 11), (5.0, 12.3, 4.5)) @ np.diag([0.9, 1.2, 0.8, 1])
    )
    masks = {"a": np.zeros((20, 18, 22), dtype=np.uint8)}
    scene = _scene_on(original, masks, [0], to_ras)
    grid = read_grid(scene.volume_node, scene.node).geometry
    source = read_image(scene.volume_node, scene.node, grid)
    found = source.on_grid(grid.shape)
    moving = to_image(original.volume.array, original.volume.geometry)
    reference = to_image(np.zeros(grid.shape, np.float32), grid)
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, reference, sitk.Transform(), sitk.sitkLinear, -1e6))
    inside = expected > -1e5
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-2)
    slice_axis = SliceAxis(axis)
    np.testing.assert_allclose(source.slice(slice_axis, 7, grid.shape), slice_axis.slices(found)[7], atol=1e-3)


def _non_linear_transform() -> Any:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for x, y, z in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (20, 20, 20)):
        points.InsertNextPoint(x, y, z)
        moved.InsertNextPoint(x, y, z + (5 if x == y == z == 20 else 0))
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    transform.SetAndObserveTransformToParent(spline)
    return transform


def _require_refusal(scene: Scene, runs: Runs, sentence: str) -> None:
    before = scene.node.GetSegmentation().GetMTime()
    with pytest.raises(InputError) as raised:
        runs(scene).start()
    assert error_text(raised.value) == sentence
    assert scene.node.GetSegmentation().GetMTime() == before


def test_a_non_linear_transform_is_refused(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    scene.volume_node.SetAndObserveTransformNodeID(_non_linear_transform().GetID())
    _require_refusal(
        scene,
        runs,
        "Volume 'Volume' and the segmentation are related by a non-linear transform; harden it first.",
    )


def test_a_common_non_linear_transform_of_volume_and_segmentation_has_no_effect(
    runs: Runs, untransformed: dict[str, np.ndarray]
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    transform = _non_linear_transform()
    for node in (scene.volume_node, scene.node):
        node.SetAndObserveTransformNodeID(transform.GetID())
    runs(scene).fill()
    assert all_equal(_on_grid(scene), untransformed)


def test_a_segment_on_another_grid_is_refused(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    to_ras = ijk_to_ras(scene.case.volume.geometry) @ _matrix((0, 0, 15), (0.4, 0, 0))
    segment = slicer.vtkSegment()
    segment.SetName("tilted")
    segment.AddRepresentation(BINARY_LABELMAP, _image(np.ones((4, 5, 6), np.uint8), to_ras))
    scene.node.GetSegmentation().AddSegment(segment, "tilted")
    _require_refusal(
        scene,
        runs,
        "Segment 'tilted' of 'Segmentation' lies on another grid than its segmentation; choose the source geometry "
        "in the Segment Editor so that it is resampled.",
    )


def test_a_segmentation_stored_as_surfaces_is_refused(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    assert scene.node.CreateClosedSurfaceRepresentation()
    scene.node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    _require_refusal(
        scene,
        runs,
        "Segmentation 'Segmentation' is stored as Closed surface; make its binary labelmap the source first "
        "(Segmentations module, Representations).",
    )


def test_an_empty_volume_is_refused(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    scene.volume_node.SetAndObserveImageData(None)
    _require_refusal(scene, runs, "Volume 'Volume' holds no voxels; choose another one.")


def test_a_vector_volume_is_refused(runs: Runs) -> None:
    scene = scene_of(case("ct_vertebrae"))
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 5, 6)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vector.SetAndObserveImageData(image)
    scene.volume_node = vector
    _require_refusal(scene, runs, "Volume 'Colours' is not a single-channel 3D volume; choose another one.")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "Volume 'Volume': voxels that are not finite numbers: 1; replace them before labelling."),
        (None, "Volume 'Volume': every voxel has the same value (7); this is no image to label."),
    ],
)
def test_an_unusable_volume_is_refused_once_its_voxels_are_read(
    runs: Runs, value: float | None, sentence: str
) -> None:
    scene = scene_of(case("ct_vertebrae"))
    array = np.array(scene.case.volume.array, dtype=np.float32)
    if value is None:
        array[:] = 7
    else:
        array[1, 2, 3] = value
    slicer.util.updateVolumeFromArray(scene.volume_node, array)
    before = scene.arrays()
    runner = runs(scene)
    runner.start()
    runner.to_end()
    assert runner.controller.message == sentence
    assert all_equal(scene.arrays(), before)


def test_slices_painted_across_the_axis_are_refused(runs: Runs) -> None:
    original = case("ct_liver", 1)
    scene = scene_of(original, step=6)
    (name,) = scene.ids
    mask = scene.painted()[name]
    middle = int(np.median(np.nonzero(original.masks[name])[2]))
    mask[:, :, middle] = original.masks[name][:, :, middle]
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.node, name, scene.volume_node)
    before = scene.arrays()
    scene.labelled = [index for index in range(len(mask)) if mask[index].any()][:-1]
    labelled = [*scene.labelled, scene.labelled[-1] + 1]
    runner = runs(scene)
    runner.start(labelled=labelled, slices=range(len(mask)))
    runner.to_end()
    assert "labels are painted on slices of axis 0 and of axis 2" in runner.controller.message
    assert all_equal(scene.arrays(), before)


def test_the_slice_shown_in_a_view_is_found_and_set_under_any_transform() -> None:
    scene = scene_of(case("mr_spine_cord_t2", 1))
    scene.node.SetAndObserveTransformNodeID(_transform(_matrix((8, -6, 4), (3, 2, 1))).GetID())
    grid = read_grid(scene.volume_node, scene.node)
    for axis in (0, 1, 2):
        assert current_slice(scene.node, grid, SliceAxis(axis)) is None
    for number, (normal, across) in enumerate(
        (((0, 0, 1), (1, 0, 0)), ((0, 1, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0)))
    ):
        view = slicer.vtkMRMLSliceNode()
        view.SetLayoutName(str(number))
        view.SetSingletonTag(str(number))
        view = slicer.mrmlScene.AddNode(view)
        view.SetSliceToRASByNTP(*normal, *across, 30.0, -40.0, 50.0, 0)
    for axis in (0, 1, 2):
        jump_to_slice(scene.node, grid, SliceAxis(axis), 11)
        assert current_slice(scene.node, grid, SliceAxis(axis)) == 11


def test_ijk_to_ras_takes_the_index_of_the_first_voxel() -> None:
    geometry = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    shifted = ijk_to_ras(geometry, (2, 3, 4))
    np.testing.assert_allclose(shifted @ (2, 3, 4, 1), ijk_to_ras(geometry) @ (0, 0, 0, 1))
