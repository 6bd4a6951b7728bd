"""RunOverlays: what the last run changed and where it was uncertain, shown over the segmentation on demand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import slicer

from ..annotation.annotations import SliceAnnotations
from ..annotation.review_rows import ReviewView
from ..fill.contested import ContestedVoxels
from ..i18n import tr as _
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import SegmentationGrid
from ..mrml.node_types import SegmentationNode
from ..mrml.overlay import Overlay
from ..tasks import BackgroundTasks
from .differences import Differences, DifferencesOverlay

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
        self,
        segmentation_node: SegmentationNode,
        grid: SegmentationGrid,
        first: tuple[int, int, int],
        values: np.ndarray,
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


class RunOverlays:
    """Overlays of the chosen segmentation; kept until the scene is closed, and not saved with it.

    Parameters
    ----------
    nodes : function
        Returns the ChosenNodes.
    annotations : SliceAnnotations
        Of the chosen segmentation.
    tasks : BackgroundTasks
        Unpack what is shown.
    """

    def __init__(
        self, nodes: Callable[[], ChosenNodes], annotations: SliceAnnotations, tasks: BackgroundTasks
    ) -> None:
        self._nodes = nodes
        self._annotations = annotations
        self._tasks = tasks
        self._differences: tuple[str, Differences] | None = None  # segmentation id and what its last run changed
        self._differences_overlay = DifferencesOverlay()
        self._contested: tuple[str, ContestedVoxels] | None = None  # segmentation id and those of its last run
        self._uncertainty_overlay = UncertaintyOverlay()
        self._uncertainty_reviewed: frozenset[int] | None = None  # slices that the shown overlay leaves out

    # --- differences since the run before

    @property
    def has_differences(self) -> bool:
        """Whether the changes of the last run are known, and it was not undone."""
        node = self._nodes().segmentation
        if node is None or self._differences is None or self._differences[0] != node.GetID():
            return False
        return self._view().has_filled

    @property
    def differences_shown(self) -> bool:
        """Whether the overlay of changes is in the scene."""
        return self._differences_overlay.node is not None

    def set_differences(self, segmentation_id: str, differences: Differences) -> None:
        """Keep what the last run of a segmentation changed."""
        self._differences = (segmentation_id, differences)

    def show_differences(self, shown: bool) -> None:
        """Show what the last run added and removed, or hide it."""
        nodes = self._nodes()
        self._differences_overlay.hide()
        if not shown or not self.has_differences or not nodes.complete:
            return
        assert self._differences is not None
        differences, identifier = self._differences[1], nodes.segmentation.GetID()
        grid = self._annotations.grids.read(nodes)

        def show(values: np.ndarray) -> None:
            present = slicer.mrmlScene.GetNodeByID(identifier)
            if present is not None and values.size:
                self._differences_overlay.show(present, grid, differences.first, values)

        self._tasks.start(differences.values, show)

    # --- uncertainty of the last run

    @property
    def has_uncertainty(self) -> bool:
        """Whether it is known where the last run was uncertain."""
        return self.contested is not None

    @property
    def uncertainty_shown(self) -> bool:
        """Whether the overlay of uncertainty is in the scene."""
        return self._uncertainty_overlay.node is not None

    @property
    def contested(self) -> ContestedVoxels | None:
        """Where the last run on the chosen segmentation was uncertain; None if that is not known."""
        node = self._nodes().segmentation
        if node is None or self._contested is None or self._contested[0] != node.GetID():
            return None
        return self._contested[1]

    def show_uncertainty(self, shown: bool) -> None:
        """Show where the last run was uncertain, except on slices that are accepted or corrected, or hide it."""
        nodes = self._nodes()
        self._uncertainty_overlay.hide()
        self._uncertainty_reviewed = None
        contested = self.contested if nodes.complete else None
        if not shown or contested is None:
            return
        identifier, grid = nodes.segmentation.GetID(), self._annotations.grids.read(nodes)
        reviewed = self._uncertainty_reviewed = _reviewed(self._view())

        def show(values: np.ndarray) -> None:
            present = slicer.mrmlScene.GetNodeByID(identifier)
            if present is not None and values.size:
                self._uncertainty_overlay.show(present, grid, contested.first_voxel, values)

        self._tasks.start(partial(contested.values, reviewed), show)

    # --- life cycle

    def start_run(self, segmentation_id: str, contested: ContestedVoxels) -> None:
        """Hide what is shown of an earlier run, and keep where the new one was uncertain."""
        self.hide()
        self._contested = (segmentation_id, contested)

    def update(self) -> None:
        """Hide overlays of another segmentation, and leave slices out once they are accepted."""
        if self.differences_shown and not self.has_differences:
            self._differences_overlay.hide()
        if not self.uncertainty_shown:
            return
        if not self.has_uncertainty:
            self._uncertainty_overlay.hide()
        elif self._uncertainty_reviewed != _reviewed(self._view()) and not self._tasks.has_pending_results:
            self.show_uncertainty(True)

    def hide(self) -> None:
        """Remove both overlays from the scene."""
        self._differences_overlay.hide()
        self._uncertainty_overlay.hide()

    def reset(self) -> None:
        """Hide the overlays and clear what they show, before the scene is closed."""
        self.hide()
        self._differences, self._contested = None, None

    def _view(self) -> ReviewView:
        segmentation: Any = self._nodes().segmentation
        return self._annotations.snapshot(segmentation).review


def _reviewed(view: ReviewView) -> frozenset[int]:
    return frozenset(row.index for row in view.rows if not row.needs_review)
