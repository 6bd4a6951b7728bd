"""The module's panel on the stand-in for PythonQt, driven as a user would."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import slicer_standin
from support.scene_cases import Scene

slicer_standin.install()

import qt  # noqa: E402

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "FewShotAnnotate" / "FewShotAnnotate.py"
ARTIFACTS = ROOT / "artifacts"


def tool_tip(widget: Any) -> str:
    """Tool tip of a widget as the user reads it; Slicer's application keeps it as rich text."""
    return str(qt.QTextDocumentFragment.fromHtml(widget.toolTip).toPlainText())


class Panel:
    """The module's widget on a scene, driven as a user would."""

    def __init__(self, scene: Scene | None) -> None:
        self.scene = scene
        self.module, self.widget = slicer_standin.load_module(MODULE)
        self.ui = self.widget.ui

    @property
    def controller(self) -> Any:
        """The run."""
        return self.widget.logic.controller

    @property
    def state(self) -> str:
        """Name of the run's state."""
        return self.controller.state.name

    @property
    def parameters(self) -> Any:
        """The wrapped parameter node."""
        return self.widget.logic.parameters

    @property
    def status(self) -> str:
        """Status of the panel."""
        return self.ui.statusLabel.text

    def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        """Run the event loop until something is reached."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, (self.state, self.status)
            slicer_standin.process_events(5)

    def tick(self, count: int = 2) -> None:
        """Let the panel's timer tick, so that it shows what has happened; on a busy machine that takes longer."""
        timer, ticks = self.widget.uiWidget.findChild(qt.QTimer, "", qt.Qt.FindDirectChildrenOnly), []

        def note() -> None:
            ticks.append(None)

        timer.connect("timeout()", note)  # called after what the panel does itself
        self.until(lambda: len(ticks) >= count or not timer.active)
        timer.disconnect("timeout()", note)

    def ready(self) -> None:
        """Wait until the painted slices are known."""
        self.until(lambda: self.ui.fillButton.enabled)

    def click(self, name: str) -> None:
        """Press a button."""
        button = getattr(self.ui, name)
        assert button.enabled, button.toolTip
        button.click()

    def fill(self) -> None:
        """One whole run."""
        self.ready()
        self.click("fillButton")
        self.until(lambda: self.state == "IDLE" and not self.widget.logic.fillRequested)

    def rows(self, name: str) -> list[tuple[str, ...]]:
        """Texts of a table."""
        table = getattr(self.ui, name)
        columns = range(table.columnCount)
        return [tuple(table.item(row, column).text() for column in columns) for row in range(table.rowCount)]

    def labelled_rows(self) -> list[tuple[str, str]]:
        """Number and segments of each slice that is listed."""
        return [(row[0], row[2]) for row in self.rows("slicesTable")]

    def check(self, name: str, row: int, column: int, checked: bool) -> None:
        """Tick a box in a table."""
        item = getattr(self.ui, name).item(row, column)
        item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)

    def picture(self, name: str, width: int = 460, height: int = 0) -> Any:
        """Picture of the panel at its preferred height or a given one, kept for inspection."""
        ARTIFACTS.mkdir(exist_ok=True)
        parent = self.widget.parent
        parent.show()
        parent.resize(width, 100)
        slicer_standin.process_events(20)
        parent.resize(width, height or parent.layout().sizeHint().height())
        slicer_standin.process_events(150)  # titles are fitted to the width
        picture = parent.grab()
        assert picture.save(str(ARTIFACTS / f"panel_{name}_{width}.png"))
        return picture
