"""Statistics of labels: voxels and volume, with the range that the expected Dice of the filled slices implies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.expected_dice import ExpectedDice
from ..core.slice_axis import SliceAxis
from ..core.storage import csv_bytes
from ..core.volume import LabelMap

COLUMNS = ("label", "name", "voxels", "filled voxels", "ml", "least ml", "most ml", "expected Dice")


@dataclass(frozen=True, kw_only=True)
class LabelStatistics:
    """Size of one label.

    Attributes
    ----------
    value : int
    name : str
    voxels, filled : int
        All voxels, and those on filled slices.
    ml : float
    least, most : float or None
        Bounds of the volume in ml that the lower bound of the expected Dice allows; None where it is unknown.
    dice : float or None
        Expected Dice on the filled slices.
    """

    value: int
    name: str
    voxels: int
    filled: int
    ml: float
    least: float | None
    most: float | None
    dice: float | None


def label_statistics(
    layers: Sequence[LabelMap], expected: Mapping[str, ExpectedDice], axis: SliceAxis, filled: Sequence[int]
) -> list[LabelStatistics]:
    """Statistics of every label.

    If a filled region of n voxels has the Dice D, the truth has from n * D / (2 - D) voxels, where all of it lies
    inside the region, to n * (2 - D) / D, where the region lies inside the truth. Painted slices add no uncertainty.

    Parameters
    ----------
    layers : sequence of LabelMap
    expected : mapping of segment name to ExpectedDice
    axis : SliceAxis
    filled : sequence of int
        Slices that were filled.
    """
    statistics = []
    for layer in layers:
        voxel_ml = layer.geometry.voxel_ml
        counts = np.bincount(layer.array.ravel())
        counts_filled = np.bincount(axis.slices(layer.array)[list(filled)].ravel(), minlength=len(counts))
        for segment in layer.segments:
            voxels, filled_voxels = (
                int(by_value[segment.value]) if segment.value < len(by_value) else 0
                for by_value in (counts, counts_filled)
            )
            dice = expected.get(segment.name)
            low = None if dice is None else max(dice.low, 1e-3)
            painted_voxels = voxels - filled_voxels
            statistics.append(
                LabelStatistics(
                    value=segment.value,
                    name=segment.name,
                    voxels=voxels,
                    filled=filled_voxels,
                    ml=voxels * voxel_ml,
                    least=None if low is None else (painted_voxels + filled_voxels * low / (2 - low)) * voxel_ml,
                    most=None if low is None else (painted_voxels + filled_voxels * (2 - low) / low) * voxel_ml,
                    dice=None if dice is None else dice.dice,
                )
            )
    return statistics


def statistics_csv(statistics: Sequence[LabelStatistics]) -> bytes:
    """The statistics as a CSV file."""

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = [
        [
            str(statistic.value),
            statistic.name,
            str(statistic.voxels),
            str(statistic.filled),
            *map(cell, (statistic.ml, statistic.least, statistic.most, statistic.dice)),
        ]
        for statistic in statistics
    ]
    return csv_bytes(COLUMNS, rows)
