"""Small volumes with labels, and older results: the input of the commands for fault injection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fewshot_annotate.core.volume import Geometry, LabelMap, Segment
from fewshot_annotate.io.files import write_array, write_label_maps

from support.faults.running import Workspace

GRID = Geometry((16, 24, 20), (3.0, 0.8, 0.9), (5.0, -3.0, 11.0))
PAINTED = (1, 5, 9, 14)
NAMES = (
    Segment(value=1, name="liver", colour=(1.0, 0.5, 0.0)),
    Segment(value=2, name="Étage", colour=(0.0, 0.5, 1.0)),
)
OLD_NAMES = (Segment(value=1, name="old name", colour=(0.0, 0.0, 1.0)),)


def arrays(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An image and its full labels."""
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    for k in range(GRID.shape[0]):
        truth[k, 4 + k // 4 : 14, 5:13] = 1
        truth[k, 14:18, 4 : 9 + k // 2] = 2
    noise = np.random.default_rng(seed).normal(0, 5, GRID.shape)
    return (noise + 60 * truth).astype(np.float32), truth


def write_case(workspace: Workspace, name: str = "image", seed: int = 1) -> None:
    """An image, and its labels on a few slices; twice, as NIfTI and as .seg.nrrd."""
    image, truth = arrays(seed)
    painted = np.zeros_like(truth)
    painted[list(PAINTED)] = truth[list(PAINTED)]
    write_array(workspace.inputs / f"{name}.nii.gz", image, GRID)
    write_label_maps(workspace.inputs / f"{name}-support.nii.gz", [LabelMap(painted, GRID, NAMES)])
    write_label_maps(workspace.inputs / f"{name}-support.seg.nrrd", [LabelMap(painted, GRID, NAMES)])
    write_label_maps(workspace.inputs / f"{name}-full.nii.gz", [LabelMap(truth, GRID, NAMES)])


def write_old_result(path: Path) -> None:
    """An older result."""
    old = np.zeros(GRID.shape, dtype=np.uint8)
    old[2:5, 3:9, 3:9] = 1
    write_label_maps(path, [LabelMap(old, GRID, OLD_NAMES)])
