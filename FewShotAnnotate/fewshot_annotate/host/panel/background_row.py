"""BackgroundRow: a button that starts and stops something in the background, and how far it is."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ..datasets.child_process import ChildProcess
from ..messages import Refusal
from .widgets import Controls

_PROGRESS_STEPS = 1000


class BackgroundRow:
    """Button and progress bar of one background process.

    Parameters
    ----------
    process : ChildProcess
    titles : (str, str)
        Text of the button while nothing runs, and while it runs.
    tool_tips : (str, str)
        As for `titles`.
    start, stop : function
        Called when the button is pressed.
    """

    def __init__(
        self,
        process: ChildProcess,
        titles: tuple[str, str],
        tool_tips: tuple[str, str],
        start: Callable[[], object],
        stop: Callable[[], object],
    ) -> None:
        self.button = qt.QPushButton(titles[0])
        self.bar = qt.QProgressBar()
        self.bar.setMaximum(_PROGRESS_STEPS)
        self.bar.setTextVisible(True)
        self.bar.hide()
        self._process = process
        self._titles = titles
        self._tool_tips = tool_tips
        self._start = start
        self._stop = stop
        self._shown: tuple[object, ...] = ()
        self.button.connect("clicked(bool)", self._on_clicked)

    def show(self, controls: Controls, refusal: Refusal) -> None:
        """Show how far the process is; `refusal` is why it cannot be started."""
        busy = self._process.busy
        controls.enable(self.button, None if busy else refusal, self._tool_tips[busy])
        progress = self._process.progress
        fraction = None if progress is None else progress.fraction
        counts = "" if progress is None or not progress.total else f"{progress.done} / {progress.total}"
        shown = (busy, fraction, counts)
        if shown == self._shown:
            return
        self._shown = shown
        self.button.text = self._titles[busy]
        self.bar.setMaximum(0 if fraction is None else _PROGRESS_STEPS)  # 0: Qt shows an indeterminate bar
        self.bar.setValue(round(_PROGRESS_STEPS * (fraction or 0)))
        self.bar.setFormat(counts or "%p %")
        self.bar.visible = busy

    def _on_clicked(self, checked: bool = False) -> None:
        (self._stop if self._process.busy else self._start)()
