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
from ..tasks import BackgroundTasks
from .differences import Differences, differences_style
from .label_overlay import LabelOverlay, OverlayStyle

UNCERTAINTY_ATTRIBUTE = "FewShotAnnotate.Uncertainty"


def uncertainty_style() -> OverlayStyle:
    """How `ContestedVoxels.values` are shown; lightness differs too, for users with red-green colour blindness."""
    return OverlayStyle(
        title=_("{name}: uncertainty of the last fill"),
        attribute=UNCERTAINTY_ATTRIBUTE,
        segments={
            1: (_("Slightly uncertain"), (1.0, 0.95, 0.55)),
            2: (_("Uncertain"), (1.0, 0.65, 0.15)),
            3: (_("Very uncertain"), (0.85, 0.1, 0.1)),
        },
        opacity=0.75,
    )


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
        self._differences_overlay = LabelOverlay()
        self._contested: tuple[str, ContestedVoxels] | None = None  # segmentation id and those of its last run
        self._uncertainty_overlay = LabelOverlay()
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
        self._differences_overlay.hide()
        if shown and self.has_differences and self._nodes().complete:
            assert self._differences is not None
            differences = self._differences[1]
            self._show(self._differences_overlay, differences_style(), differences.first, differences.values)

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
        self._uncertainty_overlay.hide()
        self._uncertainty_reviewed = None
        contested = self.contested if self._nodes().complete else None
        if shown and contested is not None:
            reviewed = self._uncertainty_reviewed = _reviewed(self._view())
            values = partial(contested.values, reviewed)
            self._show(self._uncertainty_overlay, uncertainty_style(), contested.first_voxel, values)

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

    def _show(
        self,
        overlay: LabelOverlay,
        style: OverlayStyle,
        first: tuple[int, int, int],
        values: Callable[[], np.ndarray],
    ) -> None:
        """Unpack label values in the background, then show them over the segmentation unless it was removed."""
        nodes = self._nodes()
        identifier, geometry = nodes.segmentation.GetID(), self._annotations.grids.read(nodes).geometry

        def show(unpacked: np.ndarray) -> None:
            segmentation = slicer.mrmlScene.GetNodeByID(identifier)
            if segmentation is not None and unpacked.size:
                overlay.show(segmentation, style, geometry, first, unpacked)

        self._tasks.start(values, show)

    def _view(self) -> ReviewView:
        segmentation: Any = self._nodes().segmentation
        return self._annotations.snapshot(segmentation).review


def _reviewed(view: ReviewView) -> frozenset[int]:
    return frozenset(row.index for row in view.rows if not row.needs_review)
