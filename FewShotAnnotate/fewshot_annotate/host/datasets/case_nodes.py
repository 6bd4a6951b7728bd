"""Nodes of a case of a data set: its image, and its labels as a segmentation on the image's grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ...core.errors import InputError
from ...core.regrid import regrid
from ...core.volume import Geometry, LabelMap, Segment, Volume
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.node_types import Scene, SegmentationNode, VolumeNode
from ..mrml.reading import BINARY_LABELMAP, ijk_to_ras, labels_version, read_grid

REVIEW_ATTRIBUTE = "FewShotAnnotate.Review"


def add_case_nodes(scene: Scene, name: str, volume: Volume, label_map: LabelMap) -> ChosenNodes:
    """Add a case to the scene; nothing is added if that fails."""
    volume_node = _add_volume(scene, name, volume)
    try:
        return ChosenNodes(volume_node, _add_segmentation(scene, name, label_map, volume_node))
    except BaseException:
        scene.RemoveNode(volume_node)
        raise


def remove_nodes(scene: Scene, nodes: ChosenNodes) -> None:
    """Remove the nodes of a case with their display nodes."""
    for node in (nodes.segmentation, nodes.volume):
        if node is not None:
            for display in [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]:
                scene.RemoveNode(display)
            scene.RemoveNode(node)


def nodes_label_map(nodes: ChosenNodes, geometry: Geometry, original: Sequence[Segment]) -> LabelMap:
    """The segmentation of a case as one label map on the grid of its image.

    Parameters
    ----------
    nodes : ChosenNodes
    geometry : Geometry
        Of the image.
    original : sequence of Segment
        Segments of the case when it was added: their label values and tags are kept.

    Raises
    ------
    InputError
        Segments overlap, or labelled voxels lie outside the image.
    """
    node = nodes.segmentation
    grid = read_grid(nodes.volume, node)
    original_segments = {_segment_id(segment): segment for segment in original}
    free_values = iter(sorted(set(range(1, 65536)) - {segment.value for segment in original}))
    array = np.zeros(grid.geometry.shape, dtype=np.uint16)
    segments = []
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        segment = node.GetSegmentation().GetSegment(segment_id)
        original_segment = original_segments.get(segment_id)
        value, tags = (original_segment.value, original_segment.tags) if original_segment else (next(free_values), {})
        segments.append(Segment(value=value, name=segment.GetName(), colour=tuple(segment.GetColor()), tags=tags))
        mask = grid.segment_box(segment_id, (0, 0, 0), grid.geometry.shape)
        if (array[mask] != 0).any():
            raise InputError("review_overlap", segment=segment.GetName())
        array[mask] = value
    labels = array.astype(np.uint8) if array.max() <= 255 else array
    try:
        return regrid([LabelMap(labels, grid.geometry, tuple(segments))], geometry).layers[0]
    except InputError:
        raise InputError("review_off_grid", name=node.GetName()) from None


def segmentation_version(node: SegmentationNode) -> tuple[object, ...]:
    """A value that changes with voxels, name or colour of any segment."""
    segmentation = node.GetSegmentation()
    named = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    return (labels_version(node), tuple((segment.GetName(), tuple(segment.GetColor())) for segment in named))


def _add_volume(scene: Scene, name: str, volume: Volume) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{name} image")
    node.SetIJKToRASMatrix(_matrix(volume.geometry))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array))
    node.CreateDefaultDisplayNodes()
    node.SetAttribute(REVIEW_ATTRIBUTE, name)
    return node


def _add_segmentation(scene: Scene, name: str, label_map: LabelMap, volume_node: VolumeNode) -> Any:
    """Segmentation node whose segments share one labelmap, as label maps do."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetAttribute(REVIEW_ATTRIBUTE, name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    image = _labelmap(label_map)
    for segment in label_map.segments:
        vtk_segment = slicer.vtkSegment()
        vtk_segment.SetName(segment.name)
        vtk_segment.SetColor(segment.colour)
        vtk_segment.SetLabelValue(segment.value)
        for tag, text in segment.tags.items():
            vtk_segment.SetTag(tag, text)
        vtk_segment.AddRepresentation(BINARY_LABELMAP, image)
        segmentation.AddSegment(vtk_segment, _segment_id(segment))
    node.CreateDefaultDisplayNodes()
    return node


def _labelmap(label_map: LabelMap) -> Any:
    k, j, i = label_map.geometry.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    image.SetGeometryFromImageToWorldMatrix(_matrix(label_map.geometry))
    scalars = numpy_to_vtk(np.ascontiguousarray(label_map.array).reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def _matrix(geometry: Geometry) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(geometry).reshape(-1))
    return matrix


def _segment_id(segment: Segment) -> str:
    return f"Segment_{segment.value}"
