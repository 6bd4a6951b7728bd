"""RunOutcome: what a run tells the review when it has ended and its slices are in the segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..core.axis import SliceAxis
from ..core.expected import ExpectedDice
from ..review.confidence import slice_confidence
from ..run.folder import JobFolder
from .decide import Changes


@dataclass(frozen=True)
class RunOutcome:
    """A run whose slices were committed.

    Attributes
    ----------
    segmentation_id, volume_id : str
        Ids of the nodes.
    segment_ids : tuple of str
        Segments of the run that exist still; the checksums are of these.
    support : tuple of int, ascending
        Slices that the engine learnt from.
    checksums : mapping of int to int
        Filled slice -> checksum of what it holds now.
    kept : mapping of int to int
        Slice that was to be kept -> checksum of what it holds.
    confidence : mapping of int to float
        Filled slice -> Dice to expect of it, 0..1.
    changes : Changes
        Voxels that were added and removed.
    expected : mapping of str to ExpectedDice
        Segment id -> what the engine expects of it.
    """

    segmentation_id: str
    volume_id: str
    axis: SliceAxis
    segment_ids: tuple[str, ...]
    engine: str
    support: tuple[int, ...]
    checksums: Mapping[int, int]
    kept: Mapping[int, int]
    confidence: Mapping[int, float]
    changes: Changes
    expected: Mapping[str, ExpectedDice] = field(default_factory=dict)


def confidence_of(folders: Sequence[JobFolder], index: int) -> float:
    """Dice to expect of a slice: that of the least certain layer. For a background thread."""
    return min(slice_confidence(folder.result_slice(index), folder.confidence_slice(index)) for folder in folders)
