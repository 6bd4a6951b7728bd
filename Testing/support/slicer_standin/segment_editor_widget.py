"""Stand-ins for qMRMLSegmentEditorWidget and qMRMLSegmentsTableView: real editor logic, placeholder widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import slicer
import vtk
from PySide6.QtCore import Property, Signal

from support.mrml import application_logic
from support.slicer_standin.mrml_widget import Observations, qMRMLWidget
from support.slicer_standin.qt_module import custom_widget, qt
from support.slicer_standin.segment_editor_effect import EditorEffects

_EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Threshold")
# More of Slicer's own effects, for the layout only.
_OTHER_EFFECTS = ("Margin", "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume")
_ORDER = ("Threshold", *_EFFECTS[:-1])


def _segment_names(segmentation_node: Any) -> list[str]:
    segmentation = segmentation_node.GetSegmentation()
    return [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]


def _placeholder(button: Any) -> Any:
    button.setToolTip("Of the Segment Editor (stand-in)")
    return button


def _tool_button(mark: str) -> Any:
    button = _placeholder(qt.QToolButton())
    button.setText(mark)
    button.setFixedSize(26, 26)
    return button


def _remembered(name: str, kind: Any, default: Any) -> Any:
    key = f"_{name}"
    return Property(
        kind,
        lambda self: default if self.property(key) is None else self.property(key),
        lambda self, value: self.setProperty(key, value),
    )


@custom_widget
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Embeds a real vtkSlicerSegmentEditorLogic; Slicer's own effects are only names, views are only counted.

    `calls` lists the life-cycle methods in the order in which they were called.
    """

    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    SIGNALS: ClassVar[dict[str, str]] = {
        "currentSegmentIDChanged(QString)": "currentSegmentIDChanged",
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)": "segmentationNodeChanged",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)": "sourceVolumeNodeChanged",
    }

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._effect = ""
        self._order: tuple[str, ...] = _ORDER
        self._calls: list[str] = []
        self._seen: tuple[Any, Any, str] = (None, None, "")
        self._chosen_in_batch = False
        self._node_observations = Observations(self)
        self._scene_observations = Observations(self)
        self._segment_observations = Observations(self)
        self._columns = 2
        self._build()
        self._scripted = EditorEffects(self)
        self.updateEffectList()

    segmentationNodeSelectorVisible = _remembered("segmentation_selector", bool, True)
    sourceVolumeNodeSelectorVisible = _remembered("volume_selector", bool, True)
    maskingSectionVisible = _remembered("masking_section", bool, True)
    specifyGeometryButtonVisible = _remembered("geometry_button", bool, False)
    switchToSegmentationsButtonVisible = _remembered("switch_button", bool, True)
    show3DButtonVisible = _remembered("show_3d_button", bool, True)
    addRemoveSegmentButtonsVisible = _remembered("segment_buttons", bool, True)
    autoShowSourceVolumeNode = _remembered("auto_show", bool, True)
    unorderedEffectsVisible = _remembered("unordered", bool, True)
    undoEnabled = _remembered("undo_enabled", bool, True)
    readOnly = _remembered("read_only", bool, False)
    effectColumnCount = Property(int, lambda self: self._columns, lambda self, count: self._set_columns(count))
    jumpToSelectedSegmentEnabled = _remembered("jump", bool, False)
    maximumNumberOfUndoStates = Property(
        int,
        lambda self: self._logic.GetMaximumNumberOfUndoStates(),
        lambda self, count: self._logic.SetMaximumNumberOfUndoStates(count),
    )

    @property
    def calls(self) -> list[str]:
        """Names of the life-cycle methods called so far."""
        return self._calls

    @property
    def undo_states_saved(self) -> int:
        """How often `saveStateForUndo` was called."""
        return self._calls.count("saveStateForUndo")

    @property
    def logic(self) -> Any:
        """The editor logic inside; Slicer's widget gives no access to it, so this is only for tests."""
        return self._logic

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene of the widget and its logic."""
        super().setMRMLScene(scene)
        self._scene_observations.clear()
        self._scene_observations.add(scene, slicer.vtkMRMLScene.EndBatchProcessEvent, self._on_end_batch)
        self._logic.SetMRMLApplicationLogic(application_logic())
        self._logic.SetMRMLScene(scene)
        self._logic.SetVerbose(True)
        self._update()

    def mrmlSegmentEditorNode(self) -> Any:
        """Return the parameter set node."""
        return self._node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Set the parameter set node, which holds all choices."""
        self._calls.append("setMRMLSegmentEditorNode")
        self._node_observations.clear()
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self._scripted.set_node(node)
        if node is not None:
            self._node_observations.add(node, vtk.vtkCommand.ModifiedEvent, self._update)
        self._update()

    def segmentationNode(self) -> Any:
        """Return the segmentation being edited."""
        return self._node.GetSegmentationNode() if self._node else None

    def segmentationNodeID(self) -> str:
        """Return the id of the segmentation being edited."""
        return self.segmentationNode().GetID() if self.segmentationNode() else ""

    def setSegmentationNode(self, node: Any) -> None:
        """Edit another segmentation; ends the active effect. Lasts only if the scene is not in batch processing."""
        self._chosen_in_batch = self._in_batch()
        if self._logic.GetSegmentationNode() is not node:
            self._logic.SetSegmentationNode(node)
            self.setActiveEffect(None)
        self._update()

    def sourceVolumeNode(self) -> Any:
        """Return the volume the editor works over."""
        return self._node.GetSourceVolumeNode() if self._node else None

    def setSourceVolumeNode(self, node: Any) -> None:
        """Set the volume the editor works over."""
        self._logic.SetSourceVolumeNode(node)
        self._update()

    def currentSegmentID(self) -> str:
        """Return the id of the selected segment."""
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Select a segment."""
        if self._node is not None:
            self._node.SetSelectedSegmentID(segment_id)

    def saveStateForUndo(self) -> None:
        """Save the segmentation in the logic's undo history."""
        self._calls.append("saveStateForUndo")
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        """Restore the last saved state."""
        self._calls.append("undo")
        self._logic.Undo()

    def redo(self) -> None:
        """Restore the next saved state."""
        self._calls.append("redo")
        self._logic.Redo()

    def availableEffectNames(self) -> tuple[str, ...]:
        """Return the names of the effects that the stand-in pretends to have, and of scripted ones."""
        return (*_EFFECTS, *self._scripted.names())

    def updateEffectList(self) -> None:
        """Add the effects that were registered since the widget was made."""
        self._scripted.update()
        self._arrange()

    def effectNameOrder(self) -> tuple[str, ...]:
        """Return the names of effects in the order in which their buttons are shown."""
        return self._order

    def setEffectNameOrder(self, names: Sequence[str]) -> None:
        """Set the order of the buttons, and with `unorderedEffectsVisible` off, which are shown."""
        self._order = tuple(names)

    def shown_effect_names(self) -> list[str]:
        """Names of the effects that have a button; for tests alone."""
        known = self.availableEffectNames()
        ordered = [name for name in self._order if name in known]
        others = [name for name in known if name not in ordered] if self.unorderedEffectsVisible else []
        return ordered + others

    def effectByName(self, name: str) -> Any:
        """Return the effect or None; for Slicer's own effects, only their name."""
        return name if name in _EFFECTS else self._scripted.by_name(name)

    def activeEffect(self) -> Any:
        """Return the active effect or None; for Slicer's own effects, only their name."""
        return self.effectByName(self._effect)

    def setActiveEffect(self, effect: Any) -> None:
        """Activate an effect, or end the active one."""
        self._effect = getattr(effect, "name", effect) or ""
        self._calls.append(f"setActiveEffect({self._effect})")
        if self._node is not None:
            self._node.SetActiveEffectName(self._effect)
        self._scripted.activate(self._effect)

    def setActiveEffectByName(self, name: str) -> None:
        """Activate an effect by name; an unknown name ends the active one."""
        self.setActiveEffect(self.effectByName(name))

    def clean_up_effects(self) -> None:
        """What Slicer's destructor does first; for tests alone."""
        self._scripted.clean_up()

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        """Count the call."""
        self._calls.append("installKeyboardShortcuts")

    def uninstallKeyboardShortcuts(self) -> None:
        """Count the call."""
        self._calls.append("uninstallKeyboardShortcuts")

    def setupViewObservations(self) -> None:
        """Count the call."""
        self._calls.append("setupViewObservations")

    def removeViewObservations(self) -> None:
        """Count the call."""
        self._calls.append("removeViewObservations")

    def updateWidgetFromMRML(self) -> None:
        """Show the parameter set node."""
        self._update()

    def rotateSliceViewsToSegmentation(self) -> None:
        """Count the call: there are no views."""
        self._calls.append("rotateSliceViewsToSegmentation")

    def _in_batch(self) -> bool:
        return self.mrmlScene() is not None and bool(self.mrmlScene().IsBatchProcessing())

    def _on_end_batch(self) -> None:
        """As in Slicer, where the selectors inside list nothing new until now, and then choose no node."""
        if self._chosen_in_batch:
            self._chosen_in_batch = False
            self.setSegmentationNode(None)
            self.setSourceVolumeNode(None)

    def _update(self) -> None:
        seen = (self.segmentationNode(), self.sourceVolumeNode(), self.currentSegmentID())
        before, self._seen = self._seen, seen
        if seen[0] is not before[0]:
            self._segment_observations.clear()
            if seen[0] is not None:
                for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                    self._segment_observations.add(seen[0].GetSegmentation(), event, self._draw)
            self.segmentationNodeChanged.emit(seen[0])
        if seen[1] is not before[1]:
            self.sourceVolumeNodeChanged.emit(seen[1])
        if seen[2] != before[2]:
            self.currentSegmentIDChanged.emit(seen[2])
        if seen != before:
            self._scripted.show()
        self._draw()

    def _draw(self) -> None:
        self._list.clear()
        if self.segmentationNode() is not None:
            self._list.addItems(_segment_names(self.segmentationNode()))

    # --- layout: placeholders as large as Slicer's widgets

    def _build(self) -> None:
        rows, buttons, columns = qt.QVBoxLayout(self), qt.QHBoxLayout(), qt.QHBoxLayout()
        for title in ("Add", "Remove", "Show 3D"):
            buttons.addWidget(_placeholder(qt.QPushButton(title)))
        rows.addLayout(buttons)
        rows.addLayout(columns)
        self._effects, undo = qt.QFrame(), qt.QFrame()
        qt.QGridLayout(self._effects)
        undo_layout = qt.QHBoxLayout(undo)
        for mark in ("\N{ANTICLOCKWISE OPEN CIRCLE ARROW}", "\N{CLOCKWISE OPEN CIRCLE ARROW}"):
            undo_layout.addWidget(_tool_button(mark))
        left, right = qt.QVBoxLayout(), qt.QVBoxLayout()
        for frame in (self._effects, undo):
            frame.setFrameShape(qt.QFrame.Shape.StyledPanel)
            left.addWidget(frame)
        self._list = qt.QListWidget()
        self._list.setToolTip("Segments (stand-in)")
        right.addWidget(self._list)
        self._options = qt.QVBoxLayout()
        right.addLayout(self._options)
        for column in (left, right):
            policy = qt.QSizePolicy.Policy
            column.addItem(qt.QSpacerItem(20, 40, policy.Minimum, policy.Expanding))
            columns.addLayout(column)

    def _arrange(self) -> None:
        """Arrange the buttons of the effects again."""
        grid = self._effects.layout()
        while (item := grid.takeAt(0)) is not None:
            item.widget().deleteLater()
        names = ["None", *self.shown_effect_names(), *_OTHER_EFFECTS]
        for number, name in enumerate(names):
            grid.addWidget(_tool_button(name[0]), number // self._columns, number % self._columns)

    def _set_columns(self, count: int) -> None:
        self._columns = count
        self._arrange()

    def options_layout(self) -> Any:
        """Where the options of effects are; for the stand-ins of effects alone."""
        return self._options


@custom_widget
class qMRMLSegmentsTableView(qMRMLWidget):
    """Lists the segments of a segmentation by name."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._list = qt.QListWidget(self)
        qt.QVBoxLayout(self).addWidget(self._list)
        self._observations = Observations(self)

    def segmentationNode(self) -> Any:
        """Return the segmentation shown."""
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Show another segmentation."""
        self._observations.clear()
        self._node = node
        if node is not None:
            for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                self._observations.add(node.GetSegmentation(), event, self._fill)
        self._fill()

    def selectedSegmentIDs(self) -> list[str]:
        """Return the ids of the selected segments."""
        rows = sorted(self._list.row(item) for item in self._list.selectedItems())
        return [self._node.GetSegmentation().GetNthSegmentID(row) for row in rows]

    def _fill(self) -> None:
        self._list.clear()
        if self._node is not None:
            self._list.addItems(_segment_names(self._node))
