"""RunOutcome: results of a run that the review needs once its slices are committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...core.events import Expected
from ...core.expected_dice import ExpectedDice
from ...core.slice_axis import SliceAxis
from .changes import Changes
from .contested import ContestedVoxels
from .fill_result import FillResult
from .run_plan import RunPlan


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A run whose slices were committed.

    Attributes
    ----------
    segmentation_id, volume_id : str
        Ids of the nodes.
    axis : SliceAxis
    segment_ids : tuple of str
        Segments of the run that still exist; the checksums are of these.
    engine : str
        Name of the engine.
    support : tuple of int, ascending
        Labelled slices of the run.
    checksums : mapping of int to int
        Filled slice -> checksum of its present voxels.
    kept : mapping of int to int
        Slice that was to be kept -> checksum of its present voxels.
    changes : Changes
        Voxels that were added and removed.
    expected : mapping of str to ExpectedDice
        Segment id -> its expected Dice.
    contested : ContestedVoxels
        Where the engine was uncertain.
    """

    segmentation_id: str
    volume_id: str
    axis: SliceAxis
    segment_ids: tuple[str, ...]
    engine: str
    support: tuple[int, ...]
    checksums: Mapping[int, int]
    kept: Mapping[int, int]
    changes: Changes
    expected: Mapping[str, ExpectedDice] = field(default_factory=dict)
    contested: ContestedVoxels = field(default_factory=ContestedVoxels)

    @classmethod
    def of(
        cls, plan: RunPlan, segmentation_id: str, volume_id: str, result: FillResult, expected: Mapping[str, Expected]
    ) -> RunOutcome:
        """Outcome from the plan of a run, its committed result, and the expected Dice of each segment."""
        there = result.rules.segment_ids
        return cls(
            segmentation_id=segmentation_id,
            volume_id=volume_id,
            axis=plan.axis,
            segment_ids=tuple(name for name in plan.segment_ids if name in there),
            engine=plan.job.engine,
            support=plan.labelled,
            checksums={index: after for index, (after, _) in result.filled.items()},
            kept=result.kept,
            changes=result.changes,
            contested=result.contested,
            expected={
                name: ExpectedDice(label_dice.label, label_dice.dice, label_dice.low, label_dice.high)
                for name, label_dice in expected.items()
                if name in there
            },
        )
