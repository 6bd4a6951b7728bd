"""Questions about nodes that the panel asks: what to choose at first, and what a node lacks."""

from __future__ import annotations

from typing import Any

import slicer


def first_segmentation() -> Any:
    """The first segmentation a user can see; previews are hidden from editors."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if not node.GetHideFromEditors()), None)


def has_geometry(segmentation_node: Any) -> bool:
    """Whether a segmentation node has a reference geometry."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    return bool(segmentation_node.GetSegmentation().GetConversionParameter(name))


def has_voxels(volume_node: Any) -> bool:
    """Whether there is a volume node, and it has voxels."""
    return volume_node is not None and volume_node.GetImageData() is not None


def is_same_node(first: Any, second: Any) -> bool:
    """Whether two wrapped parameter nodes are the same node."""
    if first is None or second is None:
        return first is second
    return first.parameterNode is second.parameterNode
