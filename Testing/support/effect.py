"""A Segment Editor with the effect Few-Shot Fill, on the stand-in for PythonQt, used as a user would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from support import slicer_standin
from support.panel import ARTIFACTS, Panel
from support.panel_themes import cut_texts
from support.scene_cases import Scene

slicer_standin.install()

import slicer  # noqa: E402

NAME = "Few-Shot Fill"


class EffectEditor:
    """The Segment Editor module's editor; the panel of Few-Shot Annotate is loaded, but not open.

    Parameters
    ----------
    panel : Panel
        Must have a scene.
    """

    def __init__(self, panel: Panel) -> None:
        assert panel.scene is not None
        self.panel = panel
        self.scene: Scene = panel.scene
        self.editor: Any = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.setMRMLSegmentEditorNode(self.scene.editor_node)
        self.editor.setActiveEffectByName(NAME)

    @property
    def effect(self) -> Any:
        """The Python effect."""
        return self.editor.effectByName(NAME).self()

    @property
    def status(self) -> str:
        """Status of the effect."""
        return self.effect.statusLabel.text

    def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        """Run the event loop until something is reached."""
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, self.status
            slicer_standin.process_events(5)

    def click(self, name: str) -> None:
        """Press a button as soon as the effect lets it be pressed."""
        button = getattr(self.effect, name)
        self.until(lambda: button.enabled)
        button.click()

    def start(self) -> None:
        """Press Fill once it can be pressed."""
        self.until(lambda: self.effect.fillButton.enabled)
        self.click("fillButton")

    def finish(self) -> None:
        """Wait until nothing runs and the effect, whose timer is its own, shows so."""
        self.until(lambda: self.effect.session().idle and self.effect.progressBar.isHidden())

    def picture(self, name: str, width: int = 400) -> None:
        """Picture of the editor, kept for inspection."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.editor.show()
        self.editor.resize(width, self.editor.sizeHint.height())
        slicer_standin.process_events(20)
        assert self.editor.width == width  # else something in it needs more
        assert self.editor.grab().save(str(ARTIFACTS / f"effect_{name}_{width}.png"))

    def options_height(self, width: int) -> int:
        """Height of the effect's options without margins, in pixels; they must not need more than a width."""
        self.editor.show()
        frame = self.effect.scriptedEffect.optionsFrame()
        slicer_standin.process_events(20)
        assert frame.layout().minimumSize().width() <= width
        assert cut_texts(frame, max(width, frame.width)) == []
        margins = frame.layout().contentsMargins
        return int(frame.layout().sizeHint().height()) - margins.top() - margins.bottom()

    def close(self) -> None:
        """Delete the editor, once."""
        if self.editor is not None:
            self.editor.clean_up_effects()
            self.editor.hide()
            self.editor.deleteLater()
            self.editor = None
            slicer_standin.process_events(5)
