"""ReviewController: review of the filled slices of a segmentation. No Qt; the panel's timer calls `poll`.

A fill never changes the slices in `accepted_slices`, and the engine learns from them as from painted and corrected
ones. A status holds only for the voxels that the slice had when it was set: after an undo or a change by hand, the
row shows the status of the present voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import slicer

from ...core.slice_axis import SliceAxis
from ...guidance.disagreement import disagreements
from ..annotation.annotations import SliceAnnotations
from ..annotation.painted_slices import slice_digests
from ..annotation.record import AxisRecord, SliceStatus
from ..annotation.record_store import read_record, take_over_earlier_reviews
from ..annotation.review_rows import RefillRequest, ReviewRow, ReviewView, combined_status, worst_first
from ..fill.run_outcome import RunOutcome
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import SegmentationGrid
from ..mrml.node_types import SegmentationNode
from ..mrml.views import current_slice, jump_to_slice, slice_positions
from ..tasks import BackgroundTasks
from .confidence_plot import find_plot, remove_orphaned_plots, show_plot, update_plot
from .differences import Differences
from .run_overlays import RunOverlays


@dataclass(frozen=True)
class _RunMeasurements:
    """What the background thread measured of a run."""

    disagreement: dict[int, float]
    changed: dict[int, int]
    differences: Differences


class ReviewController:
    """Review of the selected segmentation.

    Parameters
    ----------
    parameter_node : function
        Returns the module's vtkMRMLScriptedModuleNode (not wrapped), None if there is none.
    nodes : function
        Returns the ChosenNodes.
    annotations : SliceAnnotations
        Of the chosen segmentation.

    Attributes
    ----------
    overlays : RunOverlays
        What the last run changed and where it was uncertain, shown over the segmentation.
    """

    def __init__(
        self, parameter_node: Callable[[], Any], nodes: Callable[[], ChosenNodes], annotations: SliceAnnotations
    ) -> None:
        self._parameter_node = parameter_node
        self._nodes = nodes
        self._annotations = annotations
        self._tasks = BackgroundTasks("Review")
        self._segment_status: tuple[str, SliceStatus] | None = None  # segmentation id and the status last written
        self._plotted: tuple[str, tuple[ReviewRow, ...]] | None = None  # chart id and what it shows
        self.overlays = RunOverlays(nodes, annotations, self._tasks)

    # --- state

    @property
    def busy(self) -> bool:
        """Whether background work is pending; it ends sooner if `poll` is called often."""
        return self._tasks.has_pending_results

    @property
    def view(self) -> ReviewView:
        """Everything to show; the same object as long as nothing has changed. Takes microseconds."""
        return self._annotations.snapshot(self._nodes().segmentation).review

    @property
    def current(self) -> int | None:
        """The reviewed slice shown by the slice views, None if they show none."""
        node = self._nodes().segmentation
        grid, view = self._annotations.survey.grid, self.view
        if node is None or grid is None or not view.rows or view.axis is None:
            return None
        index = current_slice(node, grid, SliceAxis(view.axis))
        return index if index is not None and view.rows[0].index <= index <= view.rows[-1].index else None

    @property
    def accepted_slices(self) -> frozenset[int]:
        """Accepted slices, which a fill must not change; painted and corrected slices are never changed anyway."""
        return self.view.accepted

    def needing_review(self, indices: Sequence[int]) -> list[int]:
        """Those of the slices that are neither accepted nor manual."""
        selected = set(indices)
        return [row.index for row in self.view.rows if row.index in selected and row.needs_review]

    def refill(self) -> RefillRequest | None:
        """A fill of the slices that are not accepted, None if there are none."""
        rows, accepted = self.view.rows, self.accepted_slices
        if all(row.manual or row.index in accepted for row in rows):
            return None
        return RefillRequest(range(rows[0].index, rows[-1].index + 1), accepted)

    def worst(self, after: int | None, step: int = 1) -> int | None:
        """The slice to review next, in the order of `worst_first`.

        Parameters
        ----------
        after : int or None
            The present slice, after which the search continues, cyclically; None: from the start.
        step : int
            1 for the next better slice, -1 for the next worse one.

        Returns
        -------
        int or None
            None if no slice needs review.
        """
        order = worst_first(self.view.rows)
        if not order:
            return None
        if after not in order:
            return order[0 if step > 0 else -1]
        return order[(order.index(after) + step) % len(order)]

    # --- what the user does

    def accept(self, indices: Sequence[int]) -> None:
        """Accept those of the slices that need review, with their present voxels.

        Raises
        ------
        InputError
            The segmentation cannot be read.
        """
        nodes, selected = self._nodes(), self.needing_review(indices)
        if not selected or not nodes.complete:
            return
        axis, slices = self._present(nodes.segmentation)
        grid, identifier = self._annotations.grids.read(nodes), nodes.segmentation.GetID()
        self._tasks.start(
            partial(slice_digests, grid, slices.segment_ids, axis, selected),
            lambda checksums: self._change(identifier, axis, lambda record: record.with_accepted(checksums)),
        )

    def accept_all(self) -> None:
        """Accept every slice in progress; flagged ones stay flagged."""
        self.accept([row.index for row in self.view.rows if row.status is SliceStatus.IN_PROGRESS])

    def flag(self, indices: Sequence[int]) -> None:
        """Flag slices for another review."""
        self._set_slice_status(indices, SliceStatus.FLAGGED)

    def reset_status(self, indices: Sequence[int]) -> None:
        """Remove acceptance and flag from slices."""
        self._set_slice_status(indices, SliceStatus.IN_PROGRESS)

    def jump(self, index: int) -> None:
        """Show a slice in the slice views; the perpendicular views go to the middle of its uncertain voxels."""
        node, grid, axis = self._nodes().segmentation, self._annotations.survey.grid, self.view.axis
        if node is not None and grid is not None and axis is not None:
            contested = self.overlays.contested
            middle = contested.middles.get(index) if contested is not None and contested.axis.index == axis else None
            jump_to_slice(node, grid, SliceAxis(axis), index, middle)

    def positions(self) -> list[str]:
        """Position of each slice along the axis, as in the slice views, such as 'S: 376.3'; empty if unknown."""
        node, grid, axis = self._nodes().segmentation, self._annotations.survey.grid, self.view.axis
        if node is None or grid is None or axis is None:
            return []
        return slice_positions(node, grid, SliceAxis(axis))

    def show_plot(self) -> Any:
        """Plot confidence along the axis in Slicer's plot view; the plot is then updated by `poll`."""
        node = self._nodes().segmentation
        return show_plot(node, self.view.rows, slicer.app.applicationLogic()) if node is not None else None

    # --- runs and life cycle

    def add_run(self, outcome: RunOutcome) -> None:
        """Measure how much the slices of a committed run have changed; the record already names the slices."""
        scene = slicer.mrmlScene
        nodes = ChosenNodes(scene.GetNodeByID(outcome.volume_id), scene.GetNodeByID(outcome.segmentation_id))
        if not nodes.complete:
            return
        self.overlays.start_run(outcome.segmentation_id, outcome.contested)
        identifier, axis = outcome.segmentation_id, outcome.axis
        run = read_record(nodes.segmentation).along(axis.index).runs
        if nodes.segmentation is self._nodes().segmentation:
            checksums = {**outcome.kept, **outcome.checksums}
            self._annotations.survey.add_checksums(axis.index, outcome.segment_ids, checksums)
        self._update_segment_status(nodes.segmentation)

        def add_measurements(measured: _RunMeasurements) -> None:
            self.overlays.set_differences(identifier, measured.differences)
            self._change(
                identifier, axis, lambda record: record.with_measured(run, measured.disagreement, measured.changed)
            )

        grid = self._annotations.grids.read(nodes)
        self._tasks.start(partial(_measure_run, grid, outcome), add_measurements)

    def poll(self) -> None:
        """Advance by one short step; called by the panel's timer."""
        self._tasks.poll()
        scene = slicer.mrmlScene
        if not scene.IsBatchProcessing():
            remove_orphaned_plots(scene)
            parameter_node, node = self._parameter_node(), self._nodes().segmentation
            if parameter_node is not None:
                take_over_earlier_reviews(parameter_node)
            self.overlays.update()
            if node is not None:
                self._update_after_edit(node)

    def reset(self) -> None:
        """Cancel background work, before the scene is closed; the review itself is saved in the scene."""
        self._tasks.cancel()
        self.overlays.reset()
        self._segment_status, self._plotted = None, None

    def close(self) -> None:
        """Release the thread; the controller cannot be used afterwards."""
        self.reset()
        self._tasks.close()

    # --- internals

    def _present(self, node: SegmentationNode) -> tuple[SliceAxis, AxisRecord]:
        """Axis under review and the slices along it."""
        record = self._annotations.snapshot(node).record
        assert record.axis is not None
        return SliceAxis(record.axis), record.present

    def _set_slice_status(self, indices: Sequence[int], status: SliceStatus) -> None:
        node = self._nodes().segmentation
        listed = {row.index for row in self.view.rows}
        selected = [index for index in indices if index in listed]
        if node is not None and selected:
            axis, _ = self._present(node)
            self._change(node.GetID(), axis, lambda record: record.with_status(selected, status))

    def _change(self, identifier: str, axis: SliceAxis, change: Callable[[AxisRecord], AxisRecord]) -> None:
        """Change what is stored of the slices of a segmentation, if its node still exists."""
        node = slicer.mrmlScene.GetNodeByID(identifier)
        if node is not None:
            number = axis.index
            self._annotations.change(node, lambda record: record.with_along(number, change(record.along(number))))
            self._update_segment_status(node)

    def _update_segment_status(self, node: SegmentationNode) -> None:
        """Set the status of the segments from that of the slices."""
        if node is self._nodes().segmentation:
            self._set_status(node, combined_status(self.view.rows))

    def _update_after_edit(self, node: SegmentationNode) -> None:
        """Update plot and segment status after undo, redo or painting."""
        rows = self.view.rows
        chart = find_plot(node)
        if chart is not None and self._plotted != (chart.GetID(), rows):
            self._plotted = (chart.GetID(), rows)
            update_plot(node, rows)
        status = combined_status(rows)
        if (
            self._segment_status is not None
            and self._segment_status[0] == node.GetID()
            and self._segment_status[1] is not status
        ):
            self._set_status(node, status)

    def _set_status(self, node: SegmentationNode, status: SliceStatus) -> None:
        self._segment_status = (node.GetID(), status)
        record = self._annotations.snapshot(node).record
        if record.axis is not None:  # no axis chosen: nothing is under review
            _set_segment_status(node, record.present.segment_ids, status)


def _set_segment_status(segmentation_node: SegmentationNode, segment_ids: Sequence[str], status: SliceStatus) -> None:
    """Set the status of segments in Slicer's segments table; missing segments are skipped."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    value = {
        SliceStatus.NOT_STARTED: logic.NotStarted,
        SliceStatus.IN_PROGRESS: logic.InProgress,
        SliceStatus.ACCEPTED: logic.Completed,
        SliceStatus.FLAGGED: logic.Flagged,
    }[status]
    for segment_id in segment_ids:
        segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
        if segment is not None and logic.GetSegmentStatus(segment) != value:
            logic.SetSegmentStatus(segment, value)


def _measure_run(grid: SegmentationGrid, outcome: RunOutcome) -> _RunMeasurements:
    """Background part of `add_run`; touches no node."""

    def masks(index: int) -> dict[str, np.ndarray]:
        return grid.segment_slices(outcome.segment_ids, outcome.axis, index)

    labelled = {index: masks(index) for index in outcome.support}
    masks_by_slice = ((index, masks(index)) for index in sorted(outcome.checksums))
    differences = Differences.of(outcome.changes)
    return _RunMeasurements(disagreements(masks_by_slice, labelled), differences.counts(outcome.axis), differences)
