"""Details of a filled case, shown in the table and on the page of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np

from ..core.volume import LabelMap, Volume
from ..guidance.confidence import mean_label_area, slice_confidence
from ..jobs.planning import PlannedRun
from .case_description import RANKING, ranking_record


def measured(volume: Volume, label_map: LabelMap, confidence: np.ndarray, run: PlannedRun) -> dict[str, Any]:
    """What the table, the page and the ranking show and use of a filled case, as JSON for its record.

    Parameters
    ----------
    volume : Volume
    label_map : LabelMap
    confidence : float ndarray [k, j, i]
    run : PlannedRun
    """
    axis = run.support.axis
    labels, sure = axis.slices(label_map.array), axis.slices(confidence)
    area = mean_label_area(labels)
    scores = {index: slice_confidence(labels[index], sure[index], area) for index in run.job.slices}
    least = min(scores, key=lambda index: (scores[index], index))
    counts = np.bincount(label_map.array.ravel())
    voxel_ml = label_map.geometry.voxel_ml
    present = [segment for segment in label_map.segments if segment.value < len(counts) and counts[segment.value]]
    return {
        "plane": axis.patient_plane(label_map.geometry),
        "ml": {segment.name: round(float(counts[segment.value] * voxel_ml), 3) for segment in present},
        "least_confidence": round(scores[least], 4),
        "least_confident_slice": least,
        RANKING: ranking_record(volume, label_map, confidence),
    }


def details_of(outcome: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of `status.DETAILS` from the outcome in a case's record; empty for records of older versions."""
    if "plane" not in outcome:
        return ()
    dice = [float(label_dice["dice"]) for label_dice in outcome.get("expected", [])]
    return (
        str(outcome["axis"]),
        str(outcome["plane"]),
        f"{fmean(dice):.3f}" if dice else "",
        "; ".join(f"{name} {ml:.4g}" for name, ml in outcome["ml"].items()),
        f"{outcome['least_confidence']:.3f}",
        str(outcome["least_confident_slice"]),
    )
