"""Scenes saved as by Slicer, and opened again: .mrml with its files beside it, or .mrb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from support import mrml

_kept: list[Any] = []


def save_scene(path: Path) -> None:
    """Save the scene and the data of its volumes and segmentations."""
    scene = slicer.mrmlScene
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.SetRootDirectory(str(path.parent))
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if not node.IsA("vtkMRMLDisplayableNode") or not node.GetSaveWithScene():
            continue
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is not None and path.suffix == ".mrml":
            name = f"{node.GetID()}.{storage.GetDefaultWriteFileExtension()}"
            storage.SetFileName(str(path.parent / name))
            assert storage.WriteData(node)
    if path.suffix == ".mrml":
        scene.SetURL(str(path))
        assert scene.Commit(str(path))
    else:
        assert scene.WriteToMRB(str(path))


def open_scene(path: Path) -> Any:
    """Open a saved scene in place of the current one, as File > Load Scene does. Returns the scene."""
    scene = mrml.start_mrml()
    if path.suffix == ".mrml":
        scene.SetURL(str(path))
        assert scene.Connect()
    else:
        prepare_bundles(path.parent)
        assert scene.ReadFromMRB(str(path), True)
    return scene


def prepare_bundles(parent: Path) -> None:
    """Set up what Slicer sets up at its start so that bundles can be unpacked, with a cache in a folder."""
    scene, folder = slicer.mrmlScene, parent / "cache"
    folder.mkdir(exist_ok=True)
    application = mrml.application_logic()
    remote, manager = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    remote.SetMRMLApplicationLogic(application)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(folder))
    remote.SetMRMLScene(scene)
    manager.SetMRMLApplicationLogic(application)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    _kept[:] = [remote, manager]
