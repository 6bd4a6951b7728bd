"""Stand-in for qMRMLNodeComboBox: lists the nodes of the real scene and follows it."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6.QtCore import Property, Qt, Signal

from support.slicer_standin.mrml_widget import Observations
from support.slicer_standin.qt_module import custom_widget, qt

_NODE_ID = Qt.ItemDataRole.UserRole


def _plain(name: str, kind: Any, refresh: bool = False) -> Any:
    """Return a Qt property that is kept in the attribute `_<name>`."""

    def write(self: Any, value: Any) -> None:
        setattr(self, f"_{name}", value)
        if refresh:
            self._refresh()

    return Property(kind, lambda self: getattr(self, f"_{name}"), write)


@custom_widget
class qMRMLNodeComboBox(qt.QWidget):
    """Chooses a node of the scene. Without None, the first node that appears is chosen, as in Slicer."""

    currentNodeChanged = Signal(object)
    currentNodeValidityChanged = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeActivated = Signal(object)
    SIGNALS: ClassVar[dict[str, str]] = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "currentNodeValidityChanged",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
    }

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observations = Observations(self)
        self._renames = Observations(self)
        self._nodeTypes: list[str] = []
        self._hideChildNodeTypes: list[str] = []
        self._showChildNodeTypes = self._selectNodeUponCreation = self._addEnabled = True
        self._removeEnabled = True
        self._noneEnabled = self._showHidden = self._editEnabled = self._renameEnabled = False
        self._noneDisplay, self._baseName = "None", ""
        self._attributes: dict[tuple[str, str], Any] = {}
        self._current_id: str | None = None
        self._requested_id: str | None = None
        self._box = qt.QComboBox(self)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(self._on_index_changed)
        self._box.activated.connect(lambda index: self.nodeActivated.emit(self._node_at(index)))
        self.setEnabled(False)

    nodeTypes = _plain("nodeTypes", "QStringList", refresh=True)
    hideChildNodeTypes = _plain("hideChildNodeTypes", "QStringList", refresh=True)
    showChildNodeTypes = _plain("showChildNodeTypes", bool, refresh=True)
    showHidden = _plain("showHidden", bool, refresh=True)
    noneEnabled = _plain("noneEnabled", bool, refresh=True)
    noneDisplay = _plain("noneDisplay", str, refresh=True)
    addEnabled = _plain("addEnabled", bool)
    removeEnabled = _plain("removeEnabled", bool)
    editEnabled = _plain("editEnabled", bool)
    renameEnabled = _plain("renameEnabled", bool)
    selectNodeUponCreation = _plain("selectNodeUponCreation", bool)
    baseName = _plain("baseName", str)

    def setMRMLScene(self, scene: Any) -> None:
        """Follow `scene`; the widget is disabled without one."""
        if scene is self._scene:
            return
        self._observations.clear()
        self._scene = scene
        self.setEnabled(scene is not None)
        if scene is not None:
            for event in (slicer.vtkMRMLScene.EndBatchProcessEvent, slicer.vtkMRMLScene.EndCloseEvent):
                self._observations.add(scene, event, self._refresh)
            self._observations.add_node_event(scene, slicer.vtkMRMLScene.NodeAddedEvent, self._on_added)
            self._observations.add_node_event(
                scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_about_to_be_removed
            )
            self._observations.add_node_event(scene, slicer.vtkMRMLScene.NodeRemovedEvent, self._on_removed)
        self._refresh()
        if self._requested_id is not None:
            requested, self._requested_id = self._requested_id, None
            self.setCurrentNodeID(requested)

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def currentNode(self) -> Any:
        """Return the chosen node or None."""
        return self._scene.GetNodeByID(self._current_id) if self._scene and self._current_id else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node, an id or None; a node that is not listed counts as None."""
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def _get_current_id(self) -> str:
        return self._current_id or ""

    def setCurrentNodeID(self, node_id: str) -> None:
        """Choose by id; kept until there is a scene."""
        if self._scene is None:
            self._requested_id = node_id
            return
        index = self._box.findData(node_id, _NODE_ID) if node_id else -1
        self._box.setCurrentIndex(index if index >= 0 else 0 if self._noneEnabled else -1)

    currentNodeID = Property(str, _get_current_id, setCurrentNodeID)

    def nodeCount(self) -> int:
        """Return the number of nodes listed."""
        return self._box.count - int(self._noneEnabled)

    def nodeFromIndex(self, index: int) -> Any:
        """Return the node at an index in the list, None not counted."""
        return self._node_at(index + int(self._noneEnabled))

    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose by index in the list."""
        self._box.setCurrentIndex(index + int(self._noneEnabled))

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """List only nodes of this type with the attribute; without a value, any value matches."""
        self._attributes[node_type, name] = value
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        """Undo `addAttribute`."""
        self._attributes.pop((node_type, name), None)
        self._refresh()

    def addNode(self, node_type: str = "") -> Any:
        """Create a node as the menu entry *Create new* does."""
        node_type = node_type or self._nodeTypes[0]
        node = self._scene.CreateNodeByClass(node_type)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self._baseName or node.GetNodeTagName()))
        for (attribute_type, name), value in self._attributes.items():
            if node.IsA(attribute_type):
                node.SetAttribute(name, str(value))
        node = self._scene.AddNode(node)
        if self._selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _node_at(self, index: int) -> Any:
        node_id = self._box.itemData(index, _NODE_ID) if index >= 0 else None
        return self._scene.GetNodeByID(node_id) if self._scene and node_id else None

    def _lists(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._showHidden:
            return False
        if any(node.IsA(excluded) for excluded in self._hideChildNodeTypes):
            return False
        of_type = node.IsA if self._showChildNodeTypes else node.GetClassName().__eq__
        if not any(of_type(node_type) for node_type in self._nodeTypes):
            return False
        for (node_type, name), value in self._attributes.items():
            found = node.GetAttribute(name)
            if node.IsA(node_type) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    def _listed_nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._lists(node)]

    def _on_added(self, node: Any) -> None:
        if not self._scene.IsBatchProcessing() and self._lists(node):
            self._refresh()
            self.nodeAdded.emit(node)

    def _on_about_to_be_removed(self, node: Any) -> None:
        if self._lists(node):
            self.nodeAboutToBeRemoved.emit(node)

    def _on_removed(self, node: Any) -> None:
        if not self._scene.IsBatchProcessing():
            self._refresh()

    def _refresh(self) -> None:
        """List again; keep the choice if it is still there, else choose its neighbour."""
        old_index, nodes = self._box.currentIndex, self._listed_nodes()
        was_blocked = self._box.blockSignals(True)
        self._box.clear()
        if self._noneEnabled:
            self._box.addItem(self._noneDisplay)
        self._renames.clear()
        for node in nodes:
            self._box.addItem(node.GetName() or "")
            self._box.setItemData(self._box.count - 1, node.GetID(), _NODE_ID)
            self._renames.add(node, vtk.vtkCommand.ModifiedEvent, self._on_node_modified)
        index = self._box.findData(self._current_id, _NODE_ID) if self._current_id else -1
        if index < 0:
            index = min(max(old_index, 0), self._box.count - 1)
        self._box.setCurrentIndex(index)
        self._box.blockSignals(was_blocked)
        self._on_index_changed(index)

    def _on_node_modified(self) -> None:
        nodes, first = self._listed_nodes(), int(self._noneEnabled)
        shown = [self._box.itemData(i, _NODE_ID) for i in range(first, self._box.count)]
        if [node.GetID() for node in nodes] != shown:
            self._refresh()
            return
        for index, node in enumerate(nodes, first):
            if self._box.itemText(index) != node.GetName():
                self._box.setItemText(index, node.GetName())

    def _on_index_changed(self, index: int) -> None:
        node_id = self._box.itemData(index, _NODE_ID) if index >= 0 else None
        if node_id == self._current_id:
            return
        self._current_id = node_id
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeValidityChanged.emit(node is not None)
        self.currentNodeIDChanged.emit(node_id or "")
