"""RunChecks: runs are interrupted, and continued or ended by each button for it; checks of the self-test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..fill.run_state import State
from .panel_checks import PanelChecks

# A run of few slices may end before it is interrupted; it is then undone and begun again.
_ATTEMPTS = 5
_OTHER_MODULE = "Segmentations"


@dataclass(frozen=True)
class _RunButtons:
    """Buttons of the panel, or of the effect."""

    fill: Any
    resume: Any
    keep: Any
    cancel: Any
    undo: Callable[[], object]


class RunChecks(PanelChecks):
    """Checks that fill a segmentation of their own, which is restored to the painted slices before each of them."""

    def run(self) -> None:
        """End runs by every button, in the panel and in the effect."""
        with self._own_segmentation("Interrupted") as node:
            self._node = node
            self._folder = Path()
            self._in_panel()
            with self._walk.open_effect(node) as (editor, effect):
                self._in_effect(editor, effect)

    def _in_panel(self) -> None:
        ui = self._ui
        self._buttons = _RunButtons(ui.fillButton, ui.resumeButton, ui.keepButton, ui.cancelButton, self._undo_in_bar)
        self._begin_in_bar()
        for check in (
            self._resume_after_death,
            self._keep_after_death,
            self._cancel_after_death,
            self._stop_and_keep,
            self._discard_interrupted,
            self._resume_interrupted,
        ):
            check()

    def _in_effect(self, editor: Any, effect: Any) -> None:
        self._buttons = _RunButtons(
            effect.fillButton, effect.resumeButton, effect.keepButton, effect.cancelButton, editor.undo
        )
        self._resume_after_death()
        self._stop_and_keep()
        self._cancel_after_death()
        self._fill_while_painting(effect)
        slicer.util.selectModule(_OTHER_MODULE)
        self._test.assertFalse(self._widget.parent.isEntered)
        self._press(effect.panelButton)
        self._walk.until(lambda: self._widget.parent.isEntered)

    # --- the checks

    def _begin_in_bar(self) -> None:
        """The button of the bar for the next action starts a fill."""
        bar = self._ui.nextButton
        self._walk.until(lambda: not bar.isHidden() and bar.text == self._ui.fillButton.text)
        self._walk.start_and_finish(bar)
        self._filled = self._labels()
        self._walk.require_filled(self._filled)
        self._undo()

    def _resume_after_death(self) -> None:
        """Finished slices are not filled again, and all are there at the end."""
        finished, progress_at_death = self._kill_worker(), self._controller.progress
        self._press(self._buttons.resume)
        self._walk.until(lambda: self._state is not State.STOPPED)

        def ended() -> bool:
            progress = self._controller.progress
            # The last slice may have been written without having been reported.
            if self._state is State.RUNNING and progress is not progress_at_death:
                self._test.assertGreaterEqual(progress.done, finished.sum())
            return self._state is State.IDLE

        self._walk.until(ended)
        np.testing.assert_array_equal(self._labels(), self._filled)
        self._undo()

    def _keep_after_death(self) -> None:
        finished = self._kill_worker()
        self._press(self._buttons.keep)
        self._require_kept(finished)

    def _cancel_after_death(self) -> None:
        self._kill_worker()
        folder = self._folder
        self._press(self._buttons.cancel)
        self._require_cancelled(folder)

    def _stop_and_keep(self) -> None:
        """The button is pressed while slices are being filled; the slice under way is kept too."""
        finished = self._interrupt(self._buttons.keep.click)
        self._require_kept(finished, at_least=True)

    def _discard_interrupted(self) -> None:
        folder = self._end_application()
        self._press(self._buttons.cancel)
        self._require_cancelled(folder)

    def _resume_interrupted(self) -> None:
        self._end_application()
        self._press(self._buttons.resume)
        self._walk.until(lambda: self._state is not State.IDLE)
        self._walk.until(lambda: self._state is State.IDLE)
        np.testing.assert_array_equal(self._labels(), self._filled)
        self._undo()

    def _fill_while_painting(self, effect: Any) -> None:
        """The preview follows a stroke; Apply writes it into the segmentation."""
        controller, before = self._controller, self._labels()
        self._press(effect.liveCheckBox)
        self._walk.until(lambda: controller.live and controller.outstanding > 0)
        self._walk.until(lambda: not controller.busy)
        index = self._walk.labelled[0] + 1
        before[index] = self._walk.truth[index]
        self._walk.write(self._node, before)
        self._test.assertTrue(self._widget.logic.busy)  # with the survey, and then with the slices beside the stroke
        self._walk.until(lambda: not self._widget.logic.busy)
        np.testing.assert_array_equal(self._labels(), before)
        self._press(self._buttons.keep)
        self._walk.until(lambda: not np.array_equal(self._labels(), before))
        after = self._labels()
        np.testing.assert_array_equal(after[index], before[index])
        self._walk.require_filled(after)
        self._press(effect.liveCheckBox)
        self._walk.until(lambda: self._state is State.IDLE)

    # --- actions and requirements

    def _interrupt(self, interrupt: Callable[[], object], state: State = State.IDLE) -> np.ndarray:
        """Begin a fill and interrupt it once slices are finished, so that a state is reached.

        Returns
        -------
        ndarray
            Which slices were finished, bool [k].
        """
        for _ in range(_ATTEMPTS):
            self._press(self._buttons.fill)
            self._walk.until(lambda: self._state is not State.IDLE)
            self._walk.until(lambda: self._state is not State.PREPARING and self._controller.progress.done > 0)
            run = self._controller.run
            if run is not None and run.process.running and self._buttons.keep.enabled:
                finished = self._finished()
                self._folder = Path(run.folder.path)
                interrupt()
                self._walk.until(lambda: self._state in (State.STOPPED, State.IDLE))
                if self._state is state:
                    return finished if state is State.IDLE else self._finished()
            self._walk.until(lambda: self._state is State.IDLE)
            self._undo()
        raise AssertionError("each run had ended before it was interrupted")

    def _kill_worker(self) -> np.ndarray:
        """A run that stopped because its worker died. Returns which slices are finished, bool [k]."""
        finished = self._interrupt(lambda: self._controller.run.process.kill(), State.STOPPED)
        buttons = self._buttons
        self._walk.until(lambda: buttons.resume.enabled and not buttons.resume.isHidden())
        self._test.assertIn(self._controller.message, self._ui.statusLabel.text)
        self._test.assertTrue(self._controller.message.endswith("."), self._controller.message)
        self._test.assertFalse(buttons.keep.isHidden() or buttons.cancel.isHidden() or buttons.fill.enabled)
        np.testing.assert_array_equal(self._labels(), self._walk.painted())
        return finished

    def _end_application(self) -> Path:
        """A run that the end of the application or of the scene interrupted, which is then offered. Its folder."""
        self._interrupt(lambda: self._controller.suspend())
        buttons = self._buttons
        self._walk.until(lambda: buttons.resume.enabled and not buttons.resume.isHidden())
        self._test.assertTrue(self._folder.is_dir())
        np.testing.assert_array_equal(self._labels(), self._walk.painted())
        return self._folder

    def _require_kept(self, finished: np.ndarray, at_least: bool = False) -> None:
        """Finished slices are in the segmentation, and no other was changed; `at_least` these are finished."""
        self._walk.until(lambda: self._state is State.IDLE)
        self._walk.until(lambda: self._buttons.resume.isHidden() and self._buttons.keep.isHidden())
        after, painted = self._labels(), self._walk.painted()
        kept = (after != painted).any(axis=(1, 2))
        self._test.assertTrue(kept.any())
        if not at_least:
            self._test.assertFalse((kept & ~finished).any())
        np.testing.assert_array_equal(after[finished | kept], self._filled[finished | kept])
        self._undo()

    def _require_cancelled(self, folder: Path) -> None:
        """Nothing was changed, and nothing is left of the run."""
        self._walk.until(lambda: self._state is State.IDLE and self._buttons.resume.isHidden())
        np.testing.assert_array_equal(self._labels(), self._walk.painted())
        self._walk.until(lambda: not folder.exists())
        self._walk.until(lambda: self._buttons.fill.enabled)

    def _undo(self) -> None:
        self._buttons.undo()
        np.testing.assert_array_equal(self._labels(), self._walk.painted())

    def _undo_in_bar(self) -> None:
        button = self._ui.undoFillButton
        self._walk.until(lambda: not button.isHidden())
        self._press(button)

    # --- helper methods

    @property
    def _controller(self) -> Any:
        return self._widget.logic.controller

    @property
    def _state(self) -> State:
        state: State = self._controller.state
        return state

    def _labels(self) -> np.ndarray:
        return self._walk.labels(self._node)

    def _finished(self) -> np.ndarray:
        """Slices that the worker finished, bool [k]."""
        return np.array(self._controller.run.prepared.finished(), dtype=bool)
