"""Reading MRML: the grid of a segmentation, its layers as numpy views, and the volume on that grid.

Everything a run works on lies on the segmentation's own grid, so painted voxels are never resampled. The volume is
resampled onto it only where the two grids differ. Nothing here changes a node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ...core.errors import InputError
from ...core.slice_axis import SliceAxis
from ...core.volume import SAME_VOXEL_TOLERANCE, Geometry, Volume

BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"
LOCKED_TAG = "FewShotAnnotate.Locked"
# A volume is sampled at about this many places along each axis.
_SAMPLES = 24
_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Layer:
    """One labelmap that segments share.

    Attributes
    ----------
    array : ndarray [k, j, i]
        View of the labelmap's voxels; it may cover a part of the grid only. Holding the view keeps the memory valid.
    offset : (int, int, int)
        Position of its first voxel in the grid, array order.
    segments : dict
        Label value -> segment id.
    """

    array: np.ndarray
    offset: tuple[int, int, int]
    segments: dict[int, str]

    def slice(self, axis: SliceAxis, index: int, shape: tuple[int, int]) -> np.ndarray:
        """Values [h, w] of a slice of the whole grid, 0 where the labelmap does not reach."""
        slices = axis.slices(self.array)
        first = list(self.offset)
        layer_index = index - first.pop(axis.index)
        full_slice = np.zeros(shape, dtype=self.array.dtype)
        if 0 <= layer_index < len(slices):
            stored = slices[layer_index]
            full_slice[first[0] : first[0] + stored.shape[0], first[1] : first[1] + stored.shape[1]] = stored
        return full_slice


@dataclass(frozen=True)
class SegmentationGrid:
    """A segmentation's voxels as they lie on its reference geometry.

    Attributes
    ----------
    geometry : Geometry
        In the segmentation node's own coordinates (its transform not applied), LPS.
    layers : tuple of Layer
    first : (int, int, int)
        Slicer's own number (i, j, k) of the grid's first voxel; a reference geometry need not begin at 0.
    is_cropped : bool
        Whether a labelmap extends beyond the grid; what lies there is in no layer.
    """

    geometry: Geometry
    layers: tuple[Layer, ...]
    first: tuple[int, int, int] = (0, 0, 0)
    is_cropped: bool = False

    def slice_shape(self, axis: SliceAxis) -> tuple[int, int]:
        """Rows and columns of a slice."""
        rows, columns = (size for number, size in enumerate(self.geometry.shape) if number != axis.index)
        return rows, columns

    def segment_slices(self, segment_ids: Collection[str], axis: SliceAxis, index: int) -> dict[str, np.ndarray]:
        """Voxels, bool [h, w], of those of the segments that have any on the slice."""
        shape = self.slice_shape(axis)
        segment_masks = {}
        for layer in self.layers:
            if not any(name in segment_ids for name in layer.segments.values()):
                continue
            label_slice = layer.slice(axis, index, shape)
            if label_slice.any():
                masks = {name: label_slice == value for value, name in layer.segments.items() if name in segment_ids}
                segment_masks.update({name: mask for name, mask in masks.items() if mask.any()})
        return segment_masks

    def union_slice(self, segment_ids: Collection[str], axis: SliceAxis, index: int) -> np.ndarray:
        """Voxels of any of the segments on a slice, bool [h, w]."""
        union = np.zeros(self.slice_shape(axis), dtype=bool)
        for mask in self.segment_slices(segment_ids, axis, index).values():
            union |= mask
        return union

    def segment_box(self, segment_id: str, first: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Voxels of a segment in a part of the grid, bool [k, j, i] of that size."""
        mask = np.zeros(tuple(size), dtype=bool)
        for layer in self.layers:
            for value, name in layer.segments.items():
                if name == segment_id:
                    theirs, ours = _overlap(layer, first, size)
                    mask[ours] = layer.array[theirs] == value
        return mask

    def snapshot(self, segment_ids: Collection[str]) -> SegmentationGrid:
        """Copy of the layers that hold any of the segments, with these alone; later painting is not in it."""
        copies = []
        for layer in self.layers:
            segments = {value: name for value, name in layer.segments.items() if name in segment_ids}
            if segments:
                copy = np.zeros_like(layer.array)
                for target, label_slice in zip(copy, layer.array, strict=True):
                    if (
                        label_slice.any()
                    ):  # pages of empty slices are never touched: most slices are empty before a run
                        target[:] = label_slice
                copies.append(Layer(copy, layer.offset, segments))
        return replace(self, layers=tuple(copies))


@dataclass(frozen=True)
class ImageSource:
    """A volume node's voxels, and how the grid lies in them.

    Attributes
    ----------
    array : ndarray [k, j, i]
        View of the volume's voxels.
    grid_to_array : ndarray 4x4 or None
        Array index (k, j, i) in the grid -> array index in `array`; None if the grids are the same.
    """

    array: np.ndarray
    grid_to_array: np.ndarray | None

    def on_grid(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Voxels on the grid, trilinear where the grids differ, edge values outside. For a background thread."""
        if self.grid_to_array is None:
            return self.array
        result = np.empty(shape, dtype=np.float32)
        for k in range(shape[0]):  # slice by slice: short calls let the GUI thread in between
            result[k] = self.slice(SliceAxis(0), k, shape)
        return result

    def slice(self, axis: SliceAxis, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        """One slice [h, w] of `on_grid(shape)`."""
        if self.grid_to_array is None:
            return axis.slices(self.array)[index]
        from scipy.ndimage import affine_transform

        matrix = self.grid_to_array
        first = np.zeros(3)
        first[axis.index] = index
        size = [1 if number == axis.index else length for number, length in enumerate(shape)]
        start = matrix[:3, :3] @ first + matrix[:3, 3]
        resampled = affine_transform(
            self.array, matrix[:3, :3], start, tuple(size), np.float32, order=1, mode="nearest"
        )
        return axis.slices(resampled)[0]

    @property
    def matrix(self) -> tuple[float, ...] | None:
        """`grid_to_array` row by row."""
        return None if self.grid_to_array is None else tuple(map(float, self.grid_to_array.reshape(-1)))

    def sample(self) -> str:
        """Checksum of some voxels, evenly spread: another one later means another volume. Takes well under 1 ms."""
        steps = tuple(slice(None, None, max(1, size // _SAMPLES)) for size in self.array.shape)
        return hashlib.blake2b(self.array[steps].tobytes(), digest_size=16).hexdigest()


def read_grid(segmentation_node: Any, volume_node: Any) -> SegmentationGrid:
    """Grid and layers of a segmentation; the volume's grid if the segmentation has none yet.

    Raises
    ------
    InputError
        The segments are no labelmaps, or one of them lies on another lattice.
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
    clipped = tuple(clip for layer in layers if (clip := _clip(layer, geometry.shape)) is not None)
    is_cropped = sum(layer.array.size for layer in clipped) < sum(layer.array.size for layer in layers)
    return SegmentationGrid(geometry, clipped, (extent[0], extent[2], extent[4]), is_cropped)


def read_image(volume_node: Any, segmentation_node: Any, grid: Geometry) -> ImageSource:
    """Voxels of a volume and how `grid`, in the segmentation's coordinates, lies in them.

    Raises
    ------
    InputError
        The volume is empty or no single-channel 3D volume, or a transform between the two is not linear.
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
    if array.shape == grid.shape and np.abs(moved - corners).max() < SAME_VOXEL_TOLERANCE:
        return ImageSource(array, None)
    flip = np.eye(4)[[2, 1, 0, 3]]
    return ImageSource(array, flip @ grid_ijk_to_volume_ijk @ flip)


def read_channel(volume_node: Any, segmentation_node: Any) -> Volume:
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


def _voxels(volume_node: Any) -> np.ndarray:
    image, name = volume_node.GetImageData(), volume_node.GetName()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError("node_empty", name=name)
    if image.GetNumberOfScalarComponents() != 1 or min(image.GetDimensions()) < 2:
        raise InputError("node_not_volume", name=name)
    return image_array(image)


def segmentation_to_volume(segmentation_node: Any, volume_node: Any) -> np.ndarray:
    """4x4 matrix of RAS in the segmentation's own coordinates to RAS in the volume's own.

    Raises
    ------
    InputError
        A transform between the two is not linear.
    """
    above_segmentation, above_volume = (
        segmentation_node.GetParentTransformNode(),
        volume_node.GetParentTransformNode(),
    )
    if above_segmentation is not above_volume:
        for first, second in ((above_segmentation, above_volume), (above_volume, above_segmentation)):
            if first is not None and not first.IsTransformToNodeLinear(second):
                raise InputError("transform_not_linear", name=volume_node.GetName())
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(above_segmentation, above_volume, matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


def grid_in_volume(grid: Geometry, segmentation_node: Any, volume_node: Any) -> Geometry:
    """The same grid in the volume's own coordinates, which are those of its images.

    Raises
    ------
    InputError
        A transform between the two is not linear.
    """
    extent = (0, grid.shape[2] - 1, 0, grid.shape[1] - 1, 0, grid.shape[0] - 1)
    return _geometry(segmentation_to_volume(segmentation_node, volume_node) @ ijk_to_ras(grid), extent)


def volume_geometry(volume_node: Any) -> Geometry:
    """Grid of a volume in its own coordinates, LPS."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return _geometry(slicer.util.arrayFromVTKMatrix(matrix), tuple(volume_node.GetImageData().GetExtent()))


def labels_version(segmentation_node: Any) -> tuple[object, ...]:
    """Something that is another after every change of a segment's voxels. Takes microseconds."""
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
    return np.asarray(_LPS_RAS @ matrix)


def image_array(image: Any) -> np.ndarray:
    """View [k, j, i] of a vtkImageData's voxels."""
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def is_locked(segment: Any) -> bool:
    """Whether the user locked a segment. Slicer has no lock of its own; the tag is saved with the segment."""
    text = vtk.reference("")
    return bool(segment.GetTag(LOCKED_TAG, text)) and str(text) == "1"


def set_locked(segment: Any, locked: bool) -> None:
    """Lock or unlock a segment."""
    if locked:
        segment.SetTag(LOCKED_TAG, "1")
    else:
        segment.RemoveTag(LOCKED_TAG)


def _reference(segmentation: Any, volume_node: Any) -> tuple[np.ndarray, tuple[int, ...]]:
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
    lps = _LPS_RAS @ to_world
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    origin = (lps @ first)[:3]
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    direction = tuple(float(value) for value in (lps[:3, :3] / spacing).reshape(-1))
    sx, sy, sz = (float(value) for value in spacing)
    ox, oy, oz = (float(value) for value in origin)
    return Geometry(shape, (sx, sy, sz), (ox, oy, oz), direction)


def _offset(image: Any, to_world: np.ndarray, extent: tuple[int, ...]) -> tuple[int, int, int] | None:
    """First voxel of a labelmap in the grid; None if it lies on another lattice."""
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


def _overlap(layer: Layer, first: Sequence[int], size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Common part of a layer and a box of the grid, as index of the layer and index of the box."""
    theirs, ours = [], []
    for offset, reach, start, length in zip(layer.offset, layer.array.shape, first, size, strict=True):
        low, high = max(offset, start), max(offset, start, min(offset + reach, start + length))
        theirs.append(slice(low - offset, high - offset))
        ours.append(slice(low - start, high - start))
    return tuple(theirs), tuple(ours)


def _clip(layer: Layer, shape: tuple[int, int, int]) -> Layer | None:
    """The part of a layer inside the grid."""
    cut, offset = [], []
    for start, size, most in zip(layer.offset, layer.array.shape, shape, strict=True):
        first, stop = max(0, -start), min(size, most - start)
        if first >= stop:
            return None
        cut.append(slice(first, stop))
        offset.append(start + first)
    return Layer(layer.array[tuple(cut)], (offset[0], offset[1], offset[2]), layer.segments)
