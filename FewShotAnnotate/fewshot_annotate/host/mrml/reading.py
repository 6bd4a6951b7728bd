"""Reading MRML: the grid of a segmentation, its layers as numpy views, and the volume on that grid; see `grid.py`.

Nothing here changes a node.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ...core.errors import InputError
from ...core.volume import LPS_TO_RAS_4X4, SAME_VOXEL_TOLERANCE, Geometry, Volume
from .grid import ImageSource, Layer, SegmentationGrid
from .node_types import SegmentationNode, VolumeNode, VtkSegment, VtkSegmentation

BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"
LOCKED_TAG = "FewShotAnnotate.Locked"


def first_segmentation() -> Any:
    """The first segmentation a user can see; previews are hidden from editors."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if not node.GetHideFromEditors()), None)


def read_grid(volume_node: VolumeNode, segmentation_node: SegmentationNode) -> SegmentationGrid:
    """Grid and layers of a segmentation; the volume's grid if the segmentation has none yet.

    Raises
    ------
    InputError
        A segment has no labelmap, or its voxels do not coincide with those of the grid.
    """
    segmentation = segmentation_node.GetSegmentation()
    name = segmentation_node.GetName()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise InputError("source_not_labelmap", name=name, source=segmentation.GetSourceRepresentationName())
    to_world, extent = _reference(segmentation, volume_node)
    geometry = _geometry(to_world, extent)
    layers: list[Layer] = []
    seen: dict[Any, Layer] = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is None or not image.GetNumberOfPoints() or image.GetPointData().GetScalars() is None:
            continue
        if image not in seen:
            offset = _offset(image, to_world, extent)
            if offset is None:
                if not image_array(image).any():  # never painted: a saved scene gives it a grid of its own
                    continue
                raise InputError("segment_off_grid", name=name, segment=segment.GetName())
            seen[image] = Layer(image_array(image), offset, {})
            layers.append(seen[image])
        seen[image].segments[segment.GetLabelValue()] = segment_id
    clipped = tuple(clip for layer in layers if (clip := layer.clipped(geometry.shape)) is not None)
    is_cropped = sum(layer.array.size for layer in clipped) < sum(layer.array.size for layer in layers)
    return SegmentationGrid(geometry, clipped, (extent[0], extent[2], extent[4]), is_cropped)


def read_image(volume_node: VolumeNode, segmentation_node: SegmentationNode, grid: Geometry) -> ImageSource:
    """Voxels of a volume, and the map from `grid`, in the segmentation's coordinates, to them.

    Raises
    ------
    InputError
        The volume is empty or not a single-channel 3D volume, a transform between the two nodes is not linear, or the
        volume covers nothing of the grid, as one of another patient may.
    """
    array = _voxels(volume_node)
    volume_ijk_to_ras = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(volume_ijk_to_ras)
    grid_ijk_to_volume_ijk = (
        np.linalg.inv(slicer.util.arrayFromVTKMatrix(volume_ijk_to_ras))
        @ segmentation_to_volume(segmentation_node, volume_node)
        @ ijk_to_ras(grid)
    )
    last = np.array(grid.shape[::-1]) - 1
    corners = np.array([(*(last * (i, j, k)), 1.0) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    moved = corners @ grid_ijk_to_volume_ijk.T
    if (moved.max(axis=0)[:3] < -0.5).any() or (moved.min(axis=0)[:3] > np.array(array.shape[::-1]) - 0.5).any():
        raise InputError("volume_elsewhere", name=volume_node.GetName(), segmentation=segmentation_node.GetName())
    if array.shape == grid.shape and np.abs(moved - corners).max() < SAME_VOXEL_TOLERANCE:
        return ImageSource(array, None)
    flip = np.eye(4)[[2, 1, 0, 3]]
    return ImageSource(array, flip @ grid_ijk_to_volume_ijk @ flip)


def read_channel(volume_node: VolumeNode, segmentation_node: SegmentationNode) -> Volume:
    """View of the voxels of a further volume, and its grid in the segmentation's own coordinates.

    Raises
    ------
    InputError
        As for `read_image`.
    """
    array = _voxels(volume_node)
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    to_segmentation = np.linalg.inv(segmentation_to_volume(segmentation_node, volume_node))
    to_world = to_segmentation @ slicer.util.arrayFromVTKMatrix(matrix)
    k, j, i = array.shape
    return Volume(array, _geometry(to_world, (0, i - 1, 0, j - 1, 0, k - 1)))


def _voxels(volume_node: VolumeNode) -> np.ndarray:
    image, name = volume_node.GetImageData(), volume_node.GetName()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError("node_empty", name=name)
    if image.GetNumberOfScalarComponents() != 1 or min(image.GetDimensions()) < 2:
        raise InputError("node_not_volume", name=name)
    return image_array(image)


def segmentation_to_volume(segmentation_node: SegmentationNode, volume_node: VolumeNode) -> np.ndarray:
    """4x4 matrix of RAS in the segmentation's own coordinates to RAS in the volume's own.

    Raises
    ------
    InputError
        A transform between the two is not linear.
    """
    segmentation_parent, volume_parent = (
        segmentation_node.GetParentTransformNode(),
        volume_node.GetParentTransformNode(),
    )
    if segmentation_parent is not volume_parent:
        for first, second in ((segmentation_parent, volume_parent), (volume_parent, segmentation_parent)):
            if first is not None and not first.IsTransformToNodeLinear(second):
                raise InputError("transform_not_linear", name=volume_node.GetName())
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(segmentation_parent, volume_parent, matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


def grid_in_volume(grid: Geometry, volume_node: VolumeNode, segmentation_node: SegmentationNode) -> Geometry:
    """The same grid in the volume's own coordinates, which are those of its images.

    Raises
    ------
    InputError
        A transform between the two is not linear.
    """
    extent = (0, grid.shape[2] - 1, 0, grid.shape[1] - 1, 0, grid.shape[0] - 1)
    return _geometry(segmentation_to_volume(segmentation_node, volume_node) @ ijk_to_ras(grid), extent)


def volume_geometry(volume_node: VolumeNode) -> Geometry:
    """Grid of a volume in its own coordinates, LPS."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return _geometry(slicer.util.arrayFromVTKMatrix(matrix), tuple(volume_node.GetImageData().GetExtent()))


def labels_version(segmentation_node: SegmentationNode) -> tuple[object, ...]:
    """A value that changes with the voxels of any segment. Takes microseconds."""
    segmentation = segmentation_node.GetSegmentation()
    version: list[object] = []
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        version.append((segment_id, segment.GetLabelValue(), image, image.GetMTime() if image is not None else 0))
    return tuple(version)


def ijk_to_ras(grid: Geometry, first: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """4x4 matrix of voxel (i, j, k) to RAS in mm, where the grid's first voxel has the number `first`."""
    matrix = np.eye(4)
    matrix[:3, :3] = grid.index_to_world
    matrix[:3, 3] = np.array(grid.origin) - matrix[:3, :3] @ first
    return np.asarray(LPS_TO_RAS_4X4 @ matrix)


def image_array(image: Any) -> np.ndarray:
    """View [k, j, i] of a vtkImageData's voxels."""
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def is_locked(segment: VtkSegment) -> bool:
    """Whether the user locked a segment. Slicer has no lock of its own; the tag is saved with the segment."""
    text = vtk.reference("")
    return bool(segment.GetTag(LOCKED_TAG, text)) and str(text) == "1"


def hidden_segments(segmentation_node: SegmentationNode) -> tuple[str, ...]:
    """Ids of the segments that the user hid in the views."""
    display = segmentation_node.GetDisplayNode()
    if display is None:
        return ()
    names = segmentation_node.GetSegmentation().GetSegmentIDs()
    return tuple(name for name in names if not display.GetSegmentVisibility(name))


def segments_left_out(segmentation_node: SegmentationNode) -> tuple[str, ...]:
    """Ids of the segments that are not filled even if they are painted: locked and hidden ones.

    *Fill between slices* and *Grow from seeds* of the Segment Editor take visible segments alone, too.
    """
    segmentation, hidden = segmentation_node.GetSegmentation(), set(hidden_segments(segmentation_node))
    names = segmentation.GetSegmentIDs()
    return tuple(name for name in names if name in hidden or is_locked(segmentation.GetSegment(name)))


def has_geometry(segmentation_node: SegmentationNode) -> bool:
    """Whether a segmentation node has a reference geometry."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    return bool(segmentation_node.GetSegmentation().GetConversionParameter(name))


def has_voxels(volume_node: VolumeNode) -> bool:
    """Whether there is a volume node, and it has voxels."""
    return volume_node is not None and volume_node.GetImageData() is not None


def set_locked(segment: VtkSegment, locked: bool) -> None:
    """Lock or unlock a segment."""
    if locked:
        segment.SetTag(LOCKED_TAG, "1")
    else:
        segment.RemoveTag(LOCKED_TAG)


def _reference(segmentation: VtkSegmentation, volume_node: VolumeNode) -> tuple[np.ndarray, tuple[int, ...]]:
    """IJK-to-RAS matrix and extent of the reference geometry."""
    converter = slicer.vtkSegmentationConverter
    text = segmentation.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    image = slicer.vtkOrientedImageData()
    matrix = vtk.vtkMatrix4x4()
    if text and converter.DeserializeImageGeometry(text, image, False):
        image.GetImageToWorldMatrix(matrix)
        return slicer.util.arrayFromVTKMatrix(matrix), tuple(image.GetExtent())
    if volume_node.GetImageData() is None:
        raise InputError("node_empty", name=volume_node.GetName())
    volume_node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix), tuple(volume_node.GetImageData().GetExtent())


def _geometry(to_world: np.ndarray, extent: tuple[int, ...]) -> Geometry:
    first = np.array([extent[0], extent[2], extent[4], 1.0])
    lps = LPS_TO_RAS_4X4 @ to_world
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    origin = (lps @ first)[:3]
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    direction = tuple(float(value) for value in (lps[:3, :3] / spacing).reshape(-1))
    sx, sy, sz = (float(value) for value in spacing)
    ox, oy, oz = (float(value) for value in origin)
    return Geometry(shape, (sx, sy, sz), (ox, oy, oz), direction)


def _offset(image: Any, to_world: np.ndarray, extent: tuple[int, ...]) -> tuple[int, int, int] | None:
    """First voxel of a labelmap in the grid; None if their voxels do not coincide."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    own_to_grid = np.linalg.inv(to_world) @ slicer.util.arrayFromVTKMatrix(matrix)
    stored = image.GetExtent()
    last = own_to_grid[:3, :3] @ (stored[1] - stored[0], stored[3] - stored[2], stored[5] - stored[4])
    expected = np.array((stored[1] - stored[0], stored[3] - stored[2], stored[5] - stored[4]))
    first = own_to_grid @ (stored[0], stored[2], stored[4], 1.0)
    nearest = np.rint(first[:3])
    if (
        np.abs(last - expected).max() > SAME_VOXEL_TOLERANCE
        or np.abs(first[:3] - nearest).max() > SAME_VOXEL_TOLERANCE
    ):
        return None
    i, j, k = (int(value) for value in nearest - (extent[0], extent[2], extent[4]))
    return k, j, i
