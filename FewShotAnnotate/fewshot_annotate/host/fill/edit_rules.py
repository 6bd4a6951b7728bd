"""EditRules: the voxels that a run may change, by the rules of the Segment Editor. For a background thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ...core.slice_axis import SliceAxis
from ..mrml.grid import ImageSource, SegmentationGrid
from ..mrml.node_types import SegmentationNode
from ..mrml.reading import hidden_segments, is_locked
from .changes import Changes, MaskPieces, mask_window


@dataclass(frozen=True, kw_only=True)
class EditRules:
    """Where edits are allowed: masking of the Segment Editor, locked segments, and the module's overwrite option.

    Attributes
    ----------
    segment_ids, visible, locked : tuples of str
        Segments of the segmentation, those shown, and those never changed.
    may_overwrite : bool
        Whether other segments may lose voxels to the filled ones at all.
    mask_mode : int
        vtkMRMLSegmentationNode.EditAllowed...
    mask_segment_id : str
        For 'inside single segment'.
    intensity_range : (float, float) or None
        Editable range of the volume's values.
    overwrite_mode : int
        vtkMRMLSegmentEditorNode.Overwrite...: which other segments a voxel is taken from or shared with.
    """

    segment_ids: tuple[str, ...]
    visible: tuple[str, ...]
    locked: tuple[str, ...]
    may_overwrite: bool
    mask_mode: int
    mask_segment_id: str
    intensity_range: tuple[float, float] | None
    overwrite_mode: int

    @classmethod
    def from_nodes(cls, segmentation_node: SegmentationNode, editor_node: Any, may_overwrite: bool) -> EditRules:
        """Rules that hold now for a segmentation, edited with a vtkMRMLSegmentEditorNode."""
        segmentation = segmentation_node.GetSegmentation()
        hidden = hidden_segments(segmentation_node)
        names = tuple(segmentation.GetSegmentIDs())
        limits = editor_node.GetSourceVolumeIntensityMaskRange()
        return cls(
            segment_ids=names,
            visible=tuple(name for name in names if name not in hidden),
            locked=tuple(name for name in names if is_locked(segmentation.GetSegment(name))),
            may_overwrite=may_overwrite,
            mask_mode=editor_node.GetMaskMode(),
            mask_segment_id=editor_node.GetMaskSegmentID() or "",
            intensity_range=(limits[0], limits[1]) if editor_node.GetSourceVolumeIntensityMask() else None,
            overwrite_mode=editor_node.GetOverwriteMode(),
        )

    def shared_with(self, others: Sequence[str]) -> list[str]:
        """Segments a filled one may overlap: all with overwrite mode 'none', the hidden ones with 'visible'."""
        editor = slicer.vtkMRMLSegmentEditorNode
        if self.overwrite_mode == editor.OverwriteNone:
            return list(others)
        if self.overwrite_mode == editor.OverwriteVisibleSegments:
            return [name for name in others if name not in self.visible]
        return []

    def masking(self, edited: Sequence[str]) -> tuple[bool, list[str]]:
        """Whether edits are allowed inside (else outside) of segments, and the ids of these segments.

        `edited` are the segments that the run changes, which do not mask themselves.
        """
        modes = slicer.vtkMRMLSegmentationNode
        inside = {
            modes.EditAllowedInsideAllSegments: self.segment_ids,
            modes.EditAllowedInsideVisibleSegments: self.visible,
            modes.EditAllowedInsideSingleSegment: (self.mask_segment_id,),
        }
        outside = {
            modes.EditAllowedOutsideAllSegments: self.segment_ids,
            modes.EditAllowedOutsideVisibleSegments: self.visible,
        }
        if self.mask_mode in inside:
            return True, list(inside[self.mask_mode])
        return False, [name for name in outside.get(self.mask_mode, ()) if name not in edited]


@dataclass(frozen=True)
class FilledSlices:
    """Slices that a run filled.

    Attributes
    ----------
    axis : SliceAxis
    segment_ids : sequence of str
        Segments of the run.
    slices : sequence of int
        Slices to write, none of them painted.
    read : function
        `read(index)` returns the masks, bool [h, w], of the segments on a slice.
    """

    axis: SliceAxis
    segment_ids: Sequence[str]
    slices: Sequence[int]
    read: Callable[[int], Mapping[str, np.ndarray]]


def compute_changes(grid: SegmentationGrid, image: ImageSource, filled: FilledSlices, rules: EditRules) -> Changes:
    """Voxels to add to and remove from segments, by the rules.

    Segments of the run get the filled voxels inside the editor's mask. Locked segments keep every voxel; other
    segments too, unless the user allowed overwriting. With overwrite mode 'none' segments may overlap instead.
    """
    edited = [name for name in filled.segment_ids if name in rules.segment_ids and name not in rules.locked]
    others = [name for name in rules.segment_ids if name not in edited]
    shared = rules.shared_with(others)
    taken = [name for name in others if name not in (*shared, *rules.locked)] if rules.may_overwrite else []
    protected = [name for name in others if name not in (*shared, *taken)]
    axis = filled.axis
    add, remove, withheld = MaskPieces(axis), MaskPieces(axis), False
    for index in filled.slices:
        predicted_masks = filled.read(index)
        found = {name: mask for name, mask in predicted_masks.items() if name in edited}
        withheld = withheld or any(name in rules.locked for name in predicted_masks)
        before = grid.segment_slices(edited, axis, index)
        if not found and not before:
            continue
        window = mask_window([*found.values(), *before.values()])
        allowed = _editable(grid, image, axis, index, edited, rules)[window]
        free = allowed & ~grid.union_slice(protected, axis, index)[window]
        claimed = np.zeros_like(free)
        nothing = np.zeros_like(free)
        for name in {**found, **before}:
            predicted = found[name][window] if name in found else nothing
            assigned = predicted & free
            held = before[name][window] if name in before else nothing
            claimed |= assigned
            added, removed = assigned & ~held, held & ~assigned & allowed
            withheld = withheld or not np.array_equal(predicted, (held | added) & ~removed)
            add.mark(name, index, window, added)
            remove.mark(name, index, window, removed)
        for name, mask in grid.segment_slices(taken, axis, index).items():
            remove.mark(name, index, window, mask[window] & claimed)
    return Changes(add.boxes(), remove.boxes(), withheld)


def _editable(
    grid: SegmentationGrid, image: ImageSource, axis: SliceAxis, index: int, edited: Sequence[str], rules: EditRules
) -> np.ndarray:
    """Where the editor's mask allows edits on a slice, bool [h, w]."""
    inside, names = rules.masking(edited)
    allowed = grid.union_slice(names, axis, index)
    if not inside:
        allowed = ~allowed
    if rules.intensity_range:
        values = image.slice(axis, index, grid.geometry.shape)
        low, high = rules.intensity_range
        if values.dtype.kind in "iu":  # as vtkImageThreshold: limits in the data type of the image
            limits = np.iinfo(values.dtype)
            low, high = (int(np.clip(np.trunc(value), limits.min, limits.max)) for value in (low, high))
        allowed &= (values >= low) & (values <= high)
    return allowed
