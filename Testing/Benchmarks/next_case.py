"""Simulation of reviewing in the order that `task next` gives, against random order, on real patients.

    python Testing/Benchmarks/next_case.py --cases FOLDER

FOLDER holds a folder for each patient with image.nii.gz and label.nii.gz. A specialist is trained on the first cases
and fills the pool, which is ranked. The cases that come first are added, or as many random ones, and the specialist
is trained again from the first one. Each is scored on patients that were never in the pool. The time limit of a
training counts the work of each core, so that other programs do not shorten it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "FewShotAnnotate")]

import numpy as np
from fewshot_annotate.core.dice import dice_of_labels
from fewshot_annotate.core.intensity import intensity_quantiles
from fewshot_annotate.core.slice_axis import thickest_axis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.training_example import TrainingExample
from fewshot_annotate.core.volume import Volume
from fewshot_annotate.datasets.case_description import CaseDescription, case_features
from fewshot_annotate.datasets.ranking import rank_cases
from fewshot_annotate.engines.base import RunContext
from fewshot_annotate.engines.specialist.engine import Specialist
from fewshot_annotate.engines.specialist.member_training import MemberConfig
from fewshot_annotate.engines.specialist.training import fit_specialist
from fewshot_annotate.io.files import read_label_maps, read_volume


def main() -> None:
    """Run the simulation and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--first", type=int, default=3)
    parser.add_argument("--pool", type=int, default=12)
    parser.add_argument("--added", type=int, default=3)
    parser.add_argument("--test", type=int, default=6)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each core, for a training")
    options = parser.parse_args()
    cases = sorted(path.parent for path in options.cases.glob("*/label.nii.gz"))
    order = np.random.default_rng(0).permutation(len(cases))
    chosen = [cases[index] for index in order[: options.first + options.pool + options.test]]
    first, pool = chosen[: options.first], chosen[options.first : options.first + options.pool]
    test = chosen[options.first + options.pool :]
    with tempfile.TemporaryDirectory() as scratch:
        start = _fit(first, Path(scratch) / "first", options.seconds)
        described = [_described(case, start) for case in pool]
        known = [_known(case) for case in first]
        ranked = [one.case.name for one in rank_cases([case for case, _ in described], known)]
        errors = {case.name: 1 - dice for case, dice in described}
        ranking = np.argsort([ranked.index(case.name) for case, _ in described])
        by_rank = [described[index][0].name for index in ranking]
        print(f"{'order':<10} {'added':<32} {'mean Dice of unseen patients':>30}")
        print(f"{'none':<10} {'':<32} {_score(test, start):>30.4f}")
        draws = [("ranked", by_rank[: options.added])]
        for seed in range(options.draws):
            names = [case.name for case in pool]
            draws.append(
                (f"random {seed}", list(np.random.default_rng(seed + 1).permutation(names)[: options.added]))
            )
        scores = []
        for name, added in draws:
            folder = Path(scratch) / name
            model = _fit([*first, *(case for case in pool if case.name in added)], folder, options.seconds, start)
            scores.append(_score(test, model))
            print(f"{name:<10} {' '.join(added):<32} {scores[-1]:>30.4f}", flush=True)
        print(f"{'random':<10} {'mean of all draws':<32} {np.mean(scores[1:]):>30.4f}")
        half = len(by_rank) // 2
        firsts, lasts = (float(np.mean([errors[name] for name in part])) for part in (by_rank[:half], by_rank[half:]))
        print(
            f"mean error (1 - Dice) of the pool as filled: first half of the ranking {firsts:.3f}, second {lasts:.3f}"
        )


def _load(case: Path) -> tuple[Volume, np.ndarray]:
    volume = read_volume(case / "image.nii.gz")
    (label_map,) = read_label_maps(case / "label.nii.gz", volume.geometry)
    return volume, label_map.array


def _labels(case: Path) -> int:
    return int(_load(case)[1].max())


def _fit(cases: Sequence[Path], folder: Path, seconds: float, start: Path | None = None) -> Path:
    examples = [TrainingExample(patient=case.name, load=lambda case=case: _load(case)) for case in cases]
    config = MemberConfig(clock=time.thread_time)
    fit_specialist(examples, _labels(cases[0]), folder, budget_seconds=seconds, start=start, config=config)
    return folder


def _filled(case: Path, model: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels and confidence [k, j, i], and the expected error."""
    volume, truth = _load(case)
    axis = thickest_axis(volume.geometry)
    count, height, width = axis.shape(volume.geometry)
    values = tuple(range(1, int(truth.max()) + 1))
    support = Support(
        axis, (), np.zeros((0, height, width), np.uint8), values, np.zeros((0, len(values)), dtype=bool)
    )
    engine = Specialist()
    engine.prepare(volume, support, RunContext(model=model))
    labels, confidence = np.zeros((count, height, width), np.uint8), np.zeros((count, height, width), np.float32)
    for index, probabilities in engine.predict(range(count)):
        labels[index], confidence[index] = probabilities.argmax(axis=0), probabilities.max(axis=0)
    expected = [one.dice for one in engine.expected_dice()]
    return axis.restore(labels), axis.restore(confidence), 1 - float(np.mean(expected)) if expected else 0.0


def _dice(labels: np.ndarray, truth: np.ndarray) -> float:
    return float(np.nan_to_num(dice_of_labels(truth, labels, int(truth.max()))).mean())


def _described(case: Path, model: Path) -> tuple[CaseDescription, float]:
    """The description by which a case is ranked, and the Dice of its fill."""
    volume, truth = _load(case)
    labels, confidence, error = _filled(case, model)
    undecided = float((confidence[labels != 0] < 0.7).mean()) if labels.any() else 1.0
    features = _features(volume, labels, int(truth.max()))
    description = CaseDescription(name=case.name, features=features, error=error, undecided=undecided)
    return description, _dice(labels, truth)


def _known(case: Path) -> CaseDescription:
    volume, truth = _load(case)
    return CaseDescription(name=case.name, features=_features(volume, truth, int(truth.max())))


def _features(volume: Volume, labels: np.ndarray, count: int) -> tuple[float, ...]:
    voxel_ml = float(np.prod(volume.geometry.spacing)) / 1000
    millilitres = [float((labels == value).sum()) * voxel_ml for value in range(1, count + 1)]
    return case_features(volume.geometry, intensity_quantiles(volume.array, 1 << 20), millilitres)


def _score(cases: Sequence[Path], model: Path) -> float:
    return float(np.mean([_dice(_filled(case, model)[0], _load(case)[1]) for case in cases]))


if __name__ == "__main__":
    main()
