"""Nodes of a case of a data set: its image, and its labels as a segmentation on the image's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer

from ...core.errors import InputError
from ...core.regrid import regrid
from ...core.volume import Geometry, LabelMap, Segment
from ...datasets.reviewed_case import ReviewedCase
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import SegmentationGrid
from ..mrml.node_types import Scene, SegmentationNode, VolumeNode
from ..mrml.reading import (
    BINARY_LABELMAP,
    grid_in_volume,
    labels_version,
    read_grid,
    segmentation_to_volume,
)
from .case_images import CaseImages, ijk_to_ras_matrix

REVIEW_ATTRIBUTE = "FewShotAnnotate.Review"


def add_case_nodes(scene: Scene, case: ReviewedCase, images: CaseImages) -> ChosenNodes:
    """Add a case to the scene; nothing is added if that fails."""
    volume_node = _add_volume(scene, case, images)
    try:
        return ChosenNodes(volume_node, _add_segmentation(scene, case, images, volume_node))
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
    if nodes.segmentation is not None:
        _release_labelmaps(nodes.segmentation)


def _release_labelmaps(node: SegmentationNode) -> None:
    """Free the voxels of a removed node: else it erases those of one segment after the other, which takes long."""
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        image = segmentation.GetSegment(segment_id).GetRepresentation(BINARY_LABELMAP)
        if image is not None:
            image.Initialize()


@dataclass(frozen=True, kw_only=True)
class CaseLabels:
    """The labels of a case, free of nodes; `grid` is a view of their voxels until `copied`.

    Attributes
    ----------
    name : str
        Of the segmentation node.
    grid : SegmentationGrid
    geometry : Geometry
        The grid in the coordinates of the image: the transforms of both nodes are applied.
    segments : mapping of str to Segment
        By segment id; their label values are those to write.
    """

    name: str
    grid: SegmentationGrid
    geometry: Geometry
    segments: Mapping[str, Segment]

    def copied(self) -> CaseLabels:
        """The same with a copy of the voxels, so that the user can continue to paint. For a background thread."""
        return replace(self, grid=self.grid.snapshot(self.segments))

    def label_map(self, geometry: Geometry) -> LabelMap:
        """One label map on the grid of the image. For a background thread.

        Raises
        ------
        InputError
            Segments overlap, or labelled voxels lie outside the image.
        """
        array = np.zeros(self.geometry.shape, dtype=np.uint16)
        for layer in self.grid.layers:
            box = tuple(slice(at, at + size) for at, size in zip(layer.offset, layer.array.shape, strict=True))
            for target, labels in zip(array[box], layer.array, strict=True):  # in between, the GUI thread can run
                if labels.any():
                    self._write(target, labels, layer.segments)
        labels = array.astype(np.uint8) if array.max() <= 255 else array
        try:
            return regrid([LabelMap(labels, self.geometry, tuple(self.segments.values()))], geometry).layers[0]
        except InputError:
            raise InputError("review_off_grid", name=self.name) from None

    def _write(self, target: np.ndarray, labels: np.ndarray, segment_ids: Mapping[int, str]) -> None:
        for label, segment_id in segment_ids.items():
            mask, segment = labels == label, self.segments[segment_id]
            if target[mask].any():
                raise InputError("review_overlap", segment=segment.name)
            target[mask] = segment.value


def read_labels(nodes: ChosenNodes, original: Sequence[Segment]) -> CaseLabels:
    """Read the labels of a case; no voxel is copied yet.

    Parameters
    ----------
    nodes : ChosenNodes
        The volume may be None: the user may have removed it.
    original : sequence of Segment
        Segments of the case when it was added: their label values and tags are kept.

    Raises
    ------
    InputError
        The segmentation cannot be read, or a transform between the nodes is not linear.
    """
    node = nodes.segmentation
    grid = read_grid(nodes.volume, node)
    original_segments = {_segment_id(segment): segment for segment in original}
    free_values = iter(sorted(set(range(1, 65536)) - {segment.value for segment in original}))
    segments = {}
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        segment = node.GetSegmentation().GetSegment(segment_id)
        original_segment = original_segments.get(segment_id)
        value, tags = (original_segment.value, original_segment.tags) if original_segment else (next(free_values), {})
        segments[segment_id] = Segment(
            value=value, name=segment.GetName(), colour=tuple(segment.GetColor()), tags=tags
        )
    return CaseLabels(
        name=node.GetName(),
        grid=grid,
        geometry=grid_in_volume(grid.geometry, nodes.volume, node) if nodes.volume is not None else grid.geometry,
        segments=segments,
    )


def is_moved(nodes: ChosenNodes) -> bool:
    """Whether a transform moves the labels of a case relative to its image. Raises InputError if it is not linear."""
    if nodes.volume is None:
        return False
    return not np.allclose(segmentation_to_volume(nodes.segmentation, nodes.volume), np.eye(4))


def segmentation_version(node: SegmentationNode) -> tuple[object, ...]:
    """A value that changes with voxels, name or colour of any segment."""
    segmentation = node.GetSegmentation()
    named = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    return (labels_version(node), tuple((segment.GetName(), tuple(segment.GetColor())) for segment in named))


def _add_volume(scene: Scene, case: ReviewedCase, images: CaseImages) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{case.name} image")
    node.SetIJKToRASMatrix(ijk_to_ras_matrix(case.volume.geometry))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)  # else it computes the display range again
    display.SetWindowLevelMinMax(*images.display_range)
    node.SetAndObserveImageData(images.image)
    node.SetAttribute(REVIEW_ATTRIBUTE, case.name)
    return node


def _add_segmentation(scene: Scene, case: ReviewedCase, images: CaseImages, volume_node: VolumeNode) -> Any:
    """Segmentation node whose segments share one labelmap, as label maps do."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", case.name)
    node.SetAttribute(REVIEW_ATTRIBUTE, case.name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    for segment in case.label_map.segments:
        vtk_segment = slicer.vtkSegment()
        vtk_segment.SetName(segment.name)
        vtk_segment.SetColor(segment.colour)
        vtk_segment.SetLabelValue(segment.value)
        for tag, text in segment.tags.items():
            vtk_segment.SetTag(tag, text)
        vtk_segment.AddRepresentation(BINARY_LABELMAP, images.labelmap)
        segmentation.AddSegment(vtk_segment, _segment_id(segment))
    node.CreateDefaultDisplayNodes()
    return node


def _segment_id(segment: Segment) -> str:
    return f"Segment_{segment.value}"
