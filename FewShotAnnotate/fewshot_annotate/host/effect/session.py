"""EffectSession: one Segment Editor effect on the module's controller, of which there is one in the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.errors import InputError
from ..annotation.snapshot import AnnotationSnapshot
from ..diagnostics.unexpected_errors import StepRunner
from ..engines.installation import ensure_engine
from ..fill.messages import (
    expected_dice_lines,
    is_idle,
    left_out_lines,
    status_lines,
    why_busy,
    why_not_fill,
    why_not_keep,
)
from ..fill.run_editor import RunEditor
from ..fill.segment_rows import SegmentRow, segment_rows
from ..fill.unfinished_run_handler import UnfinishedRunHandler
from ..messages import Refusal
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.reading import labels_version


class EffectSession:
    """State and actions of an effect, whose timer calls `poll`.

    Parameters
    ----------
    logic : FewShotAnnotateLogic
        The module's, whose parameter node says with which engine and rules to fill.
    editor : RunEditor
        The Segment Editor that the effect is in.
    """

    def __init__(self, logic: Any, editor: RunEditor) -> None:
        self.logic = logic
        self._editor = editor
        self._unfinished = UnfinishedRunHandler(logic, self._nodes, editor)
        self._error: InputError | None = None
        self._seen: tuple[object, ...] | None = None
        self._applied: tuple[object, ...] | None = None  # the labels that a live run began with, or that it left
        self._read_from: AnnotationSnapshot | None = None
        self._rows: list[SegmentRow] = []
        self.live = False
        self._steps = StepRunner(self._refuse)

    @property
    def idle(self) -> bool:
        """Whether no run is under way, whoever started it."""
        return is_idle(self.logic)

    @property
    def busy(self) -> bool:
        """Whether background work is under way, which short ticks bring to its end sooner."""
        return bool(self.logic.busy)

    def poll(self, active: bool) -> None:
        """One bounded step of run and survey.

        Parameters
        ----------
        active : whether the user has the effect open; between runs the module then works on what this editor edits
        """
        if active and (self.idle or self.logic.controller.live):
            self._steps.run(self._choose_nodes)
        if active and self.live and self.idle and self._seen != self._applied:
            self._applied = self._seen
            self._fill(live=True)
        self._steps.run(self._unfinished.poll)
        self._steps.run(lambda: self.logic.poll(self.logic.getParameterNode()))

    def fill(self) -> None:
        """Start a run, after offering what its engine lacks; what prevents it is reported by `lines`."""
        self._fill(live=False)

    def set_live(self, on: bool) -> None:
        """Start or end a live run, which refills the slices next to each painted one in a preview."""
        self.live, self._applied = on, None
        if not on and self.logic.fillLive and not self.idle:
            self.cancel(keep=False)

    def _fill(self, live: bool) -> None:
        self._choose_nodes()
        parameters = self.logic.getParameterNode()
        self._error = None

        def step() -> None:
            if live or ensure_engine(parameters.engine):
                self.logic.fill(parameters, self._editor, live=live)

        self._attempt(step)

    def resume(self) -> None:
        """Resume an interrupted run; `lines` reports what prevents it."""
        self._error = None
        self._attempt(self._unfinished.resume)

    def cancel(self, keep: bool) -> None:
        """End the run, active or interrupted; finished slices are committed if `keep`."""
        self._error = None
        self._attempt(lambda: self._unfinished.cancel(keep))
        self._unfinished.update()

    def detach(self) -> None:
        """The editor is about to be deleted: a run that it started continues with the editor of the panel."""
        if self.logic.controller.editor is self._editor:
            self.logic.controller.editor = self.logic.panelEditor

    # --- what is shown

    @property
    def shows_live_run(self) -> bool:
        """Whether a run is under way that follows what is painted."""
        return bool(self.logic.controller.live)

    @property
    def fraction(self) -> float | None:
        """Part of the run that is done, 0 to 1; None between runs."""
        return None if self.idle else float(self.logic.controller.progress.fraction)

    @property
    def lines(self) -> list[str]:
        """State of the run, segments that a fill leaves out, expected Dice, and warnings, one sentence each."""
        refused = self._error if self.idle else None
        controller = self.logic.controller
        lines = status_lines(self.logic, self._nodes(), self._fill_all, self._unfinished.unfinished, refused)
        if self.idle and not self.has_unfinished_run:
            lines += left_out_lines(self._segment_rows(), self.why_not_fill)
        return [*lines, *expected_dice_lines(controller), *controller.warnings]

    @property
    def why_not_fill(self) -> Refusal:
        """Why Fill cannot be pressed."""
        return why_busy(self.logic) or why_not_fill(self.logic, self._nodes(), self._fill_all)

    @property
    def why_not_resume(self) -> Refusal:
        """Why no run can be resumed."""
        return self._unfinished.why_not_resume

    @property
    def why_not_keep(self) -> Refusal:
        """Why finished slices cannot be kept."""
        return None if self.has_unfinished_run else why_not_keep(self.logic.controller)

    @property
    def has_unfinished_run(self) -> bool:
        """Whether an earlier run on the segmentation can be resumed or deleted."""
        return self._unfinished.unfinished is not None

    @property
    def _fill_all(self) -> bool:
        return bool(self.logic.getParameterNode().fillAll)

    def _segment_rows(self) -> list[SegmentRow]:
        """All segments, read again once something of them has changed."""
        node, annotations = self._nodes().segmentation, self.logic.annotations
        snapshot = annotations.snapshot(node)
        if self._read_from is not snapshot:
            self._read_from, self._rows = snapshot, segment_rows(node, snapshot, annotations.survey)
        return self._rows

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except InputError as error:
            self._refuse(error)

    def _refuse(self, error: InputError) -> None:
        self._error = error

    def _nodes(self) -> ChosenNodes:
        """Volume and segmentation of the editor."""
        node = self._editor.node()
        return (
            ChosenNodes(node.GetSourceVolumeNode(), node.GetSegmentationNode()) if node is not None else ChosenNodes()
        )

    def _choose_nodes(self) -> None:
        nodes = self._nodes()
        if not nodes.complete:
            return
        volume, segmentation = nodes.volume, nodes.segmentation
        parameters = self.logic.getParameterNode()
        if parameters.volume is not volume or parameters.segmentation is not segmentation:
            parameters.volume, parameters.segmentation = volume, segmentation
            self.logic.segmentationChanged()
            self._seen = None
        version = (volume.GetID(), segmentation.GetID(), *labels_version(segmentation))
        if version != self._seen:
            self.logic.annotations.survey.request(*(() if self._seen and not self.live else (0.0,)))
            self._seen = version
