"""Commit: the one change of the user's segmentation at the end of a run.

`compute_changes` has decided for each voxel what is written. Where labelmaps were computed with these changes, they
replace those that are there; else Slicer's own editor logic adds and removes the voxels. Either way layers, segment
status and representations are as Slicer keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from ..annotation.record_store import read_record, write_record
from ..diagnostics.unexpected_errors import as_input_error
from ..i18n import tr as _
from ..messages import error_text
from ..mrml.chosen_nodes import ChosenNodes
from ..mrml.grid import SegmentationGrid
from ..mrml.grid_reader import GridReader
from ..mrml.node_types import SegmentationNode
from ..mrml.reading import ijk_to_ras
from .changed_layers import ChangedLayer, write_layers
from .changes import Box, Changes
from .fill_result import FillResult
from .run_outcome import RunOutcome
from .run_plan import RunPlan
from .surfaces.representation import replaced_surfaces


def commit_result(
    plan: RunPlan,
    nodes: ChosenNodes,
    found: FillResult,
    outcome: RunOutcome,
    grids: GridReader,
    surfaces: Mapping[str, Any] = MappingProxyType({}),
    layers: Sequence[ChangedLayer] | None = None,
) -> None:
    """Write the changes of a run and the record of its slices; for `surfaces` and `layers` see `commit`."""
    if found.changes.segment_ids:
        commit(nodes, grids.read(nodes), found.changes, grids, surfaces, layers)
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
    layers: Sequence[ChangedLayer] | None = None,
) -> None:
    """Write the changes.

    A segmentation with closed surfaces has them afterwards too: those of `surfaces`, which maps segment id to
    vtkPolyData, and those that did not change; Slicer converts the others, which may take many seconds.

    Parameters
    ----------
    nodes : ChosenNodes
    grid : SegmentationGrid
        The segmentation before the changes.
    changes : Changes
    grids : GridReader
    surfaces : mapping of str to vtkPolyData
    layers : sequence of ChangedLayer or None
        The labelmaps after the changes; None to let Slicer's editor logic add and remove the voxels.

    Raises
    ------
    RuntimeError
        Slicer did not write the changes.
    """
    node = nodes.segmentation
    with _quiet(node), replaced_surfaces(node, changes.segment_ids, surfaces):
        if layers is not None:
            write_layers(node, layers, changes)
        else:
            _edit(nodes, grid, changes)
    if layers is None:
        _require_written(grids.read(nodes), changes)


def _edit(nodes: ChosenNodes, grid: SegmentationGrid, changes: Changes) -> None:
    """Add and remove the voxels with Slicer's editor logic."""
    logic, editor_node = _private_editor(nodes)
    for mode, boxes in ((logic.ModificationModeRemove, changes.remove), (logic.ModificationModeAdd, changes.add)):
        for segment_id, box in boxes.items():
            modifier, extent = _modifier(box, grid)
            editor_node.SetSelectedSegmentID(segment_id)
            logic.ModifySegmentByLabelmap(nodes.segmentation, segment_id, modifier, mode, extent, False, True)
    logic.SetSegmentEditorNode(None)


def _require_written(written: SegmentationGrid, changes: Changes) -> None:
    for boxes, added in ((changes.add, True), (changes.remove, False)):
        for segment_id, box in boxes.items():
            present = written.segment_box(segment_id, box.first, box.mask.shape)
            # Whole arrays: picking the voxels of the mask would take ten times as long.
            if (box.mask > present if added else box.mask & present).any():
                raise RuntimeError("Slicer's segment editor did not write the filled voxels.")


@contextmanager
def step_after_commit(warnings: list[str]) -> Iterator[None]:
    """Context manager for a step after the commit: an error there does not undo it, and becomes a warning."""
    try:
        yield
    except Exception as error:
        text = _("The slices are filled, but a step after that failed: {reason}")
        warnings.append(text.format(reason=error_text(as_input_error(error))))


def tag_segments(node: SegmentationNode, changes: Changes, job: Job) -> None:
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
def _quiet(node: SegmentationNode) -> Iterator[None]:
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
