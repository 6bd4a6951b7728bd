"""The test support itself: a stand-in for PythonQt and the scripted module framework."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("PySide6.QtWidgets")

from support import mrml, slicer_standin  # noqa: E402

MODULE = dedent(
    """
    import enum
    from typing import Annotated, Optional

    import qt
    import slicer
    import vtk
    from slicer.i18n import tr as _
    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
    from slicer.ScriptedLoadableModule import *
    from slicer.util import VTKObservationMixin


    class Axis(enum.Enum):
        AUTOMATIC = "auto"
        FIRST = "0"


    @parameterNodeWrapper
    class TinyParameterNode:
        volume: slicer.vtkMRMLScalarVolumeNode
        segmentation: Optional[slicer.vtkMRMLSegmentationNode]
        keep: bool = True
        axis: Axis
        engine: Annotated[str, Choice(["interpolate", "track"]), Default("track")]
        count: Annotated[int, WithinRange(1, 9), Default(3)]


    class Tiny(ScriptedLoadableModule):
        def __init__(self, parent):
            super().__init__(parent)
            self.parent.title = _("Tiny")


    class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
        def __init__(self, parent=None):
            ScriptedLoadableModuleWidget.__init__(self, parent)
            VTKObservationMixin.__init__(self)
            self.clicks, self.ticks, self.closed, self.cleaned = [], 0, [], False
            self.wrapped = None

        def setup(self):
            ScriptedLoadableModuleWidget.setup(self)
            panel = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
            self.layout.addWidget(panel)
            self.ui = slicer.util.childWidgetVariables(panel)
            panel.setMRMLScene(slicer.mrmlScene)
            self.logic = TinyLogic()
            self.ui.fillButton.connect("clicked(bool)", self.onFill)
            self.ui.sliceTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
            self.timer = qt.QTimer(panel)
            self.timer.interval = 5
            self.timer.connect("timeout()", self.onTick)
            scene = slicer.mrmlScene
            self.addObserver(scene, scene.StartCloseEvent, lambda *_: self.closed.append("start"))
            self.addObserver(scene, scene.EndCloseEvent, lambda *_: self.closed.append("end"))

        def enter(self):
            self.ui.editor.installKeyboardShortcuts()
            self.wrapped = TinyParameterNode(self.logic.getParameterNode())
            self.tag = self.wrapped.connectGui(self.ui)

        def exit(self):
            self.ui.editor.uninstallKeyboardShortcuts()
            if self.wrapped:  # after a reload Slicer leaves without having entered
                self.wrapped.disconnectGui(self.tag)

        def cleanup(self):
            self.cleaned = True
            self.removeObservers()

        def onFill(self, checked):
            self.clicks.append(checked)
            self.ui.statusLabel.text = "Filling"
            self.ui.progressBar.value = 40
            self.ui.sliceTable.rowCount = 1
            self.ui.sliceTable.setItem(0, 0, qt.QTableWidgetItem("slice 7"))

        def onTick(self):
            self.ticks += 1


    class TinyLogic(ScriptedLoadableModuleLogic):
        pass


    class TinyTest(ScriptedLoadableModuleTest):
        def runTest(self):
            self.delayDisplay("running")
            slicer.tinyTestRan = True
    """
)


def _widget(cls: str, name: str, parameter: str = "", body: str = "") -> str:
    stored = f'<property name="SlicerParameterName" stdset="0"><string>{parameter}</string></property>'
    properties = (stored if parameter else "") + body
    return f'<item><widget class="{cls}" name="{name}">{properties}</widget></item>'


def _text(name: str, text: str) -> str:
    return f'<property name="{name}"><string>{text}</string></property>'


NODE_TYPES = '<property name="nodeTypes"><stringlist><string>{}</string></stringlist></property>'
NONE_ENABLED = '<property name="noneEnabled"><bool>true</bool></property>'
SECTION = '<layout class="QVBoxLayout" name="inputLayout">{}</layout>'
CUSTOM = "".join(
    f"<customwidget><class>{cls}</class><extends>QWidget</extends><header>{cls}.h</header></customwidget>"
    for cls in ("qMRMLWidget", "qMRMLNodeComboBox", "qMRMLSegmentEditorWidget", "ctkCollapsibleButton")
)
CONNECTIONS = "".join(
    f"<connection><sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>{name}</receiver>"
    "<slot>setMRMLScene(vtkMRMLScene*)</slot></connection>"
    for name in ("volumeSelector", "segmentationSelector", "editor")
)
SELECTORS = _widget(
    "qMRMLNodeComboBox",
    "volumeSelector",
    "volume",
    NODE_TYPES.format("vtkMRMLScalarVolumeNode") + NONE_ENABLED,
) + _widget(
    "qMRMLNodeComboBox",
    "segmentationSelector",
    "segmentation",
    NODE_TYPES.format("vtkMRMLSegmentationNode") + NONE_ENABLED,
)
WIDGETS = (
    _widget("ctkCollapsibleButton", "inputSection", body=_text("text", "Input") + SECTION.format(SELECTORS))
    + _widget("QComboBox", "axisBox", "axis")
    + _widget("QComboBox", "engineBox", "engine")
    + _widget("QSpinBox", "countBox", "count")
    + _widget("QCheckBox", "keepBox", "keep", _text("text", "Keep finished slices"))
    + _widget(
        "QTableWidget",
        "sliceTable",
        body='<column><property name="text"><string>A</string></property></column>',
    )
    + _widget("qMRMLSegmentEditorWidget", "editor")
    + _widget("QProgressBar", "progressBar")
    + _widget("QLabel", "statusLabel", body=_text("text", "Ready"))
    + _widget("QPushButton", "fillButton", body=_text("text", "Fill"))
)
UI = (
    '<?xml version="1.0" encoding="UTF-8"?><ui version="4.0"><class>Tiny</class>'
    '<widget class="qMRMLWidget" name="Tiny">'
    f'<layout class="QVBoxLayout" name="tinyLayout">{WIDGETS}</layout></widget>'
    f"<customwidgets>{CUSTOM}</customwidgets><resources/><connections>{CONNECTIONS}</connections></ui>"
)


@pytest.fixture
def scene() -> Any:
    slicer_standin.install()
    slicer_standin.slot_errors.clear()
    slicer_standin.dialogs().clear()
    return mrml.new_scene()


@pytest.fixture
def tiny(scene: Any, tmp_path: Path) -> Iterator[Any]:
    """The widget of a throw-away scripted module."""
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Tiny.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "Resources" / "UI" / "Tiny.ui").write_text(UI, encoding="utf-8")
    _, widget = slicer_standin.load_module(tmp_path / "Tiny.py")
    yield widget
    slicer_standin.close_module(widget)
    sys.path.remove(str(tmp_path))
    assert not slicer_standin.slot_errors


def test_undo_of_the_editor_logic_restores_the_segmentation(tiny: Any) -> None:
    volume, voxels = mrml.oblique_volume()
    before, after = voxels > 0, voxels > 500
    segmentation = mrml.add_segmentation(volume, {"liver": before})
    editor = tiny.ui.editor
    editor.setMRMLSegmentEditorNode(mrml.segment_editor_node(segmentation, volume, "Tiny"))
    assert editor.segmentationNode() is segmentation
    assert editor.currentSegmentID() == "liver"

    editor.saveStateForUndo()
    slicer.util.updateSegmentBinaryLabelmapFromArray(after.astype(np.uint8), segmentation, "liver", volume)
    assert np.array_equal(mrml.segment_array(segmentation, "liver"), after)
    editor.undo()
    assert np.array_equal(mrml.segment_array(segmentation, "liver"), before)
    editor.redo()
    assert np.array_equal(mrml.segment_array(segmentation, "liver"), after)
    assert editor.undo_states_saved == 1


def test_the_node_combo_box_and_the_parameter_node_follow_each_other(tiny: Any) -> None:
    first, _ = mrml.oblique_volume("first")
    second, _ = mrml.oblique_volume("second")
    selector = tiny.ui.volumeSelector
    assert selector.nodeCount() == 2
    assert selector.currentNode() is None
    assert tiny.wrapped.volume is None

    selector.setCurrentNode(first)
    assert tiny.wrapped.volume is first
    tiny.wrapped.parameterNode.SetNodeReferenceID("volume", second.GetID())
    assert selector.currentNode() is second
    assert selector.currentNodeID == second.GetID()
    tiny.wrapped.segmentation = mrml.add_segmentation(second)
    assert tiny.ui.segmentationSelector.currentNode().IsA("vtkMRMLSegmentationNode")


def test_the_node_combo_box_follows_nodes_that_are_renamed_hidden_and_removed(tiny: Any) -> None:
    volume, _ = mrml.oblique_volume("first")
    selector, emitted = tiny.ui.volumeSelector, []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", emitted.append)
    selector.connect("currentNodeChanged(bool)", emitted.append)
    selector.setCurrentNode(volume)
    assert emitted == [volume, True]
    volume.SetName("renamed")
    assert selector.findChild(sys.modules["qt"].QComboBox).currentText == "renamed"
    volume.SetHideFromEditors(True)
    volume.Modified()
    assert selector.nodeCount() == 0
    assert selector.currentNode() is None
    volume.SetHideFromEditors(False)
    volume.Modified()
    selector.setCurrentNode(volume)
    slicer.mrmlScene.RemoveNode(volume)
    assert selector.nodeCount() == 0
    assert tiny.wrapped.volume is None


def test_without_none_the_first_node_is_chosen(scene: Any) -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLVolumeNode"]
    assert not selector.enabled
    selector.setMRMLScene(scene)
    assert selector.enabled
    assert selector.currentNode() is None
    volume, _ = mrml.oblique_volume()
    assert selector.currentNode() is volume
    assert selector.addNode("vtkMRMLScalarVolumeNode") is selector.currentNode()


@pytest.mark.parametrize(
    ("box", "property_name", "value", "parameter", "expected"),
    [
        ("keepBox", "checked", False, "keep", "False"),
        ("countBox", "value", 7, "count", "7"),
        ("engineBox", "currentIndex", 0, "engine", "interpolate"),
        ("axisBox", "currentIndex", 1, "axis", "FIRST"),
    ],
)
def test_plain_widgets_and_parameters_follow_each_other(
    tiny: Any, box: str, property_name: str, value: Any, parameter: str, expected: str
) -> None:
    node, widget = tiny.wrapped.parameterNode, getattr(tiny.ui, box)
    original, stored = getattr(widget, property_name), node.GetParameter(parameter)
    setattr(widget, property_name, value)
    assert node.GetParameter(parameter) == expected != stored
    node.SetParameter(parameter, stored)
    assert getattr(widget, property_name) == original


def test_a_disconnected_gui_no_longer_writes(tiny: Any) -> None:
    tiny.wrapped.disconnectGui(tiny.tag)
    tiny.ui.keepBox.checked = False
    assert tiny.wrapped.keep is True


def test_a_parameter_refuses_another_type_and_a_value_out_of_range(tiny: Any) -> None:
    with pytest.raises(TypeError, match="keep"):
        tiny.wrapped.keep = "yes"
    with pytest.raises(ValueError, match="within"):
        tiny.wrapped.count = 10
    assert tiny.wrapped.count == 3


def test_a_button_calls_its_slot_by_string_signal_until_disconnected(tiny: Any) -> None:
    tiny.ui.fillButton.click()
    assert tiny.clicks == [False]
    assert (tiny.ui.statusLabel.text, tiny.ui.progressBar.value) == ("Filling", 40)
    assert tiny.ui.sliceTable.rowCount == 1
    assert tiny.ui.sliceTable.item(0, 0).text() == "slice 7"
    assert tiny.ui.fillButton.disconnect("clicked(bool)", tiny.onFill)
    tiny.ui.fillButton.click()
    assert tiny.clicks == [False]


def test_the_stand_in_refuses_what_pythonqt_refuses(tiny: Any) -> None:
    with pytest.raises(TypeError):
        tiny.ui.statusLabel.text()
    assert tiny.ui.fillButton.connect("clacked()", print) is False
    assert "no signal clacked()" in str(slicer_standin.slot_errors.pop())
    with pytest.raises(AttributeError, match="toolTipp"):
        tiny.ui.fillButton.toolTipp = "typo"
    assert not hasattr(sys.modules["qt"], "Signal")
    with pytest.raises(TypeError):
        sys.modules["ctk"].ctkCollapsibleButton("text")


def test_lists_come_back_as_tuples_and_constants_and_icons_are_those_of_slicer(tiny: Any) -> None:
    assert isinstance(tiny.ui.fillButton.parent().findChildren(sys.modules["qt"].QPushButton), tuple)
    editor = slicer.qMRMLSegmentEditorWidget()
    assert isinstance(editor.availableEffectNames(), tuple)
    assert isinstance(editor.effectNameOrder(), tuple)
    editor.clean_up_effects()
    assert sys.modules["ctk"].ctkPathLineEdit.Writable == 0x20
    assert isinstance(vars(type(slicer_standin.scripted_effect("Any")))["icon"], property)


def test_sizes_are_properties_and_plain_tool_tips_come_back_as_rich_text(tiny: Any) -> None:
    button = tiny.ui.fillButton
    assert (button.sizeHint.width(), button.minimumSizeHint.height()) > (0, 0)
    with pytest.raises(TypeError):
        button.sizeHint()
    for text, rich_text in (("a & b\nc", "<p>a &amp; b<br>\nc</p>"), ("<b>a</b>", "<b>a</b>"), ("", "")):
        button.toolTip = text
        assert button.toolTip == rich_text
        button.toolTip = button.toolTip
        assert button.toolTip == rich_text


def test_exported_classes_are_what_widgets_of_a_ui_file_are(tiny: Any) -> None:
    qt, ctk = sys.modules["qt"], sys.modules["ctk"]
    assert type(tiny.ui.fillButton) is qt.QPushButton
    assert isinstance(tiny.ui.fillButton, qt.QWidget)
    assert not isinstance(tiny.ui.fillButton, qt.QLabel)
    assert isinstance(tiny.ui.inputSection, ctk.ctkCollapsibleButton)
    assert tiny.ui.fillButton.name == "fillButton"


def test_a_collapsed_section_hides_its_contents(tiny: Any) -> None:
    tiny.parent.show()
    assert tiny.ui.volumeSelector.visible
    tiny.ui.inputSection.collapsed = True
    assert not tiny.ui.volumeSelector.visible
    tiny.ui.inputSection.collapsed = False
    assert tiny.ui.volumeSelector.visible


def test_a_timer_ticks_while_events_are_processed(tiny: Any) -> None:
    tiny.timer.start()
    while tiny.ticks < 2:
        slicer_standin.process_events(5)
    tiny.timer.stop()
    assert not tiny.timer.active


def test_closing_the_scene_empties_selectors_and_notifies_the_module(tiny: Any) -> None:
    volume, _ = mrml.oblique_volume()
    tiny.ui.volumeSelector.setCurrentNode(volume)
    del volume
    mrml.clear_scene()
    assert tiny.closed == ["start", "end"]
    assert tiny.ui.volumeSelector.currentNode() is None
    assert tiny.ui.volumeSelector.nodeCount() == 0
    assert tiny.logic.getParameterNode() is tiny.wrapped.parameterNode


def test_entering_leaving_and_cleaning_up_reach_the_module(tiny: Any, tmp_path: Path) -> None:
    editor = tiny.ui.editor
    slicer_standin.close_module(tiny)
    assert tiny.cleaned
    assert editor.calls == ["installKeyboardShortcuts", "uninstallKeyboardShortcuts"]
    assert not hasattr(slicer.modules, "tiny")
    _, again = slicer_standin.load_module(tmp_path / "Tiny.py")
    assert slicer.modules.TinyWidget is again is not tiny
    slicer_standin.close_module(again)


def test_reloading_creates_a_new_widget(tiny: Any) -> None:
    tiny.onReload()
    assert slicer.modules.TinyWidget is not tiny
    assert tiny.cleaned


def test_the_self_test_of_a_module_runs(tiny: Any) -> None:
    slicer.modules.TinyInstance.runTest(msec=0)
    assert slicer.tinyTestRan


def test_dialogs_are_recorded_and_answered_as_prepared(scene: Any) -> None:
    recorder = slicer_standin.dialogs()
    recorder.answer_next("No", "Cancel")
    assert not slicer.util.confirmYesNoDisplay("Overwrite?")
    assert not slicer.util.confirmOkCancelDisplay("Discard?")
    assert slicer.util.confirmOkCancelDisplay("Again?")
    slicer.util.errorDisplay("No labelled slice", detailedText="trace")
    assert recorder.texts == ["Overwrite?", "Discard?", "Again?", "No labelled slice"]
    assert recorder.shown[-1].detail == "trace"


def test_a_message_box_with_buttons_of_its_own_reports_the_one_clicked(scene: Any) -> None:
    qt = sys.modules["qt"]
    box = qt.QMessageBox()
    box.text = "Stop?"
    keep = box.addButton("Keep", qt.QMessageBox.AcceptRole)
    box.addButton("Discard", qt.QMessageBox.DestructiveRole)
    slicer_standin.dialogs().answer_next("Keep")
    box.exec_()
    assert box.clickedButton() is keep
    with pytest.raises(AssertionError, match="no button 'Maybe'"):
        slicer_standin.dialogs().answer_next("Maybe")
        box.exec_()


def test_a_file_dialog_returns_a_bare_path_and_is_cancelled_by_default(scene: Any) -> None:
    qt = sys.modules["qt"]
    assert qt.QFileDialog.getSaveFileName(None, "Export") == ""
    slicer_standin.dialogs().answer_next("/data/out.nii.gz")
    assert qt.QFileDialog.getSaveFileName(None, "Export", "", "*.nii.gz") == "/data/out.nii.gz"


def test_errors_in_slots_are_recorded_for_the_test(scene: Any, capsys: pytest.CaptureFixture[str]) -> None:
    qt = sys.modules["qt"]
    button = qt.QPushButton("x")

    def fail() -> None:
        raise RuntimeError("in a slot")

    button.connect("clicked()", fail)
    button.click()
    assert [str(error) for error in slicer_standin.slot_errors] == ["in a slot"]
    slicer_standin.slot_errors.clear()


def test_a_picture_of_the_panel_shows_text(tiny: Any, tmp_path: Path) -> None:
    slicer.app.processEvents()
    tiny.parent.resize(420, 800)
    pictures = []
    for text in ("Ready", "Finished 31 of 40 slices"):
        tiny.ui.statusLabel.text = text
        picture = tmp_path / f"{len(pictures)}.png"
        assert tiny.parent.grab().save(str(picture))
        pictures.append(_gray_levels(picture))
    assert pictures[0].shape == (800, 420)
    assert len(np.unique(pictures[0])) > 20
    changed = np.argwhere(pictures[0] != pictures[1])
    assert 100 < len(changed) < 5000, "another text must change some of the picture, not none and not all"


def _gray_levels(path: Path) -> np.ndarray:
    import matplotlib.image

    return matplotlib.image.imread(path)[..., :3].mean(axis=2)
