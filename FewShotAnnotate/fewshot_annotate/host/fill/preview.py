"""Preview: a temporary segmentation that shows slices as they arrive, beside the user's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ...core.slice_axis import SliceAxis
from ...core.volume import Geometry
from ..mrml.node_types import SegmentationNode
from ..mrml.overlay import Overlay

PREVIEW_ATTRIBUTE = "FewShotAnnotate.Preview"
# Shortest time between two updates of the views.
REDRAW_SECONDS = 0.15
_OPACITY = 0.6


@dataclass(frozen=True)
class PreviewSegment:
    """One segment to show."""

    name: str
    colour: tuple[float, float, float]


class Preview:
    """Shared labelmaps over the whole grid, written in place by numpy. Not saved with the scene.

    Parameters
    ----------
    segmentation_node
        The user's segmentation, whose transform the preview shares.
    grid : Geometry
    layers : sequence of sequences of PreviewSegment
        Label value 1 + n of a layer is its n-th segment.
    """

    def __init__(
        self, segmentation_node: SegmentationNode, grid: Geometry, layers: Sequence[Sequence[PreviewSegment]]
    ) -> None:
        self._overlay = Overlay(segmentation_node, f"{segmentation_node.GetName()} fill preview", PREVIEW_ATTRIBUTE)
        self._arrays: list[np.ndarray] = []
        self._images: list[Any] = []
        self._dirty: set[int] = set()
        self._drawn = 0.0
        parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        self.node.GetSegmentation().SetConversionParameter(
            parameter, segmentation_node.GetSegmentation().GetConversionParameter(parameter)
        )
        for number, segments in enumerate(layers):
            image = self._add_layer(grid, len(segments))
            for value, shown in enumerate(segments, start=1):
                self._overlay.add_segment(f"Preview_{number}_{value}", shown.name, shown.colour, image, value)
        self._overlay.display(_OPACITY)

    @property
    def node(self) -> Any:
        """The preview's node, None once it was removed."""
        return self._overlay.node

    def write(self, layer: int, axis: SliceAxis, index: int, labels: np.ndarray) -> None:
        """Show a slice: label values [h, w], 1 + n for the layer's n-th segment. Takes well under a millisecond."""
        axis.slices(self._arrays[layer])[index] = labels
        self._dirty.add(layer)

    def follow(self, segmentation_node: SegmentationNode) -> None:
        """Set the transform of the preview to that of the user's segmentation."""
        node = self.node
        if node is not None and node.GetTransformNodeID() != segmentation_node.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(segmentation_node.GetTransformNodeID())

    def redraw(self, now: bool = False) -> None:
        """Update the views with new slices, if the last update is at least `REDRAW_SECONDS` ago."""
        if not self._dirty or not (now or time.monotonic() - self._drawn > REDRAW_SECONDS):
            return
        for layer in self._dirty:
            self._images[layer].GetPointData().GetScalars().Modified()
            self._images[layer].Modified()
        self._dirty.clear()
        self._drawn = time.monotonic()

    def remove(self) -> None:
        """Remove the preview from the scene."""
        self._overlay.remove()
        self._arrays.clear()
        self._images.clear()

    def _add_layer(self, grid: Geometry, count: int) -> Any:
        # Zeros from calloc: pages are touched one by one as slices arrive, not all at once here.
        array = np.zeros(grid.shape, dtype=np.min_scalar_type(count))
        image = self._overlay.add_image(grid, (0, 0, 0), array)
        self._arrays.append(array)
        self._images.append(image)
        return image
