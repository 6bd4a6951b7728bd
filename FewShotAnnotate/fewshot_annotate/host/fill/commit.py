"""Commit: the one change of the user's segmentation at the end of a run.

`compute_changes` has decided for each voxel what is written; Slicer's own editor logic only adds and removes these
voxels, so layers, segment status and representations are kept as Slicer keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ... import __version__
from ...core.job import Job
from ...engines.pretrained.engine_weights import weights_in_use
from ...export.algorithm import PRODUCT, Algorithm
from ..annotation.record import RunRecord
from ..annotation.record_store import RECORD_ATTRIBUTE, read_record, write_record
from ..chosen_nodes import ChosenNodes
from ..i18n import tr as _
from ..messages import error_text
from ..mrml.grid import SegmentationGrid
from ..mrml.grid_reader import GridReader
from ..mrml.reading import CLOSED_SURFACE, ijk_to_ras
from ..surfaces.representation import replaced_surfaces
from ..unexpected_errors import as_input_error
from .changes import Box, Changes
from .fill_result import FillResult
from .run_editor import RunEditor
from .run_outcome import RunOutcome
from .run_plan import RunPlan


def commit_result(
    plan: RunPlan,
    nodes: ChosenNodes,
    found: FillResult,
    outcome: RunOutcome,
    editor: RunEditor,
    grids: GridReader,
    surfaces: Mapping[str, Any] | None = None,
    saved: SavedSegmentation | None = None,
) -> None:
    """Write the changes of a run and the record of its slices: all of it, or nothing.

    `surfaces` maps segment id to the closed surface, vtkPolyData, that the segment has afterwards; `saved` is what to
    restore if it fails, saved here if it was not before.
    """
    with all_or_nothing(nodes.segmentation, saved):
        if found.changes.add or found.changes.remove:
            grid = grids.read(nodes)
            editor.save_undo(nodes.segmentation)
            commit(nodes, grid, found.changes, grids, surfaces or {})
            tag_segments(nodes.segmentation, found.changes, plan.job)
        if found.filled:
            run = RunRecord(
                axis=plan.axis.index,
                labelled={*plan.painted, *found.painted},
                segment_ids=outcome.segment_ids,
                engine=outcome.engine,
                states=found.filled,
                kept=found.kept,
                confidence=found.confidence,
                expected=outcome.expected,
            )
            write_record(nodes.segmentation, read_record(nodes.segmentation).after_run(run))


def commit(
    nodes: ChosenNodes,
    grid: SegmentationGrid,
    changes: Changes,
    grids: GridReader,
    surfaces: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the changes with Slicer's editor logic.

    A segmentation with closed surfaces has them afterwards too: those of `surfaces`, which maps segment id to
    vtkPolyData, and those that did not change; Slicer converts the others, which may take many seconds.

    Raises
    ------
    RuntimeError
        Slicer did not write the changes.
    """
    node = nodes.segmentation
    logic, editor_node = _private_editor(nodes)
    with _quiet(node), replaced_surfaces(node, changes.segment_ids, surfaces):
        for mode, boxes in ((logic.ModificationModeRemove, changes.remove), (logic.ModificationModeAdd, changes.add)):
            for segment_id, box in boxes.items():
                modifier, extent = _modifier(box, grid)
                editor_node.SetSelectedSegmentID(segment_id)
                logic.ModifySegmentByLabelmap(node, segment_id, modifier, mode, extent, False, True)
    logic.SetSegmentEditorNode(None)
    written = grids.read(nodes)
    for boxes, added in ((changes.add, True), (changes.remove, False)):
        for segment_id, box in boxes.items():
            present = written.segment_box(segment_id, box.first, box.mask.shape)
            # Whole arrays: picking the voxels of the mask would take ten times as long.
            if (box.mask > present if added else box.mask & present).any():
                raise RuntimeError("Slicer's segment editor did not write the filled voxels.")


class SavedSegmentation:
    """A segmentation node's segments and record as they are now, to be restored after a failure."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._surface = node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        self._record = node.GetAttribute(RECORD_ATTRIBUTE)
        self._history = slicer.vtkSegmentationHistory()
        self._history.SetSegmentation(node.GetSegmentation())
        self._history.SaveState()

    def restore(self) -> None:
        """Restore the segments and the record."""
        node, segmentation = self._node, self._node.GetSegmentation()
        modifying = node.StartModify()
        try:
            self._history.RestorePreviousState()
            if self._surface and not segmentation.ContainsRepresentation(CLOSED_SURFACE):
                segmentation.CreateRepresentation(CLOSED_SURFACE)
            if self._record is None:
                node.RemoveAttribute(RECORD_ATTRIBUTE)
            else:
                node.SetAttribute(RECORD_ATTRIBUTE, self._record)
        finally:
            node.EndModify(modifying)


@contextmanager
def all_or_nothing(node: Any, saved: SavedSegmentation | None = None) -> Iterator[None]:
    """Restore the segmentation if the block raises: as it was saved, or else as it is before the block."""
    saved = saved or SavedSegmentation(node)
    try:
        yield
    except BaseException:
        saved.restore()
        raise


@contextmanager
def step_after_commit(warnings: list[str]) -> Iterator[None]:
    """Context manager for a step after the commit: an error there does not undo it, and becomes a warning."""
    try:
        yield
    except Exception as error:
        text = _("The slices are filled, but a step after that failed: {reason}")
        warnings.append(text.format(reason=error_text(as_input_error(error))))


def tag_segments(node: Any, changes: Changes, job: Job) -> None:
    """Tag the changed segments with the engine that filled them, for an export."""
    made_by = Algorithm(f"{PRODUCT} {job.engine}", __version__, weights_in_use(job.engine, job.options))
    for segment_id in changes.segment_ids:
        segment = node.GetSegmentation().GetSegment(segment_id)
        for name, text in made_by.tags().items():
            segment.SetTag(name, text)


def _private_editor(nodes: ChosenNodes) -> tuple[Any, Any]:
    """Editor logic and node without mask and overwriting, separate from those of the user."""
    editor_node = slicer.vtkMRMLSegmentEditorNode()
    editor_node.SetOverwriteMode(editor_node.OverwriteNone)
    editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(nodes.segmentation.GetScene())
    logic.SetSegmentEditorNode(editor_node)
    logic.SetSegmentationNode(nodes.segmentation)
    logic.SetSourceVolumeNode(nodes.volume)
    return logic, editor_node


def _modifier(box: Box, grid: SegmentationGrid) -> tuple[Any, tuple[int, ...]]:
    """Labelmap of a box in voxel indices of the reference geometry, and its extent."""
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
    # Not copied: the box outlives the image, and Slicer only reads it.
    image.GetPointData().SetScalars(numpy_to_vtk(box.mask.view(np.uint8).reshape(-1)))
    return image, extent


@contextmanager
def _quiet(node: Any) -> Iterator[None]:
    """Defer updates of the node to the end; its place in the subject hierarchy is restored."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    parent = hierarchy.GetItemParent(item) if item else 0
    modifying = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(modifying)
        if item and hierarchy.GetItemParent(item) != parent:
            hierarchy.SetItemParent(item, parent)
