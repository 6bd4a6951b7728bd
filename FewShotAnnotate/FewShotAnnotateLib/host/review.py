"""ReviewController: the slices of a segmentation from filled to accepted. No Qt; the panel's timer calls `tick`.

Accepted slices are never changed by a fill that is given `kept`, and the engine learns from them; so it does from
corrected ones, which count as painted. What is said of a slice holds for what the slice then held: after an undo, or
a change by hand, its row shows what it holds now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer

from ..core.axis import SliceAxis
from ..review.disagreement import disagreements
from .background import Background
from .confidence_plot import drop_orphan_plots, find_plot, show_plot, update_plot
from .painted import slice_digests
from .record import RECORD_ATTRIBUTE, PaintRecord
from .review_differences import Differences, DifferencesOverlay
from .review_rows import RefillRequest, ReviewRow, ReviewView, review_rows, roll_up, worst_first
from .review_state import AxisReview, Fill, SliceStatus
from .review_store import drop_orphans, read_review, restore_review, review_text, write_review
from .run_outcome import RunOutcome
from .scene import SegmentationGrid, read_grid
from .segment_status import set_segment_status
from .survey import Survey
from .views import current_slice, jump_to_slice

# Figures are kept so exactly, which is finer than they are and short in the scene file.
_DECIMALS = 4


@dataclass(frozen=True)
class _Measured:
    """What the background thread found of a run."""

    disagreement: dict[int, float]
    changed: dict[int, int]
    differences: Differences


@dataclass(frozen=True)
class _Fresh:
    """Checksums that a run has written, until the survey has looked again."""

    segmentation_id: str
    surveyed: Mapping[int, int]
    checksums: dict[int, int]


class ReviewController:
    """Review of the segmentation that is chosen.

    Parameters
    ----------
    parameter_node : function
        Gives the module's vtkMRMLScriptedModuleNode (not wrapped), None if there is none.
    nodes : function
        Gives the segmentation and the volume that are chosen, None where there is none.
    survey : Survey
        Of the chosen segmentation.
    """

    def __init__(
        self, parameter_node: Callable[[], Any], nodes: Callable[[], tuple[Any, Any]], survey: Survey
    ) -> None:
        self._parameter_node = parameter_node
        self._nodes = nodes
        self._survey = survey
        self._background = Background("FewShotAnnotateReview")
        self._pending: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()
        self._fresh: _Fresh | None = None
        self._view_of: tuple[object, ...] = ()
        self._view = ReviewView()
        self._noted: tuple[str, SliceStatus] | None = None  # segmentation id and the status last written
        self._plotted: tuple[str, tuple[ReviewRow, ...]] | None = None  # chart id and what it shows
        self._differences: tuple[str, Differences] | None = None  # segmentation id and what its last run changed
        self._overlay = DifferencesOverlay()
        self._texts: dict[str, str] = {}  # segmentation id -> its review as it was kept last

    # --- what there is

    @property
    def busy(self) -> bool:
        """Whether background work is under way, which short ticks bring to its end sooner."""
        return bool(self._pending)

    @property
    def view(self) -> ReviewView:
        """All that there is to show; equal to an earlier one as long as nothing has changed. Quick."""
        parameter_node, (node, _) = self._parameter_node(), self._nodes()
        if parameter_node is None or node is None:
            return ReviewView()
        segmentation = node.GetSegmentation()
        names = tuple((name, segmentation.GetSegment(name).GetName()) for name in segmentation.GetSegmentIDs())
        text, record = review_text(parameter_node, node), node.GetAttribute(RECORD_ATTRIBUTE)
        seen = (node.GetID(), text, record, names, self._survey.digests, self._fresh)
        if text:
            self._texts[node.GetID()] = text
        if seen != self._view_of:
            self._view_of, self._view = seen, self._read_view(parameter_node, node, names)
        return self._view

    @property
    def current(self) -> int | None:
        """The slice under review that the slice views show, None if they show none."""
        node, _ = self._nodes()
        grid, view = self._survey.grid, self.view
        if node is None or grid is None or not view.rows or view.axis is None:
            return None
        index = current_slice(node, grid, SliceAxis(view.axis))
        return index if index is not None and view.rows[0].index <= index <= view.rows[-1].index else None

    @property
    def kept(self) -> frozenset[int]:
        """Accepted slices, which a fill is to keep as they are; painted and corrected ones are kept anyway."""
        rows = self.view.rows
        return frozenset(row.index for row in rows if row.status is SliceStatus.ACCEPTED and not row.own)

    def acceptable(self, indices: Sequence[int]) -> list[int]:
        """Those of the slices that wait for the user's word."""
        wanted = set(indices)
        return [row.index for row in self.view.rows if row.index in wanted and row.open]

    def refill(self) -> RefillRequest | None:
        """A fill of the slices that are not accepted, None if there are none."""
        rows, kept = self.view.rows, self.kept
        if all(row.own or row.index in kept for row in rows):
            return None
        return RefillRequest(range(rows[0].index, rows[-1].index + 1), kept)

    def worst(self, after: int | None, step: int = 1) -> int | None:
        """The slice to look at next: the worst one that waits for the user's word.

        Parameters
        ----------
        after : int or None
            Slice looked at; the next better one comes then (the next worse one with `step` -1), round and round.

        Returns
        -------
        int or None
            None if no slice waits.
        """
        order = worst_first(self.view.rows)
        if not order:
            return None
        if after not in order:
            return order[0 if step > 0 else -1]
        return order[(order.index(after) + step) % len(order)]

    # --- what the user does

    def accept(self, indices: Sequence[int]) -> None:
        """Accept those of the slices that wait for the user's word, as they are now.

        Raises
        ------
        InputError
            The segmentation cannot be read.
        """
        node, volume_node = self._nodes()
        wanted = self.acceptable(indices)
        if not wanted or volume_node is None:
            return
        axis, review = self._chosen_review(node)
        grid = read_grid(node, volume_node)
        future = self._background.submit(slice_digests, grid, review.segment_ids, axis, wanted)
        identifier = node.GetID()
        self._pending.append(
            (future, lambda found: self._change(identifier, axis, lambda one: one.with_accepted(found)))
        )

    def accept_all(self) -> None:
        """Accept every slice in progress; flagged ones stay flagged."""
        self.accept([row.index for row in self.view.rows if row.status is SliceStatus.IN_PROGRESS])

    def flag(self, indices: Sequence[int]) -> None:
        """Mark slices to be looked at again."""
        self._say(indices, SliceStatus.FLAGGED)

    def take_back(self, indices: Sequence[int]) -> None:
        """Neither accepted nor flagged after all."""
        self._say(indices, SliceStatus.IN_PROGRESS)

    def jump(self, index: int) -> None:
        """Show a slice in the slice views."""
        node, _ = self._nodes()
        axis = self.view.axis
        if node is not None and self._survey.grid is not None and axis is not None:
            jump_to_slice(node, self._survey.grid, SliceAxis(axis), index)

    def show_plot(self) -> Any:
        """Plot confidence along the axis in Slicer's plot view; from then on it is kept up to date."""
        node, _ = self._nodes()
        return show_plot(node, self.view.rows, slicer.app.applicationLogic()) if node is not None else None

    # --- differences since the run before

    @property
    def has_differences(self) -> bool:
        """Whether it is known what the last run changed: until the scene is closed."""
        node, _ = self._nodes()
        return node is not None and self._differences is not None and self._differences[0] == node.GetID()

    @property
    def differences_shown(self) -> bool:
        """Whether the overlay is in the scene."""
        return self._overlay.node is not None

    def show_differences(self, shown: bool) -> None:
        """Show what the last run added and removed over the segmentation, or hide it."""
        node, volume_node = self._nodes()
        self._overlay.hide()
        if not shown or not self.has_differences or volume_node is None:
            return
        assert self._differences is not None
        differences, identifier = self._differences[1], node.GetID()
        grid = read_grid(node, volume_node)

        def show(values: Any) -> None:
            present = node.GetScene() and node.GetScene().GetNodeByID(identifier)
            if present is not None and values.size:
                self._overlay.show(present, grid, differences.first, values)

        self._pending.append((self._background.submit(differences.values), show))

    # --- life

    def take(self, outcome: RunOutcome) -> None:
        """Take over what a run found; to be given to FillController as `on_outcome`."""
        parameter_node, scene = self._parameter_node(), slicer.mrmlScene
        node = scene.GetNodeByID(outcome.segmentation_id)
        if parameter_node is None or node is None:
            return
        self._overlay.hide()
        state = read_review(parameter_node, node)
        before = state.axis(outcome.axis.index)
        run = before.runs + 1
        confidence = {index: round(value, _DECIMALS) for index, value in outcome.confidence.items()}
        fills = {index: Fill(run, outcome.checksums[index], value) for index, value in confidence.items()}
        after = before.after_run(outcome.segment_ids, outcome.engine, fills, outcome.kept)
        after = replace(after, expected=dict(outcome.expected))
        write_review(parameter_node, node, state.with_axis(outcome.axis.index, after))
        if node is self._nodes()[0]:
            checksums = {**outcome.kept, **outcome.checksums}
            self._fresh = _Fresh(outcome.segmentation_id, self._survey.digests, checksums)
        self._note(node)
        grid = read_grid(node, scene.GetNodeByID(outcome.volume_id))
        future = self._background.submit(_measure, grid, outcome)
        identifier, axis = outcome.segmentation_id, outcome.axis

        def take_measured(found: _Measured) -> None:
            self._differences = (identifier, found.differences)
            self._change(identifier, axis, lambda one: one.with_measured(run, found.disagreement, found.changed))

        self._pending.append((future, take_measured))

    def tick(self) -> None:
        """Take one bounded step; the panel's timer calls it."""
        self._background.give_turn()
        if self._pending and self._pending[0][0].done():
            future, then = self._pending.popleft()
            then(future.result())
        if self._fresh is not None and self._survey.digests is not self._fresh.surveyed:
            self._fresh = None
        scene = slicer.mrmlScene
        if not scene.IsBatchProcessing():
            drop_orphan_plots(scene)
            parameter_node, (node, _) = self._parameter_node(), self._nodes()
            if parameter_node is not None:
                drop_orphans(parameter_node)
                self._restore(parameter_node)
            if self._overlay.node is not None and not self.has_differences:
                self._overlay.hide()
            if node is not None:
                self._follow(node)

    def forget(self) -> None:
        """The scene is about to be closed: what is under way is given up; what was said is in the scene."""
        self._pending.clear()
        self._overlay.hide()
        self._fresh, self._differences, self._noted, self._plotted = None, None, None, None
        self._view_of, self._view = (), ReviewView()
        self._texts.clear()

    def close(self) -> None:
        """Release the thread; the controller cannot be used afterwards."""
        self.forget()
        self._background.close()

    # --- inside

    def _read_view(self, parameter_node: Any, node: Any, names: Sequence[tuple[str, str]]) -> ReviewView:
        record = PaintRecord.of_node(node)
        review = read_review(parameter_node, node).axis(record.axis)
        there = {name for name, _ in names}
        checksums = dict(self._survey.digests)
        if self._fresh is not None and self._fresh.segmentation_id == node.GetID():
            checksums.update(self._fresh.checksums)
        if review.segment_ids != record.filled_ids or not there.issuperset(review.segment_ids):
            checksums = {}  # of other segments: they say nothing
        expected = tuple((title, review.expected[name]) for name, title in names if name in review.expected)
        return ReviewView(record.axis, review.engine, review_rows(review, record, checksums), expected)

    def _chosen_review(self, node: Any) -> tuple[SliceAxis, AxisReview]:
        axis = PaintRecord.of_node(node).axis
        assert axis is not None
        return SliceAxis(axis), read_review(self._parameter_node(), node).axis(axis)

    def _say(self, indices: Sequence[int], status: SliceStatus) -> None:
        node, _ = self._nodes()
        known = {row.index for row in self.view.rows}
        wanted = [index for index in indices if index in known]
        if node is not None and wanted:
            axis, _ = self._chosen_review(node)
            self._change(node.GetID(), axis, lambda one: one.with_status(wanted, status))

    def _change(self, identifier: str, axis: SliceAxis, change: Callable[[AxisReview], AxisReview]) -> None:
        """Change what is kept of a segmentation's slices, if it is still there."""
        parameter_node, node = self._parameter_node(), slicer.mrmlScene.GetNodeByID(identifier)
        if parameter_node is None or node is None:
            return
        state = read_review(parameter_node, node)
        write_review(parameter_node, node, state.with_axis(axis.index, change(state.axis(axis.index))))
        self._note(node)

    def _note(self, node: Any) -> None:
        """Something was said of a segmentation's slices: the status of its segments follows."""
        if node is self._nodes()[0]:
            self._set_status(node, roll_up(self.view.rows))

    def _restore(self, parameter_node: Any) -> None:
        """Bring back reviews that a scene loaded into this one has displaced."""
        for identifier, text in list(self._texts.items()):
            node = slicer.mrmlScene.GetNodeByID(identifier)
            if node is None:
                del self._texts[identifier]
            elif not review_text(parameter_node, node):
                restore_review(parameter_node, node, text)

    def _follow(self, node: Any) -> None:
        """Plot and segments follow what undo, redo and painting change of the slices."""
        rows = self.view.rows
        chart = find_plot(node)
        if chart is not None and self._plotted != (chart.GetID(), rows):
            self._plotted = (chart.GetID(), rows)
            update_plot(node, rows)
        status = roll_up(rows)
        if self._noted is not None and self._noted[0] == node.GetID() and self._noted[1] is not status:
            self._set_status(node, status)

    def _set_status(self, node: Any, status: SliceStatus) -> None:
        self._noted = (node.GetID(), status)
        if PaintRecord.of_node(node).axis is not None:  # no axis chosen: nothing is under review
            _, review = self._chosen_review(node)
            set_segment_status(node, review.segment_ids, status)


def _measure(grid: SegmentationGrid, outcome: RunOutcome) -> _Measured:
    """Background part of `take`; touches no node."""

    def masks(index: int) -> dict[str, np.ndarray]:
        return grid.segment_slices(outcome.segment_ids, outcome.axis, index)

    labelled = {index: masks(index) for index in outcome.support}
    found = ((index, masks(index)) for index in sorted(outcome.checksums))
    differences = Differences.of(outcome.changes)
    disagreement = {index: round(value, _DECIMALS) for index, value in disagreements(found, labelled).items()}
    return _Measured(disagreement, differences.counts(outcome.axis), differences)
