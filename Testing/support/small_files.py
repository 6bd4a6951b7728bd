"""Small label maps and arrays for tests of how files are written, and what is in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment

GRID = Geometry((6, 20, 24), (1.0, 2.0, 3.0))
OLD = b"an older good file"


def random_labels(names: int = 2) -> LabelMap:
    """Random labels 0..2 with `names` named segments; the same each time."""
    array = np.random.default_rng(5).integers(0, 3, GRID.shape).astype(np.uint8)
    segments = (Segment(value=value + 1, name=f"segment number {value}") for value in range(names))
    return LabelMap(array, GRID, tuple(segments))


def confidence() -> np.ndarray:
    """Random confidence, the same each time."""
    return np.random.default_rng(6).random(GRID.shape).astype(np.float32)


def names_in(folder: Path) -> list[str]:
    """Names of the files and folders in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
