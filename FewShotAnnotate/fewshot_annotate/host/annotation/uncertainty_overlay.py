"""UncertaintyOverlay: where the last run was uncertain, over the slice views. Not saved with the scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..i18n import tr as _
from ..mrml.grid import SegmentationGrid
from ..mrml.overlay import Overlay

UNCERTAINTY_ATTRIBUTE = "FewShotAnnotate.Uncertainty"
# From slightly to very uncertain; they differ in lightness too, for users with red-green colour blindness.
_COLOURS = {1: (1.0, 0.95, 0.55), 2: (1.0, 0.65, 0.15), 3: (0.85, 0.1, 0.1)}
_OPACITY = 0.75


class UncertaintyOverlay:
    """Shows the contested voxels of a run over a segmentation."""

    def __init__(self) -> None:
        self._overlay: Overlay | None = None

    @property
    def node(self) -> Any:
        """The overlay's node, None if nothing is shown."""
        return self._overlay.node if self._overlay is not None else None

    def show(
        self, segmentation_node: Any, grid: SegmentationGrid, first: tuple[int, int, int], values: np.ndarray
    ) -> None:
        """Show `ContestedVoxels.values` that begin at voxel `first` (k, j, i) of the grid."""
        self.hide()
        name = _("{name}: uncertainty of the last fill").format(name=segmentation_node.GetName())
        self._overlay = Overlay(segmentation_node, name, UNCERTAINTY_ATTRIBUTE)
        image = self._overlay.add_image(grid.geometry, first, values)
        titles = {1: _("Slightly uncertain"), 2: _("Uncertain"), 3: _("Very uncertain")}
        for level, title in titles.items():
            self._overlay.add_segment(f"Uncertainty_{level}", title, _COLOURS[level], image, level)
        self._overlay.display(_OPACITY)

    def hide(self) -> None:
        """Remove the overlay from the scene."""
        if self._overlay is not None:
            self._overlay.remove()
            self._overlay = None
