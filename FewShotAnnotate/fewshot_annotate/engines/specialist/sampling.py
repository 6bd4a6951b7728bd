"""Choice of the training patches: every example and every label equally often, on labelled slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .plan import SpecialistPlan
from .preparation import PreparedExample

# Fraction of the patches that contain a voxel of a label; the others are anywhere on labelled slices.
LABEL_FRACTION = 0.67
# Largest shift of a patch relative to the voxel that it contains, as a fraction of its size.
_MAX_SHIFT_FRACTION = 0.35
# Voxels of each label of an example that patches are drawn around, at most.
_MAX_VOXELS = 1000


@dataclass(frozen=True)
class ClassVoxels:
    """Voxels of an example that patches are drawn around.

    Attributes
    ----------
    of_labels : sequence of int ndarray, shape [n, 3]
        Some voxels of each label in the example.
    labelled : int ndarray, shape [n, 3]
        Some voxels of the labelled slices.
    """

    of_labels: tuple[np.ndarray, ...]
    labelled: np.ndarray

    @classmethod
    def of(cls, example: PreparedExample, labels: int, generator: np.random.Generator) -> ClassVoxels:
        """A random selection of voxels."""
        flat = np.asarray(example.labels).reshape(-1)
        foreground = np.flatnonzero((flat > 0) & (flat <= labels))
        by_label = foreground[np.argsort(flat[foreground], kind="stable")]
        boundaries = np.flatnonzero(np.diff(flat[by_label])) + 1
        groups = np.split(by_label, boundaries) if len(by_label) else []
        of_labels = tuple(_random_voxels(group, example.labels.shape, generator) for group in groups)
        labelled = _random_voxels(np.flatnonzero(flat != example.unlabelled), example.labels.shape, generator)
        return cls(of_labels, labelled)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """A voxel of a random label, or any voxel of the labelled slices, int `[3]`."""
        positions = self.labelled
        if self.of_labels and generator.random() < LABEL_FRACTION:
            positions = self.of_labels[generator.integers(len(self.of_labels))]
        voxel: np.ndarray = positions[generator.integers(len(positions))]
        return voxel


class PatchSampler:
    """Draws the example and the centre of each patch.

    Parameters
    ----------
    read : function
        Reads a prepared example by its index.
    indices : sequence of int
        The examples to train on.
    plan : SpecialistPlan
    generator : numpy Generator
    """

    def __init__(
        self,
        read: Callable[[int], PreparedExample],
        indices: Sequence[int],
        plan: SpecialistPlan,
        generator: np.random.Generator,
    ) -> None:
        self._read = read
        self._indices = list(indices)
        self._plan = plan
        self._random = generator
        self._class_voxels: dict[int, ClassVoxels] = {}
        self._order: list[int] = []

    def draw(self) -> tuple[PreparedExample, np.ndarray]:
        """The next example, in random order, and the centre of a patch in it, int `[3]`."""
        if not self._order:
            self._order = [self._indices[position] for position in self._random.permutation(len(self._indices))]
        index = self._order.pop()
        example = self._read(index)
        if index not in self._class_voxels:
            self._class_voxels[index] = ClassVoxels.of(example, self._plan.labels, self._random)
        voxel = self._class_voxels[index].draw(self._random)
        return example, self._centre(voxel, np.array(example.labels.shape))

    def _centre(self, voxel: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Centre of a patch that contains the voxel and lies inside the volume as far as possible."""
        patch = np.array(self._plan.patch)
        shift = np.rint(self._random.uniform(-_MAX_SHIFT_FRACTION, _MAX_SHIFT_FRACTION, 3) * patch).astype(int)
        shift[patch == 1] = 0
        slack = np.maximum(0, patch // 8)
        low = np.minimum(patch // 2 - slack, size // 2)
        high = np.maximum(size - 1 - low, low)
        moved: np.ndarray = np.clip(voxel + shift, low, high)
        return np.where(patch == 1, voxel, moved)


def _random_voxels(flat: np.ndarray, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Positions `[n, 3]` of at most `_MAX_VOXELS` of the voxels with these flat indices."""
    if len(flat) > _MAX_VOXELS:
        flat = flat[np.sort(generator.integers(len(flat), size=_MAX_VOXELS))]
    return np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int32)
