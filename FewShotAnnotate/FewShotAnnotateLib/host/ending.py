"""Ending: which slices of a run are committed and what of them may change, worked out off the GUI thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

from ..review.confidence import slice_confidence
from ..run.folder import JobFolder
from .decide import Changes, EditRules, Filled, decide
from .painted import masks_digest, segment_digests, slice_digests
from .run_plan import Prepared
from .scene import ImageSource, SegmentationGrid

_LISTED = 10


@dataclass(frozen=True)
class Ending:
    """What may be written, and the labels and rules it was worked out from.

    Attributes
    ----------
    version : tuple
        Of the labels, see `labels_version`.
    filled : dict of int to (int, int)
        Slice -> its checksum after and before.
    kept : dict of int to int
        Slice to keep -> its checksum.
    confidence : dict of int to float
        Filled slice -> Dice to expect of it.
    painted : list of int
        Slices that someone painted since the run began; they are left as they are.
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
    drafts: int

    def told(self, stopped: bool) -> str:
        """How the run ended, stopped by the user or not."""
        if self.drafts:
            partly = _("Stopped; {count} slices filled, {drafts} of them drafts.")
            text = partly if stopped else _("{count} slices filled, {drafts} of them drafts.")
        else:
            text = _("Stopped; {count} slices filled.") if stopped else _("{count} slices filled.")
        return text.format(count=len(self.filled), drafts=self.drafts)

    def warnings(self, names: Mapping[str, str]) -> list[str]:
        """What was left as it is, and why; `names` are those of the run's segments by their ids."""
        found = []
        if self.painted:
            listed = ", ".join(map(str, self.painted[:_LISTED])) + (" ..." if len(self.painted) > _LISTED else "")
            text = _("Slices painted during the run were left as they are: {slices}.")
            found.append(text.format(slices=listed))
        gone = [name for segment_id, name in names.items() if segment_id not in self.rules.segment_ids]
        if gone:
            found.append(_("Removed during the run and not filled: {names}.").format(names=", ".join(gone)))
        if self.filled and not (self.changes.add or self.changes.remove):
            found.append(_("Nothing was written: the mask, locks and other segments left no room."))
        return found


def work_out(
    prepared: Prepared, grid: SegmentationGrid, image: ImageSource, rules: EditRules, version: tuple[object, ...]
) -> Ending:
    """The end of a run whose worker has stopped. Touches no node: for a background thread."""
    plan, axis = prepared.plan, prepared.plan.axis
    ids = [name for name in plan.segment_ids if name in rules.segment_ids]
    now = segment_digests(grid, ids, axis, plan.to_fill)
    changed = {
        index
        for name in ids
        for index in {*now[name], *prepared.at_start.get(name, {})}
        if now[name].get(index) != prepared.at_start.get(name, {}).get(index)
    }
    done = prepared.finished()
    slices = [index for index in plan.to_fill if done[index] and index not in changed]

    def read(index: int) -> dict[str, np.ndarray]:
        masks = {}
        for folder, layer in zip(prepared.folders, prepared.layers, strict=True):
            labels = folder.result_slice(index)
            if labels.any():
                masks.update({name: labels == value for value, name in enumerate(layer, start=1)})
        return {name: mask for name, mask in masks.items() if mask.any()}

    changes = decide(grid, image, Filled(axis, plan.segment_ids, slices, read), rules)
    shape = grid.slice_shape(axis)
    filled = {}
    for index in slices:
        before = grid.segment_slices(ids, axis, index)
        after = changes.applied(before, axis, index, shape)
        filled[index] = (masks_digest(after, ids), masks_digest(before, ids))
    return Ending(
        rules,
        version,
        changes,
        filled,
        slice_digests(grid, ids, axis, plan.keep),
        {index: _confidence(prepared.folders, index) for index in slices},
        sorted(changed),
        int(np.count_nonzero(prepared.drafts()[slices])),
    )


def _confidence(folders: Sequence[JobFolder], index: int) -> float:
    """Dice to expect of a slice: that of the least certain layer."""
    return min(slice_confidence(folder.result_slice(index), folder.confidence_slice(index)) for folder in folders)
