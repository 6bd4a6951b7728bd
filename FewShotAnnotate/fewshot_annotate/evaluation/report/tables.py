"""Figures of a comparison as CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.dice import dice_of_counts
from ...core.storage import write_csv
from ..results import Comparison
from ..scores import EngineScore

POINT_HEAD = (
    "engine",
    "support_size",
    "draws",
    "dice_mean",
    "dice_least",
    "dice_most",
    "seconds_to_first_slice",
    "seconds_per_further_slice",
)
SLICES_HEAD = (
    "engine",
    "support_size",
    "draw",
    "axis",
    "plane",
    "slice",
    "label",
    "voxels_truth",
    "voxels_result",
    "voxels_both",
    "dice",
)


def write_summary(path: Path, comparison: Comparison) -> None:
    """One row for each engine and support size."""
    write_csv(path, POINT_HEAD, map(point_row, comparison.points))


def point_row(point: EngineScore) -> tuple[object, ...]:
    """Cells of a row, in the order of `POINT_HEAD`."""
    return (
        point.engine,
        point.size,
        point.draws,
        f"{point.dice:.4f}",
        f"{point.least:.4f}",
        f"{point.most:.4f}",
        f"{point.start_seconds:.3f}",
        f"{point.slice_seconds:.4f}",
    )


def write_slices(path: Path, comparison: Comparison) -> None:
    """One row for each engine, support size, draw, held-out slice and label; Dice is empty where neither has any."""

    def rows() -> Iterable[Sequence[object]]:
        for (engine, size), counts in comparison.counts.items():
            for draw, draw_counts in enumerate(counts):
                for index, slice_counts in zip(comparison.held_out, draw_counts, strict=True):
                    for label, voxels in zip(comparison.labels, slice_counts, strict=True):
                        score = f"{dice_of_counts(voxels):.4f}" if voxels[:2].any() else ""
                        position = (comparison.axis, comparison.plane, index)
                        yield engine, size, draw, *position, label, *map(int, voxels), score

    write_csv(path, SLICES_HEAD, rows())
