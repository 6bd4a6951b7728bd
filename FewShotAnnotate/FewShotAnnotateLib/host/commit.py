"""Commit: the one change of the user's segmentation at the end of a run.

What may be written is decided here, voxel by voxel in numpy, by the rules of the Segment Editor; Slicer's own editor
logic then only adds and removes what was decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..core.axis import SliceAxis
from .scene import CLOSED_SURFACE, ImageSource, SegmentationGrid, ijk_to_ras, is_locked, read_grid


@dataclass(frozen=True)
class EditRules:
    """Where the user allows edits; the Segment Editor's masking section and our own switch.

    Attributes
    ----------
    mask_mode : int
        vtkMRMLSegmentationNode.EditAllowed...
    mask_segment_id : str
        For 'inside single segment'.
    intensity_range : (float, float) or None
        Editable range of the volume's values.
    overwrite_mode : int
        vtkMRMLSegmentEditorNode.Overwrite...: which other segments a voxel is taken from or shared with.
    may_overwrite : bool
        Whether other segments may lose voxels to the filled ones at all.
    """

    mask_mode: int
    mask_segment_id: str = ""
    intensity_range: tuple[float, float] | None = None
    overwrite_mode: int = 0
    may_overwrite: bool = False

    @classmethod
    def of_editor(cls, editor_node: Any, may_overwrite: bool) -> EditRules:
        """Rules set in a vtkMRMLSegmentEditorNode."""
        limits = editor_node.GetSourceVolumeIntensityMaskRange()
        return cls(
            editor_node.GetMaskMode(),
            editor_node.GetMaskSegmentID() or "",
            (limits[0], limits[1]) if editor_node.GetSourceVolumeIntensityMask() else None,
            editor_node.GetOverwriteMode(),
            may_overwrite,
        )


@dataclass(frozen=True)
class Filled:
    """What a run found.

    Attributes
    ----------
    axis : SliceAxis
    segment_ids : sequence of str
        Segments of the run.
    slices : sequence of int
        Slices to write, none of them painted.
    read : function
        `read(index)` gives a bool array [segments, h, w] for a slice.
    """

    axis: SliceAxis
    segment_ids: Sequence[str]
    slices: Sequence[int]
    read: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Changes:
    """Voxels to add to and remove from segments, bool [k, j, i] on the whole grid each."""

    add: dict[str, np.ndarray]
    remove: dict[str, np.ndarray]


def decide(node: Any, grid: SegmentationGrid, image: ImageSource, filled: Filled, rules: EditRules) -> Changes:
    """Voxels to change, by the rules. Changes nothing itself.

    Segments of the run get what the run found, inside the editor's mask. Locked segments keep every voxel; other
    segments too, unless the user allowed overwriting. With overwrite mode 'none' segments may overlap instead.
    """
    segmentation = node.GetSegmentation()
    own = [identifier for identifier in filled.segment_ids if segmentation.GetSegment(identifier)]
    numbers = [list(filled.segment_ids).index(identifier) for identifier in own]
    others = [identifier for identifier in segmentation.GetSegmentIDs() if identifier not in own]
    locked = [identifier for identifier in others if is_locked(segmentation.GetSegment(identifier))]
    shared = _may_share(node, others, rules)
    taken = [identifier for identifier in others if identifier not in shared and identifier not in locked]
    protected = [identifier for identifier in others if identifier not in shared]
    if rules.may_overwrite:
        protected = [identifier for identifier in protected if identifier in locked]
    else:
        taken = []
    add = {identifier: np.zeros(grid.geometry.shape, dtype=bool) for identifier in own}
    remove: dict[str, np.ndarray] = {}
    axis = filled.axis
    voxels = image.on_grid(grid.geometry.shape) if rules.intensity_range else None
    for index in filled.slices:
        allowed = _editable(node, grid, axis, index, own, rules, voxels)
        free = allowed & ~grid.union_slice(protected, axis, index)
        result = filled.read(index)[numbers] & free
        for identifier, wanted in zip(own, result, strict=True):
            before = grid.segment_slice(identifier, axis, index)
            axis.slices(add[identifier])[index] = wanted & ~before
            _mark(remove, identifier, grid, axis, index, before & ~wanted & allowed)
        claimed = result.any(axis=0) if taken else None
        for identifier in taken if claimed is not None and claimed.any() else ():
            _mark(remove, identifier, grid, axis, index, grid.segment_slice(identifier, axis, index) & claimed)
    return Changes({identifier: mask for identifier, mask in add.items() if mask.any()}, remove)


def apply(node: Any, volume_node: Any, grid: SegmentationGrid, changes: Changes) -> None:
    """Write the changes with Slicer's editor logic; a closed surface is made anew if there was one.

    Raises
    ------
    RuntimeError
        Slicer did not write what it was given.
    """
    logic, editor_node = _private_editor(node, volume_node)
    with _quiet(node):
        for mode, masks in ((logic.ModificationModeRemove, changes.remove), (logic.ModificationModeAdd, changes.add)):
            for segment_id, mask in masks.items():
                modifier, extent = _modifier(mask, grid)
                editor_node.SetSelectedSegmentID(segment_id)
                logic.ModifySegmentByLabelmap(node, segment_id, modifier, mode, extent, False, True)
    logic.SetSegmentEditorNode(None)
    written = read_grid(node, volume_node)
    for segment_id, mask in changes.add.items():
        _require_written(written, segment_id, mask, True)
    for segment_id, mask in changes.remove.items():
        _require_written(written, segment_id, mask, False)


def _may_share(node: Any, others: Sequence[str], rules: EditRules) -> set[str]:
    """Segments a filled one may overlap: all with overwrite mode 'none', the hidden ones with 'visible'."""
    editor = slicer.vtkMRMLSegmentEditorNode
    if rules.overwrite_mode == editor.OverwriteNone:
        return set(others)
    display = node.GetDisplayNode()
    if rules.overwrite_mode == editor.OverwriteVisibleSegments and display is not None:
        return {identifier for identifier in others if not display.GetSegmentVisibility(identifier)}
    return set()


def _editable(
    node: Any,
    grid: SegmentationGrid,
    axis: SliceAxis,
    index: int,
    own: Sequence[str],
    rules: EditRules,
    voxels: np.ndarray | None,
) -> np.ndarray:
    """Where the editor's mask allows edits on a slice. Segments of the run never mask each other from outside."""
    modes = slicer.vtkMRMLSegmentationNode
    everything = list(node.GetSegmentation().GetSegmentIDs())
    display = node.GetDisplayNode()
    visible = [name for name in everything if display is None or display.GetSegmentVisibility(name)]
    inside = {
        modes.EditAllowedInsideAllSegments: everything,
        modes.EditAllowedInsideVisibleSegments: visible,
        modes.EditAllowedInsideSingleSegment: [rules.mask_segment_id],
    }
    outside = {
        modes.EditAllowedOutsideAllSegments: everything,
        modes.EditAllowedOutsideVisibleSegments: visible,
    }
    if rules.mask_mode in inside:
        allowed = grid.union_slice(inside[rules.mask_mode], axis, index)
    else:
        masking = [name for name in outside.get(rules.mask_mode, ()) if name not in own]
        allowed = ~grid.union_slice(masking, axis, index)
    if rules.intensity_range and voxels is not None:
        values = axis.slices(voxels)[index]
        allowed &= (values >= rules.intensity_range[0]) & (values <= rules.intensity_range[1])
    return allowed


def _mark(
    masks: dict[str, np.ndarray],
    segment_id: str,
    grid: SegmentationGrid,
    axis: SliceAxis,
    index: int,
    mask: np.ndarray,
) -> None:
    if mask.any():
        whole = masks.setdefault(segment_id, np.zeros(grid.geometry.shape, dtype=bool))
        axis.slices(whole)[index] = mask


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


def _modifier(mask: np.ndarray, grid: SegmentationGrid) -> tuple[Any, tuple[int, ...]]:
    """Labelmap of the mask's bounding box, in the reference geometry's own voxel numbers."""
    box = []
    for axis in range(3):
        line = mask.any(axis=tuple(other for other in range(3) if other != axis))
        indices = np.flatnonzero(line)
        box.append(slice(int(indices[0]), int(indices[-1]) + 1))
    part = np.ascontiguousarray(mask[tuple(box)]).view(np.uint8)
    k, j, i = box
    extent = tuple(
        number + first
        for axis, first in zip((i, j, k), grid.first, strict=True)
        for number in (axis.start, axis.stop - 1)
    )
    image = slicer.vtkOrientedImageData()
    image.SetExtent(extent)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras(grid.geometry, grid.first).reshape(-1))
    image.SetGeometryFromImageToWorldMatrix(matrix)
    image.GetPointData().SetScalars(numpy_to_vtk(part.reshape(-1), deep=True))
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


def _require_written(grid: SegmentationGrid, segment_id: str, mask: np.ndarray, expected: bool) -> None:
    found = grid.layer_of(segment_id)
    axis = SliceAxis(0)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        now = grid.segment_slice(segment_id, axis, int(index)) if found else np.zeros(mask.shape[1:], dtype=bool)
        if (now[mask[index]] != expected).any():
            raise RuntimeError("Slicer's segment editor did not write the filled voxels.")
