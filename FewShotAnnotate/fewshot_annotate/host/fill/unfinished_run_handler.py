"""UnfinishedRunHandler: resumes, commits or deletes a run whose worker or host died before its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...core.errors import InputError
from ..messages import Refusal
from ..mrml.chosen_nodes import ChosenNodes
from .messages import is_idle
from .run_editor import RunEditor
from .run_state import State
from .unfinished_runs import UnfinishedRun

# How often to look for an unfinished run; one whose worker is about to release its folder is found later.
UPDATE_SECONDS = 0.5


class UnfinishedRunHandler:
    """The unfinished run of the chosen segmentation, and what the user may do with it.

    Parameters
    ----------
    logic : FewShotAnnotateLogic
    nodes : function
        Returns the ChosenNodes.
    editor : RunEditor
        Its undo history and masking apply if an unfinished run is resumed.
    """

    def __init__(self, logic: Any, nodes: Callable[[], ChosenNodes], editor: RunEditor) -> None:
        self._logic = logic
        self._nodes = nodes
        self._editor = editor
        self._found: UnfinishedRun | None = None
        self._updated_at = 0.0

    @property
    def unfinished(self) -> UnfinishedRun | None:
        """The run on the segmentation that an earlier session did not finish."""
        return self._found if is_idle(self._logic) else None

    @property
    def why_not_resume(self) -> Refusal:
        """Why nothing can be resumed."""
        stopped = self._logic.controller.state is State.STOPPED
        return None if stopped or self.unfinished is not None else InputError("no_interrupted_run")

    def update(self) -> bool:
        """Look for an unfinished run; True if the result has changed."""
        before = self._found
        segmentation = self._nodes().segmentation
        offered = segmentation is not None and is_idle(self._logic)
        self._found = self._logic.controller.unfinished_runs.find(segmentation) if offered else None
        self._updated_at = time.monotonic()
        return self._found != before

    def poll(self) -> bool:
        """Update at intervals of `UPDATE_SECONDS`; True if the result has changed."""
        return time.monotonic() > self._updated_at + UPDATE_SECONDS and self.update()

    def resume(self) -> None:
        """Continue with the slices that are not finished. Raises InputError."""
        if self.unfinished is None:
            self._logic.controller.resume()
            if self._logic.controller.live:  # what was painted since is filled as well
                self._logic.annotations.survey.request(0.0)
        else:
            self._resume_unfinished(self._logic.controller.unfinished_runs.resume)

    def cancel(self, keep: bool) -> None:
        """End the active or unfinished run; finished slices are committed if `keep`. Raises InputError."""
        if self.unfinished is None:
            self._logic.cancel(keep)
        elif keep:
            self._resume_unfinished(self._logic.controller.unfinished_runs.commit)
        else:
            self._logic.controller.unfinished_runs.delete(self._nodes().segmentation)

    def _resume_unfinished(self, step: Callable[[ChosenNodes], None]) -> None:
        self._logic.controller.editor = self._editor
        step(self._nodes())
