"""Sets of many patients with one labelling job, for `many.py`.

A set is a folder of cases, each with `image.nii.gz` and `label.nii.gz`, in `$FEWSHOT_DATA_MANY` or
`../shared/data_many` beside the repository. The patients of the last third of a set are never trained on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from fewshot_annotate.core.dice import dice_of_labels
from fewshot_annotate.core.training_example import TrainingExample
from fewshot_annotate.core.volume import LabelMap, Volume, present_values
from fewshot_annotate.io.files import read_label_maps, read_volume


@dataclass(frozen=True)
class PatientSet:
    """Cases of one set, in the order of their names."""

    name: str
    cases: tuple[Path, ...]

    @classmethod
    def find(cls, name: str) -> PatientSet:
        """The set of a name; raises `SystemExit` if it does not exist."""
        default = Path(__file__).parents[3] / "shared" / "data_many"
        folder = Path(os.environ.get("FEWSHOT_DATA_MANY") or default) / name
        cases = tuple(sorted(path.parent for path in folder.glob("*/image.nii.gz")))
        if len(cases) < 3:
            raise SystemExit(f"{folder}: three cases at least are needed")
        return cls(name, cases)

    @property
    def training(self) -> tuple[Path, ...]:
        """The patients that may be trained on."""
        return self.cases[: len(self.cases) - len(self.cases) // 3]

    @property
    def unseen(self) -> tuple[Path, ...]:
        """The patients of the last third."""
        return self.cases[len(self.training) :]

    @cached_property
    def labels(self) -> int:
        """Number of labels."""
        return max(present_values(load(self.cases[0])[1]))

    def examples(self, count: int, every: int = 1) -> list[TrainingExample]:
        """The first cases as examples, with every n-th slice of the first axis labelled."""
        return [_example(case, every) for case in self.training[:count]]


def load(case: Path) -> tuple[Volume, np.ndarray]:
    """Image and label values of a case."""
    volume = read_volume(case / "image.nii.gz")
    (label_map,) = read_label_maps(case / "label.nii.gz")
    assert isinstance(label_map, LabelMap)
    return volume, label_map.array


def painted_slices(truth: np.ndarray, count: int) -> list[int]:
    """Slices of the first axis, evenly spread over those with labels, the middle of as many equal parts."""
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    parts = (np.arange(count) + 0.5) / count
    return sorted({int(held[min(int(part * len(held)), len(held) - 1)]) for part in parts})


def mean_dice(filled: np.ndarray, truth: np.ndarray, labels: int, painted: Sequence[int] = ()) -> float:
    """Mean Dice over the labels of a case, on the slices of the first axis that are not painted."""
    kept = np.ones(len(truth), dtype=bool)
    kept[list(painted)] = False
    dice = dice_of_labels(truth[kept], filled[kept], labels)
    return float(dice[~np.isnan(dice)].mean())


def _example(case: Path, every: int) -> TrainingExample:
    name, slices = case.name, None
    if every > 1:
        count = len(load(case)[1])
        slices = tuple(range(every // 2, count, every))
    return TrainingExample(patient=name, load=lambda: load(case), axis=0, labelled_slices=slices)
