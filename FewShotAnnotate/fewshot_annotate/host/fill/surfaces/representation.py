"""Closed surfaces as a representation of the segments of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from typing import Any

import slicer

from ...mrml.node_types import SegmentationNode
from ...mrml.reading import CLOSED_SURFACE
from .conversion import SurfaceSettings

# Names of Slicer's conversion parameters, and the values with which `closed_surface` does as Slicer.
_DECIMATION, _SMOOTHING, _NORMALS = "Decimation factor", "Smoothing factor", "Compute surface normals"
_FLYING_EDGES = {"Conversion method": "0", "Joint smoothing": "0"}


def surface_settings(segmentation_node: SegmentationNode) -> SurfaceSettings | None:
    """Conversion parameters of a segmentation.

    Returns
    -------
    SurfaceSettings or None
        None if it has no closed surface, or one of another method (surface nets, joint smoothing).
    """
    segmentation = segmentation_node.GetSegmentation()
    if not segmentation.ContainsRepresentation(CLOSED_SURFACE):
        return None
    if any((segmentation.GetConversionParameter(name) or value) != value for name, value in _FLYING_EDGES.items()):
        return None
    with suppress(ValueError):
        return SurfaceSettings(
            decimation=float(segmentation.GetConversionParameter(_DECIMATION)),
            smoothing=float(segmentation.GetConversionParameter(_SMOOTHING)),
            normals=int(segmentation.GetConversionParameter(_NORMALS)) > 0,
        )
    return None


@contextmanager
def replaced_surfaces(
    segmentation_node: SegmentationNode, changed: Set[str], surfaces: Mapping[str, Any]
) -> Iterator[None]:
    """Context manager for a change of voxels: the segmentation has no closed surface meanwhile, so none is converted.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    changed : set of str
        Segments whose voxels change; the others keep their surfaces.
    surfaces : mapping of str to vtkPolyData
        Segment id -> its surface after the change. Slicer converts those that are missing.
    """
    segmentation = segmentation_node.GetSegmentation()
    if not segmentation.ContainsRepresentation(CLOSED_SURFACE):
        yield
        return
    unchanged = set(segmentation.GetSegmentIDs()) - changed if surface_settings(segmentation_node) else set()
    kept = {name: segmentation.GetSegment(name).GetRepresentation(CLOSED_SURFACE) for name in unchanged}
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    try:
        yield
    finally:
        for segment_id, surface in {**kept, **surfaces}.items():
            segment = segmentation.GetSegment(segment_id)
            if segment is not None and surface is not None:
                segment.AddRepresentation(CLOSED_SURFACE, surface)
        segmentation.CreateRepresentation(CLOSED_SURFACE)
        segmentation.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)
