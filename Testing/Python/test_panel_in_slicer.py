"""The panel within Slicer's application: scenes opened and merged, start-up, shortcuts.

The stand-in behaves here as Slicer itself was observed to behave.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import slicer
from support import slicer_standin
from support.panel import Panel
from support.saved_scenes import open_scene, save_scene
from support.slicer_standin.application import RESERVED_KEYS

slicer_standin.install()

import qt  # noqa: E402
from fewshot_annotate.host.panel.shortcuts import KEYS  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)


@pytest.fixture
def panel(panel: Panel) -> Panel:
    """The panel on the vertebrae, ready to fill."""
    panel.ready()
    return panel


# --- scenes


def require_shown(panel: Panel) -> None:
    """Selectors and editor show the nodes of the parameter node."""
    ui, parameters = panel.ui, panel.parameters
    assert parameters.volume is not None
    assert ui.volumeSelector.currentNode() is parameters.volume
    assert ui.segmentationSelector.currentNode() is parameters.segmentation
    assert ui.segmentEditor.segmentationNode() is parameters.segmentation
    assert ui.segmentEditor.sourceVolumeNode() is parameters.volume


@pytest.mark.parametrize("suffix", ["mrb", "mrml"])
def test_a_scene_opened_while_the_panel_is_open_is_shown(panel: Panel, tmp_path: Path, suffix: str) -> None:
    labelled = panel.rows("slicesTable")
    save_scene(tmp_path / "saved" / f"scene.{suffix}")
    open_scene(tmp_path / "saved" / f"scene.{suffix}")
    assert panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == len(panel.scene.ids)
    require_shown(panel)
    panel.until(lambda: panel.rows("slicesTable") == labelled)


def test_a_segment_never_painted_does_not_matter_in_a_scene_that_was_saved(panel: Panel, tmp_path: Path) -> None:
    panel.scene.node.GetSegmentation().AddEmptySegment("unpainted", "unpainted")
    save_scene(tmp_path / "saved" / "scene.mrb")
    open_scene(tmp_path / "saved" / "scene.mrb")
    panel.ready()


def test_a_scene_added_while_the_panel_is_open_brings_its_selected_nodes(panel: Panel, tmp_path: Path) -> None:
    save_scene(tmp_path / "saved" / "scene.mrml")
    slicer.mrmlScene.SetURL(str(tmp_path / "saved" / "scene.mrml"))
    assert slicer.mrmlScene.Import()
    assert panel.parameters.volume is not panel.scene.volume_node
    assert panel.ui.volumeSelector.nodeCount() == 2
    require_shown(panel)
    panel.ready()


def test_the_module_starts_without_the_sample_data_module(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", None)
    panel.module.register_sample_data()
    assert panel.module is not None
    entry = slicer.modules.FewShotAnnotateInstance.parent
    assert set(entry.dependencies) == {"Segmentations", "SubjectHierarchy"}


# --- keys


def test_no_shortcut_is_one_of_slicers_own() -> None:
    own = {qt.QKeySequence(keys).toString() for keys in KEYS.values()}
    assert not own & {qt.QKeySequence(keys).toString() for keys in RESERVED_KEYS}


@pytest.mark.parametrize("name", ["sliceSpinBox", "suggestButton", "slicesTable"])
def test_shortcuts_for_slices_work_wherever_the_focus_is(panel: Panel, name: str) -> None:
    window, labelled = slicer.util.mainWindow(), panel.scene.labelled
    window.setCentralWidget(panel.widget.parent)
    try:
        window.show()
        panel.ui.paintSection.collapsed = False
        panel.ui.sliceSpinBox.setValue(labelled[1])
        window.activateWindow()
        getattr(panel.ui, name).setFocus()
        slicer_standin.process_events(20)
        QTest.keyClick(getattr(panel.ui, name), qt.Qt.Key_PageDown, qt.Qt.ControlModifier)
        assert panel.ui.sliceSpinBox.value == labelled[2]
        QTest.keyClick(getattr(panel.ui, name), qt.Qt.Key_PageUp, qt.Qt.ControlModifier)
        assert panel.ui.sliceSpinBox.value == labelled[1]
    finally:
        panel.widget.parent.setParent(None)
        window.hide()
