"""Commit: the one change of the user's segmentation at the end of a run.

What is written was decided before, voxel by voxel (see `decide`); Slicer's own editor logic then only adds and
removes it, so layers, segment status and representations are kept as Slicer keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from .. import __version__
from ..core.job import Job
from ..engines.pretrained.provenance import weights_in_use
from ..export.algorithm import PRODUCT, Algorithm
from .decide import Box, Changes
from .record import RECORD_ATTRIBUTE
from .scene import CLOSED_SURFACE, SegmentationGrid, ijk_to_ras, read_grid


def commit(node: Any, volume_node: Any, grid: SegmentationGrid, changes: Changes) -> None:
    """Write the changes with Slicer's editor logic; a closed surface is made anew if there was one.

    Raises
    ------
    RuntimeError
        Slicer did not write what it was given.
    """
    logic, editor_node = _private_editor(node, volume_node)
    with _quiet(node):
        for mode, boxes in ((logic.ModificationModeRemove, changes.remove), (logic.ModificationModeAdd, changes.add)):
            for segment_id, box in boxes.items():
                modifier, extent = _modifier(box, grid)
                editor_node.SetSelectedSegmentID(segment_id)
                logic.ModifySegmentByLabelmap(node, segment_id, modifier, mode, extent, False, True)
    logic.SetSegmentEditorNode(None)
    written = read_grid(node, volume_node)
    for boxes, expected in ((changes.add, True), (changes.remove, False)):
        for segment_id, box in boxes.items():
            if (written.segment_box(segment_id, box.first, box.mask.shape)[box.mask] != expected).any():
                raise RuntimeError("Slicer's segment editor did not write the filled voxels.")


@contextmanager
def all_or_nothing(node: Any) -> Iterator[None]:
    """Put the segmentation back as it was if the block does not come to its end."""
    segmentation = node.GetSegmentation()
    surface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    record = node.GetAttribute(RECORD_ATTRIBUTE)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(segmentation)
    history.SaveState()
    try:
        yield
    except BaseException:
        modifying = node.StartModify()
        try:
            history.RestorePreviousState()
            if surface and not segmentation.ContainsRepresentation(CLOSED_SURFACE):
                segmentation.CreateRepresentation(CLOSED_SURFACE)
            if record is None:
                node.RemoveAttribute(RECORD_ATTRIBUTE)
            else:
                node.SetAttribute(RECORD_ATTRIBUTE, record)
        finally:
            node.EndModify(modifying)
        raise


def mark_as_made(node: Any, changes: Changes, job: Job) -> None:
    """Note at the changed segments which engine filled them, for an export."""
    made_by = Algorithm(f"{PRODUCT} {job.engine}", __version__, weights_in_use(job.engine, job.options))
    for segment_id in {*changes.add, *changes.remove}:
        segment = node.GetSegmentation().GetSegment(segment_id)
        for name, text in made_by.tags().items():
            segment.SetTag(name, text)


def _private_editor(node: Any, volume_node: Any) -> tuple[Any, Any]:
    """Editor logic and node of our own, with no mask and no overwriting: the user's stay as they are."""
    editor_node = slicer.vtkMRMLSegmentEditorNode()
    editor_node.SetOverwriteMode(editor_node.OverwriteNone)
    editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(node.GetScene())
    logic.SetSegmentEditorNode(editor_node)
    logic.SetSegmentationNode(node)
    logic.SetSourceVolumeNode(volume_node)
    return logic, editor_node


def _modifier(box: Box, grid: SegmentationGrid) -> tuple[Any, tuple[int, ...]]:
    """Labelmap of a box, in the reference geometry's own voxel numbers, and its extent."""
    extent = tuple(
        number + offset
        for start, size, offset in zip(box.first[::-1], box.mask.shape[::-1], grid.first, strict=True)
        for number in (start, start + size - 1)
    )
    image = slicer.vtkOrientedImageData()
    image.SetExtent(extent)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(grid.geometry, grid.first).reshape(-1))
    image.SetGeometryFromImageToWorldMatrix(matrix)
    image.GetPointData().SetScalars(numpy_to_vtk(box.mask.view(np.uint8).reshape(-1), deep=True))
    return image, extent


@contextmanager
def _quiet(node: Any) -> Iterator[None]:
    """One update at the end; no surface is kept up to date meanwhile; the subject hierarchy stays as it was."""
    segmentation = node.GetSegmentation()
    surface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    parent = hierarchy.GetItemParent(item) if item else 0
    if surface:
        segmentation.RemoveRepresentation(CLOSED_SURFACE)
    modifying = node.StartModify()
    try:
        yield
    finally:
        if surface:
            segmentation.CreateRepresentation(CLOSED_SURFACE)
        node.EndModify(modifying)
        if item and hierarchy.GetItemParent(item) != parent:
            hierarchy.SetItemParent(item, parent)
