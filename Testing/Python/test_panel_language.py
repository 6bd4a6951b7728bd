"""Texts of the panel go through `tr()`: in a language that marks each text, every text shown has the mark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import slicer
from fewshot_annotate.host.i18n import translated
from fewshot_annotate.host.messages import sentences
from support import slicer_standin
from support.panel import MODULE, Panel, tool_tip
from support.scene_cases import Gate, case, scene_of
from support.slicer_standin import i18n

slicer_standin.install()

import qt  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)

# Qt translates these by itself, as Slicer does with every .ui file.
FORM = {text.text for text in ElementTree.parse(MODULE.parent / "Resources/UI/FewShotAnnotate.ui").iter("string")}
STANDIN = re.compile(r"None|Segment editor \(stand-in\).*", re.DOTALL)
CONTROLS = (qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QAbstractSpinBox)


@pytest.fixture
def marked() -> Iterator[None]:
    """A language in which every text is in marks; caches of sentences are cleared before and after."""

    def clear_caches() -> None:
        sentences.cache_clear()
        translated.cache_clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(i18n, "language", lambda text: f"«{text}»")
        clear_caches()
        yield
    clear_caches()


@pytest.fixture
def panel(marked: None, open_panel: Callable[..., Panel]) -> Panel:
    """The panel on the vertebrae, every text in marks."""
    opened = open_panel(scene_of(case("ct_vertebrae")))
    opened.widget.parent.resize(900, 900)  # titles of steps with their states are cut to the width
    opened.widget.parent.show()
    opened.ready()
    opened.until(lambda: opened.ui.engineList.count > 1)
    opened.tick()
    return opened


def _shown(widget: Any) -> Iterator[str]:
    yield tool_tip(widget)
    if isinstance(widget, (qt.QLabel, qt.QAbstractButton)):
        yield widget.text
    elif isinstance(widget, qt.QComboBox):
        yield from (widget.itemText(row) for row in range(widget.count))
    elif isinstance(widget, qt.QTableWidget):
        headers = map(widget.horizontalHeaderItem, range(widget.columnCount))
        yield from (item.text() for item in headers if item is not None)


def untranslated(panel: Panel) -> set[str]:
    """Texts with a word outside the marks; names of nodes, segments, engines and paths are not translated."""
    names = {"Volume", "Segmentation", "Propagate", *panel.scene.ids} if panel.scene is not None else set()
    found = set()
    for widget in panel.widget.uiWidget.findChildren(qt.QWidget):
        if panel.ui.segmentEditor.isAncestorOf(widget):
            continue  # Slicer's own
        for text in _shown(widget):
            bare = text.removeprefix(f"{text.partition(':  ')[0]}:  ") if text.partition(":  ")[0] in FORM else text
            while bare != (bare := re.sub("«[^«»]*»", "", bare)):
                continue
            if text in FORM or STANDIN.fullmatch(text):
                continue
            if re.search("[A-Za-z]{3}", bare) and bare not in names and "/" not in bare:
                found.add(text)
    return found


def test_every_text_of_the_panel_is_translated_from_the_first_slice_to_the_review(gate: Gate, panel: Panel) -> None:
    assert untranslated(panel) == set()
    panel.click("suggestButton")
    panel.until(lambda: panel.widget.logic.suggestion.result is not None)
    assert untranslated(panel) == set()
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    assert untranslated(panel) == set()
    panel.click("cancelButton")
    panel.until(lambda: "Cancelled" in panel.status)
    assert untranslated(panel) == set()
    gate.open()
    panel.fill()
    panel.until(lambda: bool(panel.widget.logic.review.view.rows) and not panel.widget.reviewSection.busy)
    assert f"{len(panel.scene.between)} slices filled." in panel.status
    assert untranslated(panel) == set()


def test_errors_are_translated(gate: Gate, panel: Panel) -> None:
    gate.allow(2)
    panel.click("fillButton")
    panel.until(lambda: panel.controller.progress.done == 2)
    panel.scene.node.GetSegmentation().RemoveSegment(panel.scene.ids[1])
    panel.controller.run.process.kill()
    panel.until(lambda: panel.state == "STOPPED")
    assert untranslated(panel) == set()
    panel.click("keepButton")
    panel.until(lambda: "Removed during the run" in panel.status)
    assert untranslated(panel) == set()
    voxels = np.ascontiguousarray(slicer.util.arrayFromVolume(panel.scene.volume_node)[::-1])
    panel.ready()
    panel.click("fillButton")
    panel.until(lambda: panel.state == "RUNNING")
    slicer.util.updateVolumeFromArray(panel.scene.volume_node, voxels)
    gate.open()
    panel.until(lambda: "changed during the run" in panel.status)
    assert untranslated(panel) == set()


def test_every_control_has_a_tool_tip(open_panel: Callable[..., Panel]) -> None:
    panel = open_panel()
    for kind in CONTROLS:
        for widget in panel.widget.uiWidget.findChildren(kind):
            if not widget.objectName.startswith("qt_") and widget.window() == panel.widget.parent.window():
                assert widget.toolTip or widget.parent().toolTip, (widget.objectName, getattr(widget, "text", ""))
