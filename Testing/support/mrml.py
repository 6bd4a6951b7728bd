"""Real MRML for tests: scene, application logic and module logics of slicer-core, started as Slicer does."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Without this, ITK's own thread pool can crash the process at exit.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_THREADER", "Platform")

import numpy as np
import slicer
import vtk
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from support.slicer_share import write_slicer_share

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

# Name of `slicer.modules.<name>`, name it is registered under, class of its logic.
_MODULES = (
    ("colors", "Colors", "vtkSlicerColorLogic"),
    ("volumes", "Volumes", "vtkSlicerVolumesLogic"),
    ("terminologies", "Terminologies", "vtkSlicerTerminologiesModuleLogic"),
    ("subjecthierarchy", "SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    ("segmentations", "Segmentations", "vtkSlicerSegmentationsModuleLogic"),
)

# The application logic holds module logics weakly, so they are kept here for the life of the process.
_kept: dict[str, Any] = {}

OBLIQUE = Rotation.from_euler("xyz", [20, -13, 37], degrees=True).as_matrix()


class ModuleStandIn:
    """Entry of `slicer.modules`: what Slicer calls a module object, reduced to its name, path and logic."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name = name
        self.title = name
        self.path = path
        self._logic = logic
        self.panel: Any = None

    def logic(self) -> Any:
        """Return the C++ logic of the module."""
        return self._logic

    def widgetRepresentation(self) -> Any:
        """Return the module's panel, if the Qt stand-in made one."""
        return self.panel


def start_mrml() -> Any:
    """Start MRML once per process and return the current `slicer.mrmlScene`."""
    if "application" not in _kept:
        _kept["application"] = _start_application_logic()
        for _, registered_name, class_name in _MODULES:
            _kept[registered_name] = getattr(slicer, class_name)()
            _kept[registered_name].SetMRMLApplicationLogic(_kept["application"])
        share = Path(_kept["application"].GetHomeDirectory()) / "share"
        _kept["Terminologies"].SetModuleShareDirectory(str(share / "Terminologies"))
        slicer.modules = SimpleNamespace(**{key: ModuleStandIn(name, _kept[name]) for key, name, _ in _MODULES})
        new_scene()
        atexit.register(_delete_scene)
    return slicer.mrmlScene


def _start_application_logic() -> Any:
    home = Path(tempfile.mkdtemp(prefix="slicer-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    write_slicer_share(home / "share")
    (home / "tmp").mkdir()
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetHomeDirectory(str(home))
    logic.SetShareDirectory("share")
    logic.SetTemporaryPath(str(home / "tmp"))
    return logic


def application_logic() -> Any:
    """Return the one vtkSlicerApplicationLogic of the process."""
    start_mrml()
    return _kept["application"]


def new_scene() -> Any:
    """Delete the old scene, singletons too, and make a new `slicer.mrmlScene`."""
    if "application" not in _kept:
        return start_mrml()
    _delete_scene()
    scene = slicer.vtkMRMLScene()
    application = _kept["application"]
    application.SetMRMLScene(scene)
    application.SetColorLogic(_kept["Colors"])
    for _, name, _ in _MODULES:
        _kept[name].SetMRMLScene(scene)
        application.SetModuleLogic(name, _kept[name])
    slicer.mrmlScene = scene
    _kept["hierarchy tags"] = _keep_subject_hierarchy(scene)
    return scene


def _delete_scene() -> None:
    """Empty the scene before the interpreter shuts down: its destructor would call deleted observers."""
    scene = getattr(slicer, "mrmlScene", None)
    if scene is not None:
        scene.Clear(True)
        for tag in _kept.pop("hierarchy tags", ()):
            scene.RemoveObserver(tag)


# Slicer's Qt layer, not its logic, puts nodes into the subject hierarchy. This stands in for it.
_SUBJECT_HIERARCHY_CLASSES = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTextNode",
    "vtkMRMLTableNode",
)


def _keep_subject_hierarchy(scene: Any) -> tuple[int, int]:
    def on_node_added(node: Any) -> None:
        if not any(node.IsA(name) for name in _SUBJECT_HIERARCHY_CLASSES) or node.GetHideFromEditors():
            return
        hierarchy = scene.GetSubjectHierarchyNode()
        if hierarchy and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def on_node_about_to_be_removed(node: Any) -> None:
        hierarchy = scene.GetSubjectHierarchyNode() if not scene.IsClosing() else None
        item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    return (
        observe_node_event(scene, slicer.vtkMRMLScene.NodeAddedEvent, on_node_added),
        observe_node_event(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, on_node_about_to_be_removed),
    )


def observe_node_event(scene: Any, event: int, callback: Callable[[Any], None]) -> int:
    """Call `callback(node)` at each scene event whose call data is a node. Returns the observation's tag."""

    def on_event(caller: Any, event: str, node: Any = None) -> None:
        # While the interpreter shuts down, VTK no longer hands over the node.
        if node is not None:
            callback(node)

    on_event.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
    return scene.AddObserver(event, on_event)


def clear_scene() -> None:
    """Close the scene as File > Close Scene does: StartCloseEvent, EndCloseEvent; singletons stay."""
    start_mrml().Clear(False)


def add_volume(
    array_kji: NDArray[Any],
    spacing: ArrayLike = (1.0, 1.0, 1.0),
    origin_lps: ArrayLike = (0.0, 0.0, 0.0),
    direction: ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    name: str = "Volume",
) -> Any:
    """Add a vtkMRMLScalarVolumeNode.

    Parameters
    ----------
    array_kji
        Voxels ``[k, j, i]``, copied.
    spacing
        Along i, j, k in mm.
    origin_lps
        Position of voxel (0, 0, 0) in LPS, mm.
    direction
        3x3, columns are the LPS directions of i, j, k (as in ITK).
    name
        Name of the node.
    """
    start_mrml()
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = LPS_TO_RAS @ np.asarray(direction, float).reshape(3, 3) @ np.diag(np.asarray(spacing))
    ijk_to_ras[:3, 3] = LPS_TO_RAS @ np.asarray(origin_lps, float)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array_kji))
    node.CreateDefaultDisplayNodes()
    return node


def oblique_volume(name: str = "ct") -> tuple[Any, np.ndarray]:
    """A small anisotropic volume in the scene, with direction `OBLIQUE`, and its voxels."""
    voxels = np.random.default_rng(7).integers(-1000, 1000, (6, 9, 11)).astype(np.int16)
    return add_volume(voxels, (0.7, 0.9, 3.3), (11.0, -22.0, 33.0), OBLIQUE, name), voxels


def add_segmentation(
    volume_node: Any, masks_kji: dict[str, NDArray[Any]] | None = None, name: str = "Segmentation"
) -> Any:
    """Add a vtkMRMLSegmentationNode on the grid of `volume_node`, with one segment per entry of `masks_kji`.

    A mask of zeros, or None, gives a segment without any voxel. Segment ids equal segment names.
    """
    start_mrml()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    for segment_name, mask in (masks_kji or {}).items():
        segment_id = node.GetSegmentation().AddEmptySegment(segment_name, segment_name)
        if mask is not None and np.any(mask):
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                np.ascontiguousarray(mask, dtype=np.uint8), node, segment_id, volume_node
            )
    return node


def segment_array(segmentation_node: Any, segment_id: str) -> NDArray[np.bool_]:
    """Return the voxels ``[k, j, i]`` of a segment on its reference volume's grid."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id) > 0


def segment_editor_node(segmentation_node: Any, volume_node: Any, singleton_tag: str = "") -> Any:
    """Add a vtkMRMLSegmentEditorNode that edits `segmentation_node` over `volume_node`."""
    start_mrml()
    node = slicer.vtkMRMLSegmentEditorNode()
    if singleton_tag:
        node.SetSingletonTag(singleton_tag)
    node = slicer.mrmlScene.AddNode(node)
    node.SetAndObserveSegmentationNode(segmentation_node)
    node.SetAndObserveSourceVolumeNode(volume_node)
    if segmentation_node.GetSegmentation().GetNumberOfSegments():
        node.SetSelectedSegmentID(segmentation_node.GetSegmentation().GetNthSegmentID(0))
    return node
