"""LabelOverlay: label values shown over the user's segmentation on demand, in colours of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.volume import Geometry
from ..mrml.node_types import SegmentationNode
from ..mrml.overlay import Overlay


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """How label values are shown.

    Attributes
    ----------
    title : str
        Name of the overlay's node, with the placeholder `{name}` for that of the segmentation.
    attribute : str
        Marks the node as an overlay of its kind.
    segments : mapping of int to (str, (float, float, float))
        Label value -> name and colour, RGB in 0..1.
    opacity : float
        Of filled segments in slice views, 0..1.
    """

    title: str
    attribute: str
    segments: dict[int, tuple[str, tuple[float, float, float]]]
    opacity: float


class LabelOverlay:
    """At most one overlay in the scene; not saved with it."""

    def __init__(self) -> None:
        self._overlay: Overlay | None = None

    @property
    def node(self) -> Any:
        """The overlay's node, None if nothing is shown."""
        return self._overlay.node if self._overlay is not None else None

    def show(
        self,
        segmentation_node: SegmentationNode,
        style: OverlayStyle,
        grid: Geometry,
        first: tuple[int, int, int],
        values: np.ndarray,
    ) -> None:
        """Show label values, uint8 [k, j, i], that begin at voxel `first` (k, j, i) of the grid."""
        self.hide()
        self._overlay = Overlay(
            segmentation_node, style.title.format(name=segmentation_node.GetName()), style.attribute
        )
        image = self._overlay.add_image(grid, first, values)
        for value, (name, colour) in style.segments.items():
            self._overlay.add_segment(f"{style.attribute}_{value}", name, colour, image, value)
        self._overlay.display(style.opacity)

    def hide(self) -> None:
        """Remove the overlay from the scene."""
        if self._overlay is not None:
            self._overlay.remove()
            self._overlay = None
