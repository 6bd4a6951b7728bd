"""The test support itself: real MRML, with the world coordinates that Slicer gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("PySide6.QtWidgets")

from support import mrml, slicer_standin  # noqa: E402


@pytest.fixture
def scene() -> Any:
    slicer_standin.install()
    return mrml.new_scene()


def test_a_volume_keeps_its_voxels_and_its_lps_geometry(scene: Any) -> None:
    node, voxels = mrml.oblique_volume()
    assert np.array_equal(slicer.util.arrayFromVolume(node), voxels)
    image = slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node))
    expected_ras = np.diag([-1, -1, 1]) @ (mrml.OBLIQUE @ ([0.7, 0.9, 3.3] * np.array([2, 3, 4])) + [11, -22, 33])
    assert np.allclose((image @ [2, 3, 4, 1])[:3], expected_ras, atol=1e-9)


def _ijk_to_ras(node: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_segments_round_trip_exactly_on_an_oblique_anisotropic_volume(scene: Any) -> None:
    volume, voxels = mrml.oblique_volume()
    masks = {"liver": voxels > 200, "spleen": voxels < 400, "nothing": np.zeros_like(voxels, bool)}
    segmentation = mrml.add_segmentation(volume, masks)
    for name, mask in masks.items():
        assert np.array_equal(mrml.segment_array(segmentation, name), mask), name


def test_segmentations_and_volumes_appear_in_the_subject_hierarchy_and_leave_it(scene: Any) -> None:
    volume, _ = mrml.oblique_volume()
    segmentation = mrml.add_segmentation(volume)
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(segmentation)
    assert item
    assert hierarchy.GetItemByDataNode(volume)
    scene.RemoveNode(segmentation)
    assert hierarchy.GetItemName(item) == ""


def test_a_new_scene_closes_the_old_one_whose_observers_are_removed(scene: Any) -> None:
    volume, _ = mrml.oblique_volume()
    assert mrml.new_scene() is slicer.mrmlScene is not scene
    assert volume.GetScene() is None
    seen: list[str] = []
    scene.AddObserver("AnyEvent", lambda caller, event: seen.append(event))
    mrml.oblique_volume()
    assert not seen
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_a_terminology_context_is_there(scene: Any) -> None:
    logic = slicer.modules.terminologies.logic()
    assert logic.IsTerminologyContextLoaded("Segmentation category and type - 3D Slicer General Anatomy list")
