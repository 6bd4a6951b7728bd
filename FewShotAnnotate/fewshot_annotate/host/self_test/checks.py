"""FurtherChecks: checks of the self-test that the manual does not list, because no person needs to see them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from ..effect.registration import EFFECT_NAME, register_effect
from ..panel import help_buttons
from ..panel.help_buttons import DOCUMENTATION, PAGES
from ..panel.shortcuts import KEYS
from .dialogs import DialogChecks
from .installations import InstallationChecks
from .panel_checks import PanelChecks
from .refusals import RefusalChecks, recorded_errors
from .review import ReviewChecks
from .runs import RunChecks
from .steps import StepChecks
from .tools import ToolChecks

# Height of a panel in which each step must fit, in pixels.
PANEL_HEIGHT_PIXELS = 900
# Of Slicer itself; going there and back makes a history, whose keys go to the previous and the next module.
_OTHER_MODULE = "Segmentations"
_LATE_EFFECT = Path(__file__).parents[1] / "effect" / "registered_late" / "RegisteredLateEffect.py"
_STEPS = ("volume", "label", "fill", "review", "export")
_CONTROLS = (qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QSpinBox)


class FurtherChecks(PanelChecks):
    """Checks on the filled and reviewed segmentation, made before the last step, which closes the scene."""

    @property
    def checks(self) -> dict[str, Callable[[], None]]:
        """Titles of the checks, and the methods that make them."""
        return {
            "Fill twice in a row, and undo from the bar": self._fill_twice,
            "Two segmentations in one scene": self._two_segmentations,
            "A hidden segment is named and left out": self._hidden_segment,
            "Uncertainty is laid over the views": self._uncertainty,
            "Steps fit into the panel": self._heights,
            "Tool tips": self._tool_tips,
            "Question marks": self._question_marks,
            "Order of tabs": self._order_of_tabs,
            "Shortcuts come and go, and are nobody else's": self._shortcuts,
            "Effects of the panel's editor": self._effects,
            "Timers run on after the module was unloaded": self._unloaded,
            "Errors are reported in one sentence": self._errors,
            "What cannot be filled is refused": RefusalChecks(self._walk).run,
            "Installations and downloads ask first": InstallationChecks(self._walk).run,
            "Dialogs of the export, the tools and the review": DialogChecks(self._walk).run,
            "Runs are interrupted, resumed, kept and discarded": RunChecks(self._walk).run,
            "Buttons of the steps": StepChecks(self._walk).run,
            "Buttons of the review": ReviewChecks(self._walk).run,
            "Buttons of the export and the tools": ToolChecks(self._walk).run,
            "A saved scene is opened with the panel open": self._saved_scene,
        }

    def run(self) -> None:
        """Make all checks, in their order."""
        for title, check in self.checks.items():
            self._test.delayDisplay(title)
            check()

    # --- the checks

    def _fill_twice(self) -> None:
        walk, before = self._walk, self._walk.labels()
        walk.start_and_finish(self._ui.fillButton)
        filled = walk.labels()
        walk.start_and_finish(self._ui.fillButton)
        np.testing.assert_array_equal(walk.labels(), filled)
        self._test.assertNotIn("left no room", self._ui.statusLabel.text)
        if not np.array_equal(before, filled):
            walk.until(lambda: not self._ui.undoFillButton.isHidden())
            self._ui.undoFillButton.click()
            np.testing.assert_array_equal(walk.labels(), before)

    def _two_segmentations(self) -> None:
        parameters, first = self._widget.logic.getParameterNode(), self._walk.segmentation
        rows = self._ui.slicesTable.rowCount
        second = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Second")
        second.CreateDefaultDisplayNodes()
        parameters.segmentation = second
        self._walk.until(lambda: self._ui.slicesTable.rowCount == 0)
        self._test.assertIs(self._ui.segmentEditor.segmentationNode(), second)
        self._test.assertFalse(self._ui.fillButton.enabled)
        parameters.segmentation = first
        self._walk.until(lambda: self._ui.slicesTable.rowCount == rows and self._ui.fillButton.enabled)
        slicer.mrmlScene.RemoveNode(second)
        self._test.assertIs(parameters.segmentation, first)

    def _hidden_segment(self) -> None:
        node = self._walk.segmentation
        for name in node.GetSegmentation().GetSegmentIDs():
            node.GetDisplayNode().SetSegmentVisibility(name, False)
        self._walk.until(lambda: not self._ui.fillButton.enabled)
        self._test.assertIn("(hidden)", self._ui.statusLabel.text)
        for name in node.GetSegmentation().GetSegmentIDs():
            node.GetDisplayNode().SetSegmentVisibility(name, True)
        self._walk.until(lambda: self._ui.fillButton.enabled)
        self._test.assertNotIn("(hidden)", self._ui.statusLabel.text)

    def _uncertainty(self) -> None:
        box, overlays = self._widget.reviewSection.uncertainty_box, self._widget.logic.review.overlays
        self._walk.start_and_finish(self._ui.fillButton)
        self._walk.until(lambda: box.enabled)
        box.click()
        self._walk.until(lambda: overlays.uncertainty_shown)
        box.click()
        self._walk.until(lambda: not overlays.uncertainty_shown)

    def _heights(self) -> None:
        accordion = self._widget.accordion
        for step in _STEPS:
            accordion.open(step)
            slicer.app.processEvents()
            self._test.assertEqual([step for step in _STEPS if accordion.is_open(step)], [step])
            self._test.assertLessEqual(
                self._widget.uiWidget.layout().minimumSize().height(), PANEL_HEIGHT_PIXELS, step
            )

    def _tool_tips(self) -> None:
        for kind in _CONTROLS:
            for control in self._widget.uiWidget.findChildren(kind):
                is_ours = not re.match("qt_|ctk", control.objectName) and control.parent() is not None
                if is_ours and not self._ui.segmentEditor.isAncestorOf(control):
                    tip = control.toolTip or getattr(control.parent(), "toolTip", "")
                    self._test.assertTrue(tip, f"{kind.__name__} {control.objectName}")

    def _question_marks(self) -> None:
        opened: list[str] = []
        with _recorded_urls(opened):
            for name, button in self._widget.help.buttons.items():
                self._test.assertTrue(button.accessibleName, name)
                button.click()
        self._test.assertEqual(opened, [f"{DOCUMENTATION}/{page}" for page in PAGES.values()])

    def _order_of_tabs(self) -> None:
        """Sections follow each other as the Tab key goes from one to the next."""
        root, seen = self._widget.uiWidget, []
        widget = root.nextInFocusChain()
        while widget is not None and widget != root:
            if widget.objectName in PAGES:
                seen.append(widget.objectName)
            widget = widget.nextInFocusChain()
        self._test.assertEqual(seen, list(PAGES))

    def _shortcuts(self) -> None:
        window = slicer.util.mainWindow()
        if window is None:
            return
        ours = {qt.QKeySequence(keys).toString() for keys in KEYS.values()}
        others = {action.shortcut.toString() for action in window.findChildren(qt.QAction)}
        self._test.assertFalse(ours & others)
        for _ in range(2):
            slicer.util.selectModule(_OTHER_MODULE)
            self._test.assertFalse(ours & set(_keys_of(window)))
            slicer.util.selectModule("FewShotAnnotate")
            shown = _keys_of(window)
            # A key that is there twice is ambiguous: Qt then calls neither.
            self._test.assertEqual({keys: shown.count(keys) for keys in ours}, dict.fromkeys(ours, 1))

    def _effects(self) -> None:
        """A panel that is older than the registered effect, as one made before start-up ends."""
        editor = self._ui.segmentEditor
        late = register_effect(_LATE_EFFECT)
        self._test.assertIn(late, editor.availableEffectNames())
        self._test.assertIn(late, editor.effectNameOrder())
        available = set(editor.availableEffectNames())
        self._test.assertIn(EFFECT_NAME, available)
        self._test.assertLessEqual(available - {EFFECT_NAME}, set(editor.effectNameOrder()))
        self._test.assertNotIn(EFFECT_NAME, editor.effectNameOrder())
        self._test.assertFalse(editor.unorderedEffectsVisible)

    def _unloaded(self) -> None:
        effect = self._ui.segmentEditor.effectByName(EFFECT_NAME).self()
        names = ("fewshotannotate", "FewShotAnnotateWidget")
        entries = {name: getattr(slicer.modules, name) for name in names}
        try:
            effect.activate()
            self._test.assertTrue(effect.polling)
            for name in names:
                delattr(slicer.modules, name)
            self._walk.until(lambda: not effect.polling)
            self._test.assertIsNone(effect.session())
        finally:
            for name, entry in entries.items():
                setattr(slicer.modules, name, entry)

    def _errors(self) -> None:
        parameters, volume = self._widget.logic.getParameterNode(), self._walk.volume
        engine = parameters.engine
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
        coloured = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
        slicer.util.updateVolumeFromArray(coloured, np.zeros((4, 5, 6, 3), np.uint8))
        with recorded_errors() as reported:
            parameters.engine = "divination"
            self._press_fill(reported)
            parameters.engine = engine
            for unusable in (empty, coloured):
                parameters.volume = unusable
                self._press_fill(reported)
        parameters.volume = volume
        for unusable in (empty, coloured):
            slicer.mrmlScene.RemoveNode(unusable)
        for sentence in reported:
            self._test.assertTrue(sentence.endswith("."), sentence)
            self._test.assertNotIn("\n", sentence)
        self._walk.until(lambda: self._ui.fillButton.enabled)

    def _press_fill(self, reported: list[str]) -> None:
        """Press Fill as soon as it can be, and wait until an error is reported."""
        count = len(reported)
        self._walk.until(lambda: self._ui.fillButton.enabled)
        self._ui.fillButton.click()
        self._walk.until(lambda: len(reported) > count)

    def _saved_scene(self) -> None:
        review, scene = self._widget.logic.review, slicer.mrmlScene
        rows = review.view.rows
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self._test.assertTrue(scene.WriteToMRB(path))
            self._test.assertTrue(scene.ReadFromMRB(path, True))
        parameters = self._widget.logic.getParameterNode()
        self._test.assertIsNotNone(parameters.segmentation)
        self._test.assertIs(self._ui.volumeSelector.currentNode(), parameters.volume)
        self._test.assertIs(self._ui.segmentationSelector.currentNode(), parameters.segmentation)
        self._test.assertIs(self._ui.segmentEditor.segmentationNode(), parameters.segmentation)
        self._test.assertIs(self._ui.segmentEditor.sourceVolumeNode(), parameters.volume)
        self._walk.until(lambda: review.view.rows == rows)


def _keys_of(window: Any) -> list[str]:
    return [shortcut.key.toString() for shortcut in window.findChildren(qt.QShortcut)]


@contextmanager
def _recorded_urls(opened: list[str]) -> Iterator[None]:
    """Addresses that the web browser would show, which are not opened."""
    shown = help_buttons.open_page
    setattr(help_buttons, "open_page", opened.append)  # noqa: B010 (mypy: a function is put in place of another)
    try:
        yield
    finally:
        setattr(help_buttons, "open_page", shown)  # noqa: B010
