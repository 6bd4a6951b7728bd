"""The panel, its parameter node and the scene follow each other."""

from __future__ import annotations

import importlib
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import pytest
import slicer
from fewshot_annotate.host.tasks import BackgroundTasks
from support import mrml, scene_cases, slicer_standin
from support.panel import Panel, tool_tip
from support.scene_cases import Gate, all_equal, case, scene_of

slicer_standin.install()

import qt  # noqa: E402

pytest_plugins = ("support.panel_fixtures",)
pytestmark = pytest.mark.usefixtures("forked_workers")


def test_a_segmentation_without_geometry_gets_that_of_the_volume(open_panel: Callable[..., Panel]) -> None:
    scene = scene_of(case("ct_vertebrae"))
    bare = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Bare")
    panel = open_panel(scene)
    panel.ui.segmentationSelector.setCurrentNode(bare)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    own, other = (node.GetSegmentation().GetConversionParameter(name) for node in (bare, scene.node))
    assert own.split(";")[:16] == other.split(";")[:16]


def test_the_panel_and_the_parameter_node_follow_each_other(panel: Panel) -> None:
    parameters, ui = panel.parameters, panel.ui
    boxes = {"fillAll": "fillAllCheckBox", "complete": "completeCheckBox", "mayOverwrite": "overwriteCheckBox"}
    for name, box in boxes.items():
        for value in (True, False):
            setattr(parameters, name, value)
            assert getattr(ui, box).checked is value
            getattr(ui, box).setChecked(not value)
            assert getattr(parameters, name) is not value
    panel.until(lambda: ui.engineList.count > 1)
    names = [ui.engineList.item(row).data(qt.Qt.UserRole) for row in range(ui.engineList.count)]
    ui.engineList.setCurrentRow(names.index("propagate"))
    assert parameters.engine == "propagate"
    parameters.engine = "auto"
    assert ui.engineList.currentRow == names.index("auto") == 0
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")
    ui.segmentationSelector.setCurrentNode(other)
    assert parameters.segmentation is other
    assert ui.segmentEditor.segmentationNode() is other
    parameters.segmentation = panel.scene.node
    assert ui.segmentationSelector.currentNode() is panel.scene.node
    assert ui.segmentEditor.segmentationNode() is panel.scene.node
    copy = scene_cases.add_volume(panel.scene.case.volume, "Copy")
    ui.volumeSelector.setCurrentNode(copy)
    assert parameters.volume is copy
    assert ui.segmentEditor.sourceVolumeNode() is copy
    parameters.volume = panel.scene.volume_node
    assert ui.volumeSelector.currentNode() is panel.scene.volume_node
    assert ui.segmentEditor.sourceVolumeNode() is panel.scene.volume_node


def test_the_preview_does_not_show_in_the_selector(running: Panel) -> None:
    assert running.ui.segmentationSelector.nodeCount() == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_the_module_left_during_a_run_lets_it_finish(gate: Gate, running: Panel) -> None:
    running.widget.parent.exit()
    gate.open()
    running.until(lambda: running.state == "IDLE")
    assert running.scene.array(running.scene.ids[0])[running.scene.between].any()
    running.until(lambda: not running.widget.polling)
    running.widget.parent.enter()
    running.ready()
    assert running.status == f"{len(running.scene.between)} slices filled."


def test_leaving_and_entering_again_adds_no_connections(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, connected = panel.parameters, []
    monkeypatch.setattr(type(parameters), "connectGui", lambda _parameters, gui: connected.append(gui))
    for _ in range(3):
        panel.widget.parent.exit()
        panel.widget.parent.enter()
    assert panel.parameters is parameters
    assert connected == []
    assert panel.widget.polling


@pytest.mark.parametrize("while_running", [False, True])
def test_a_closed_scene_leaves_an_empty_panel_that_works_again(
    open_panel: Callable[..., Panel], gate: Gate, while_running: bool
) -> None:
    panel = open_panel(scene_of(case("ct_vertebrae")))
    panel.ready()
    if while_running:
        panel.click("fillButton")
        panel.until(lambda: panel.state == "RUNNING")
    mrml.clear_scene()
    panel.tick()
    assert panel.state == "IDLE"
    assert panel.parameters.volume is None
    assert panel.rows("slicesTable") == []
    assert panel.rows("segmentsTable") == []
    assert tool_tip(panel.ui.fillButton) == "Choose a volume first."
    assert panel.status == "Choose a volume first."
    gate.open()
    vertebrae, axis = case("ct_vertebrae"), scene_cases.SliceAxis(0)
    volume_node = scene_cases.add_volume(vertebrae.volume)
    labelled = vertebrae.labelled(axis, 4)
    node = mrml.add_segmentation(volume_node, scene_cases.painted(vertebrae, axis, labelled))
    panel.ui.volumeSelector.setCurrentNode(volume_node)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.fill()
    assert panel.status.endswith("slices filled.")


def test_the_panel_works_after_nodes_were_removed_one_by_one(panel: Panel) -> None:
    panel.ready()
    slicer.mrmlScene.RemoveNode(panel.scene.node)
    panel.tick()
    assert panel.parameters.segmentation is None
    assert tool_tip(panel.ui.fillButton) == "Choose or create a segmentation first."
    slicer.mrmlScene.RemoveNode(panel.scene.volume_node)
    panel.tick()
    assert tool_tip(panel.ui.fillButton) == "Choose a volume first."


def test_a_reload_during_a_run_ends_it_and_gives_a_working_panel(
    gate: Gate, running: Panel, library: dict[str, types.ModuleType]
) -> None:
    before = running.scene.arrays()
    old = running.widget
    controller = "fewshot_annotate.host.fill.controller"
    old.onReload()
    running.widget = slicer.modules.FewShotAnnotateWidget
    running.ui = running.widget.ui
    assert running.widget is not old
    assert sys.modules[controller] is not library[controller]
    assert old.logic.controller.state.name == "IDLE"
    assert all_equal(running.scene.arrays(), before)
    gate.open()
    running.parameters.engine = "propagate"
    running.fill()
    assert running.scene.array(running.scene.ids[0])[running.scene.between].any()


def test_a_reload_waits_for_the_background_work_of_the_old_library(
    panel: Panel, library: dict[str, types.ModuleType]
) -> None:
    imported: list[object] = []

    def import_late() -> None:
        time.sleep(0.5)
        imported.append(importlib.import_module("fewshot_annotate.core.errors"))

    tasks = BackgroundTasks("test")
    tasks.start(import_late)
    panel.widget.onReload()
    panel.widget = slicer.modules.FewShotAnnotateWidget
    panel.ui = panel.widget.ui
    assert imported == [library["fewshot_annotate.core.errors"]]


def test_the_editor_node_is_our_own_and_shown_in_the_panel(panel: Panel) -> None:
    node = panel.ui.segmentEditor.mrmlSegmentEditorNode()
    assert node.GetSingletonTag() == "FewShotAnnotate"
    assert panel.ui.segmentEditor.segmentationNode() is panel.scene.node
    assert panel.ui.segmentEditor.sourceVolumeNode() is panel.scene.volume_node


def test_shortcuts_and_view_observers_are_active_only_while_the_module_is_open(panel: Panel) -> None:
    calls = panel.ui.segmentEditor.calls
    assert {"setupViewObservations", "installKeyboardShortcuts"} <= set(calls)
    calls.clear()
    panel.widget.parent.exit()
    assert {"uninstallKeyboardShortcuts", "removeViewObservations", "setActiveEffect()"} <= set(calls)


class _SampleData(types.ModuleType):
    """Stand-in for Slicer's SampleData module that records what is registered."""

    def __init__(self) -> None:
        super().__init__("SampleData")
        registered = self.registered = []

        class SampleDataLogic:
            @staticmethod
            def registerCustomSampleDataSource(**what: Any) -> None:
                registered.append(what)

        self.SampleDataLogic = SampleDataLogic


def test_sample_data_is_registered_with_checksums_once_the_application_has_started(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = _SampleData()
    monkeypatch.setitem(sys.modules, "SampleData", samples)
    panel.module.register_sample_data()
    assert len(samples.registered) == 2
    for sample in samples.registered:
        kind, digest = sample["checksums"].split(":")
        assert kind == "SHA256"
        assert len(digest) == 64
        assert sample["uris"].endswith(digest)
