"""GridReader: reads the grid of a segmentation, and again only after it has changed."""

from __future__ import annotations

import slicer

from .chosen_nodes import ChosenNodes
from .grid import SegmentationGrid
from .node_types import VolumeNode
from .reading import labels_version, read_grid


class GridReader:
    """Reads the grid of one segmentation at a time, once for each state of its voxels."""

    def __init__(self) -> None:
        self._read: tuple[tuple[object, ...], SegmentationGrid] | None = None

    def read(self, nodes: ChosenNodes) -> SegmentationGrid:
        """Grid and layers of the segmentation, as `read_grid` reads them; both nodes must be chosen.

        Raises
        ------
        InputError
            As for `read_grid`.
        """
        version = grid_version(nodes)
        if self._read is None or self._read[0] != version:
            self._read = None
            self._read = (version, read_grid(nodes.volume, nodes.segmentation))
        return self._read[1]

    def clear(self) -> None:
        """Release the voxels that were read last."""
        self._read = None


def grid_version(nodes: ChosenNodes) -> tuple[object, ...]:
    """A value that changes with voxels or grid of the segmentation. Takes microseconds."""
    segmentation = nodes.segmentation.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    reference = segmentation.GetConversionParameter(name)
    version = reference or _volume_version(nodes.volume)
    source = segmentation.GetSourceRepresentationName()
    return (nodes.segmentation.GetID(), source, version, labels_version(nodes.segmentation))


def _volume_version(volume: VolumeNode) -> tuple[object, ...]:
    """A value that changes with the volume, whose grid counts for a segmentation without one of its own."""
    return (volume.GetID(), volume.GetMTime(), volume.GetImageData())
