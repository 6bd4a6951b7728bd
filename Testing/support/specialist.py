"""Tiny tasks for the engine `specialist`: patients with a bright ball, learnt within seconds."""

from __future__ import annotations

import numpy as np
from fewshot_annotate.core.training_example import TrainingExample
from fewshot_annotate.core.volume import Geometry, Volume

SHAPE = (8, 16, 16)


def ball(seed: int, shape: tuple[int, int, int] = SHAPE, labels: int = 1) -> tuple[Volume, np.ndarray]:
    """A noisy volume with a bright ball at a random place; with two labels, its upper half is the second."""
    random = np.random.default_rng(seed)
    centre = [random.uniform(0.35, 0.65) * size for size in shape]
    grid = np.indices(shape)
    inside = sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) < 12
    array = (100 * inside + random.normal(0, 10, shape)).astype(np.float32)
    found = inside.astype(np.uint8)
    if labels == 2:
        found[inside & (grid[0] > centre[0])] = 2
        array[found == 2] += 60
    return Volume(array, Geometry(shape)), found


def balls(count: int, labels: int = 1) -> list[TrainingExample]:
    """Examples of as many patients, all slices labelled."""
    return [
        TrainingExample(patient=f"patient {seed}", load=lambda seed=seed: ball(seed, labels=labels))
        for seed in range(count)
    ]
