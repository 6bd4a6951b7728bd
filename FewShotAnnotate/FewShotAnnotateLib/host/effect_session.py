"""EffectSession: one Segment Editor effect on the module's controller, of which there is one in the application."""

from __future__ import annotations

from typing import Any

from ..core.errors import InputError
from .fill_words import expected_dice, is_idle, status, why_busy, why_not_fill, why_not_keep
from .offer import offer
from .panel.widgets import sentence
from .run_editor import RunEditor
from .scene import labels_version


class EffectSession:
    """What an effect shows and does; its timer calls `tick`.

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
        self._error: InputError | None = None
        self._seen: tuple[object, ...] | None = None

    @property
    def idle(self) -> bool:
        """Whether no run is under way, whoever started it."""
        return is_idle(self.logic)

    @property
    def busy(self) -> bool:
        """Whether background work is under way, which short ticks bring to its end sooner."""
        return bool(self.logic.busy)

    def tick(self, active: bool) -> None:
        """One bounded step of run and survey.

        Parameters
        ----------
        active : whether the user has the effect open; between runs the module then works on what this editor edits
        """
        if active and self.idle:
            self._choose_nodes()
        try:
            if self.logic.tick(self.logic.getParameterNode()):
                self.logic.onNews()
        except InputError as error:
            self._error = error

    def fill(self) -> None:
        """Start a run, after offering what its engine lacks; what stands in the way is told by `lines`."""
        self._choose_nodes()
        parameters = self.logic.getParameterNode()
        self._error = None
        try:
            if offer(parameters.engine):
                self.logic.fill(parameters, self._editor)
        except InputError as error:
            self._error = error

    def cancel(self, keep: bool) -> None:
        """Stop the run; finished slices go into the segmentation if `keep`."""
        self.logic.cancel(keep)

    def leave(self) -> None:
        """The editor is about to be deleted: a run of its own goes on with the panel's."""
        if self.logic.editor is self._editor:
            self.logic.editor = self.logic.ownEditor

    # --- what is shown

    @property
    def fraction(self) -> float | None:
        """Part of the run that is done, 0 to 1; None between runs."""
        return None if self.idle else float(self.logic.controller.progress.fraction)

    @property
    def lines(self) -> list[str]:
        """What is under way, how it ended or what is missing; the Dice to expect; warnings."""
        controller = self.logic.controller
        first = sentence(self._error) if self._error and self.idle else status(self.logic, *self._nodes())
        return [line for line in (first, *expected_dice(controller), *controller.warnings) if line]

    @property
    def why_not_fill(self) -> str:
        """Why Fill cannot be pressed, or nothing."""
        fill_all = self.logic.getParameterNode().fillAll
        return why_busy(self.logic) or why_not_fill(self.logic, *self._nodes(), fill_all)

    @property
    def why_not_keep(self) -> str:
        """Why finished slices cannot be kept, or nothing."""
        return why_not_keep(self.logic.controller)

    def _nodes(self) -> tuple[Any, Any]:
        """Volume and segmentation of the editor."""
        node = self._editor.node()
        return (node.GetSourceVolumeNode(), node.GetSegmentationNode()) if node is not None else (None, None)

    def _choose_nodes(self) -> None:
        volume, segmentation = self._nodes()
        if volume is None or segmentation is None:
            return
        parameters = self.logic.getParameterNode()
        if parameters.volume is not volume or parameters.segmentation is not segmentation:
            parameters.volume, parameters.segmentation = volume, segmentation
            self.logic.survey.reset()
            self._seen = None
        version = (volume.GetID(), segmentation.GetID(), *labels_version(segmentation))
        if version != self._seen:
            self.logic.survey.request(*(() if self._seen else (0.0,)))
            self._seen = version
