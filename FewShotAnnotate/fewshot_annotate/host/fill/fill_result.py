"""FillResult: the slices and voxels that a run commits, computed in a background thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ...core.slice_axis import SliceAxis
from ...guidance.confidence import mean_label_area, slice_confidence
from ...jobs.run_folder import JobFolder
from ..annotation.painted_slices import masks_digest, segment_digests, slice_digests
from ..annotation.record import AxisRecord
from ..i18n import tr as _
from ..mrml.grid import ImageSource, SegmentationGrid
from .changes import Changes
from .contested import ContestedVoxels
from .edit_rules import EditRules, FilledSlices, compute_changes
from .run_plan import PreparedRun

_MAX_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class FillResult:
    """Changes of a run, with the labels and rules from which they were computed.

    Attributes
    ----------
    rules : EditRules
    version : tuple
        Version of what was on the segmentation node then.
    changes : Changes
    filled : dict of int to (int, int)
        Slice -> checksum of its voxels after and before the commit.
    kept : dict of int to int
        Slice to keep or accepted during the run -> its checksum.
    confidence : dict of int to float
        Filled slice -> its confidence, 0..1, see `guidance.confidence`.
    painted : list of int
        Slices that were painted or marked as labelled during the run; they are not changed.
    accepted : list of int
        Slices that were accepted during the run; they are not changed.
    contested : ContestedVoxels
        Where the engine was uncertain.
    drafts : int
        How many of the filled slices are drafts.
    """

    rules: EditRules
    version: tuple[object, ...]
    changes: Changes
    filled: dict[int, tuple[int, int]]
    kept: dict[int, int]
    confidence: dict[int, float]
    painted: list[int]
    accepted: list[int]
    drafts: int
    contested: ContestedVoxels

    def message(self, stopped: bool) -> str:
        """Sentence about the end of the run, stopped by the user or not."""
        if self.drafts:
            partly = _("Stopped; {count} slices filled, {drafts} of them drafts.")
            text = partly if stopped else _("{count} slices filled, {drafts} of them drafts.")
        else:
            text = _("Stopped; {count} slices filled.") if stopped else _("{count} slices filled.")
        return text.format(count=len(self.filled), drafts=self.drafts)

    def warnings(self, names: Mapping[str, str]) -> list[str]:
        """Sentences about slices and segments that were not changed; `names` maps segment id to name."""
        sentences = []
        if self.painted:
            text = _("Slices painted during the run were left as they are: {slices}.")
            sentences.append(text.format(slices=listed(self.painted)))
        if self.accepted:
            text = _("Slices accepted during the run were left as they are: {slices}.")
            sentences.append(text.format(slices=listed(self.accepted)))
        deleted = [name for segment_id, name in names.items() if segment_id not in self.rules.segment_ids]
        if deleted:
            sentences.append(_("Removed during the run and not filled: {names}.").format(names=", ".join(deleted)))
        if self.filled and not (self.changes.add or self.changes.remove):
            sentences.append(
                _("Nothing was written: the mask, locks and other segments left no room.")
                if self.changes.withheld
                else _("Nothing was changed: the result is what is there already.")
            )
        return sentences


def compute_result(
    prepared: PreparedRun,
    grid: SegmentationGrid,
    image: ImageSource,
    record: AxisRecord,
    rules: EditRules,
    version: tuple[object, ...],
) -> FillResult:
    """Result of a run whose worker has ended; `record` is of its axis. Touches no node: for a background thread."""
    plan, axis = prepared.plan, prepared.plan.axis
    ids = [name for name in plan.segment_ids if name in rules.segment_ids]
    painted = _painted(prepared, grid, record, ids)
    accepted = _accepted(record, grid, axis, [index for index in plan.query_slices if index not in painted])
    done = prepared.finished()
    free = {*plan.query_slices} - {*painted, *accepted} if ids else set()
    slices = [index for index in plan.query_slices if done[index] and index in free]

    def read(index: int) -> dict[str, np.ndarray]:
        masks = {}
        for folder, layer in zip(prepared.folders, prepared.layers, strict=True):
            labels = folder.result_slice(index)
            if labels.any():
                masks.update({name: labels == value for value, name in enumerate(layer, start=1)})
        return {name: mask for name, mask in masks.items() if mask.any()}

    changes = compute_changes(grid, image, FilledSlices(axis, plan.segment_ids, slices, read), rules)
    shape = grid.slice_shape(axis)
    filled = {}
    for index in slices:
        before = grid.segment_slices(ids, axis, index)
        after = changes.applied(before, axis, index, shape)
        filled[index] = (masks_digest(after, ids), masks_digest(before, ids))
    return FillResult(
        rules=rules,
        version=version,
        changes=changes,
        filled=filled,
        kept=slice_digests(grid, ids, axis, [*plan.keep, *accepted]),
        confidence=_confidence(prepared.folders, slices),
        painted=sorted(painted),
        accepted=accepted,
        contested=ContestedVoxels.of(axis, slices, lambda index: _lowest_confidence(prepared.folders, index)),
        drafts=int(np.count_nonzero(prepared.drafts()[slices])),
    )


def _painted(
    prepared: PreparedRun, grid: SegmentationGrid, record: AxisRecord, segment_ids: Sequence[str]
) -> set[int]:
    """Query slices that were painted or marked as labelled since the run began."""
    plan, at_start = prepared.plan, prepared.at_start
    now = segment_digests(grid, segment_ids, plan.axis, plan.query_slices)
    changed = {
        index
        for name in segment_ids
        for index in {*now[name], *at_start.get(name, {})}
        if now[name].get(index) != at_start.get(name, {}).get(index)
    }
    if changed:
        changed -= _restored(record, grid, plan.axis, plan.query_slices)
    return changed | {*record.labelled} & {*plan.query_slices}


def _accepted(record: AxisRecord, grid: SegmentationGrid, axis: SliceAxis, slices: Sequence[int]) -> list[int]:
    """Those of the slices that hold the voxels with which they were accepted."""
    accepted = record.accepted
    present = slice_digests(grid, record.segment_ids, axis, [index for index in slices if index in accepted])
    return [index for index, checksum in present.items() if checksum == accepted[index]]


def _restored(record: AxisRecord, grid: SegmentationGrid, axis: SliceAxis, slices: Sequence[int]) -> set[int]:
    """Slices that hold what they held before or after an earlier run, because of an undo or redo and not of paint.

    An undo restores all slices of a run; a single one without its fill was erased by hand.
    """
    records = {index: record.at(index) for index in slices if record.at(index).states}
    present = slice_digests(grid, record.segment_ids, axis, list(records))
    fills = {index: records[index].fill_of(checksum) for index, checksum in present.items()}
    still_there = {fill.run for fill in fills.values() if fill is not None and fill.changed != 0}
    undone = {
        index
        for index, stored in records.items()
        if present[index] in stored.states and stored.fills and stored.fills[0].run not in still_there
    }
    return undone | {index for index, fill in fills.items() if fill is not None}


def listed(slices: Sequence[int]) -> str:
    """Slices as text, the first of many."""
    return ", ".join(map(str, slices[:_MAX_LISTED])) + (" ..." if len(slices) > _MAX_LISTED else "")


def _lowest_confidence(folders: Sequence[JobFolder], index: int) -> np.ndarray:
    """Lowest confidence of all layers for each voxel of a slice, float32 [h, w]."""
    result: np.ndarray = np.minimum.reduce([folder.confidence_slice(index) for folder in folders])
    return result


def _confidence(folders: Sequence[JobFolder], slices: Sequence[int]) -> dict[int, float]:
    """Confidence of each slice: the lowest of its layers."""
    confidence = dict.fromkeys(slices, 1.0)
    for folder in folders:
        area = mean_label_area(chain(folder.read_support().masks, map(folder.result_slice, slices)))
        for index in slices:
            of_layer = slice_confidence(folder.result_slice(index), folder.confidence_slice(index), area)
            confidence[index] = min(confidence[index], of_layer)
    return confidence
