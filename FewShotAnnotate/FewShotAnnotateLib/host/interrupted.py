"""InterruptedRun: a run that stopped before its end, for its worker or host died; it can be taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .controller import State
from .fill_words import is_idle
from .run_editor import RunEditor
from .unfinished import UnfinishedRun

# A run whose worker is just letting go of its folder is not seen at once.
LOOK_SECONDS = 0.5


class InterruptedRun:
    """What was interrupted on the segmentation at hand, and what the user may do about it.

    Parameters
    ----------
    logic : FewShotAnnotateLogic
    nodes : function
        Gives the volume and the segmentation that are chosen, each a node or None.
    editor : RunEditor
        Whose undo and masking count if a left run is taken up.
    """

    def __init__(self, logic: Any, nodes: Callable[[], tuple[Any, Any]], editor: RunEditor) -> None:
        self._logic = logic
        self._nodes = nodes
        self._editor = editor
        self._found: UnfinishedRun | None = None
        self._looked = 0.0

    @property
    def left(self) -> UnfinishedRun | None:
        """The run that an earlier session or scene left on the segmentation."""
        return self._found if is_idle(self._logic) else None

    @property
    def why_not_resume(self) -> str:
        """Why nothing can be resumed, or nothing."""
        stopped = self._logic.controller.state is State.STOPPED
        return "" if stopped or self.left is not None else _("No run was interrupted.")

    def look(self) -> bool:
        """Look whether a run was left; true if that is news."""
        before = self._found
        _volume, segmentation = self._nodes()
        wanted = segmentation is not None and is_idle(self._logic)
        self._found = self._logic.controller.unfinished(segmentation) if wanted else None
        self._looked = time.monotonic()
        return self._found != before

    def tick(self) -> bool:
        """Look now and then; true if there is news."""
        return time.monotonic() > self._looked + LOOK_SECONDS and self.look()

    def resume(self) -> None:
        """Go on with the slices that are not finished. Raises InputError."""
        if self.left is None:
            self._logic.controller.resume()
        else:
            self._take_up(self._logic.controller.resume_unfinished)

    def cancel(self, keep: bool) -> None:
        """End the run, under way or left; finished slices go into the segmentation if `keep`. Raises InputError."""
        if self.left is None:
            self._logic.cancel(keep)
        elif keep:
            self._take_up(self._logic.controller.keep_unfinished)
        else:
            self._logic.controller.discard_unfinished(self._nodes()[1])

    def _take_up(self, step: Callable[[Any, Any], None]) -> None:
        volume, segmentation = self._nodes()
        self._logic.editor = self._editor
        step(segmentation, volume)
